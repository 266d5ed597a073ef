"""A backend whose published templates other processes see, as far as knowing of them goes; and a program that builds.

Run as a program: ``shared.py DIRECTORY SANDBOXES SECONDS``: builds so many sandboxes, each step taking so many seconds,
notes what ran in ``DIRECTORY/ran``, and prints the statuses as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

from building import Workshop, define, reasons, statuses

from prewarm.backends.base import BackendContext, Presence, Probe, TemplateRef
from prewarm.backends.memory import MemoryBackend


class SharedBackend(MemoryBackend):
    """The memory backend with its publications in a directory."""

    def __init__(self, directory, **changes):
        super().__init__(BackendContext(home=directory / "home", environment={}), **changes)
        self._directory = directory / "published"
        self._directory.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def capture(self, request, observer):
        with super().capture(request, observer) as staged:
            yield _Staged(staged, self._directory / request.key)

    def find(self, namespace, key):
        with contextlib.suppress(FileNotFoundError):
            identity = (self._directory / key).read_text()
            return TemplateRef(backend="memory", format="memory/1", value={"id": identity})
        return None

    def probe(self, wanted):
        return [
            Probe(presence=Presence.PRESENT if self.find("", key) == ref else Presence.MISSING) for key, ref in wanted
        ]


class _Staged:
    def __init__(self, staged, path):
        self._staged = staged
        self._path = path

    @property
    def ref(self):
        return self._staged.ref

    @property
    def size(self):
        return self._staged.size

    def publish(self):
        self._staged.publish()
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        beside.write_text(self.ref.value["id"])
        beside.replace(self._path)


def workshop(directory: Path, sandboxes: int, seconds: float) -> Workshop:
    """Give a project whose templates all processes share."""

    def note(call):
        with (directory / "ran").open("a") as file:
            file.write(f"{call.argv[1]}\n")
        call.sleep(seconds)
        return 0

    made = Workshop(directory, *(define(f"n{number}", f"note n{number}") for number in range(sandboxes)))
    made.backend = SharedBackend(directory, commands={"note": note})
    return made


if __name__ == "__main__":
    report = workshop(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])).build()
    sys.stdout.write(json.dumps([statuses(report), reasons(report), report.exit_code]))
