"""Another process that uses a backend: attaches, captures, opens, and may be killed at it.

``Worker`` starts it, ``python -m prewarm.testing.worker FILE`` is it. It reads what to do from a file that the suite wrote,
says one JSON object on a line for each thing that has happened, and waits for its standard input to end where it is told to.
"""

from __future__ import annotations

import importlib
import json
import pickle
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from prewarm import process
from prewarm.backends.base import Backend
from prewarm.backends.capturing import CaptureRequest, Phase
from prewarm.backends.commands import command_argv, run_command
from prewarm.backends.context import BackendContext
from prewarm.backends.hosting import OpenRequest, ProcessRequest
from prewarm.definition.model import Json
from prewarm.key import TemplateKey

_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Find:
    """Find a template by key."""

    namespace: str
    key: TemplateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Attach to a session and run a command in it."""

    state: Mapping[str, Json]
    command: str
    cwd: str
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Open a session, and go on to have it open until the standard input ends."""

    request: OpenRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """Capture and publish, telling each line that a step writes."""

    request: CaptureRequest


Job = Find | Run | Open | Capture


class Worker:
    """Starts other processes.

    Args:
        target: What makes the backend out of a context: ``module:callable``.
        home: The state directory.
    """

    def __init__(self, target: str, home: Path) -> None:
        self._target = target
        self._home = home

    def do(self, job: Job) -> dict[str, Json]:
        """Do one thing to its end; give the last thing that it said."""
        with tempfile.NamedTemporaryFile(suffix=".job") as file:
            command = process.Command(argv=self._argv(job, Path(file.name)), timeout_s=_PATIENCE_S, stdin=b"")
            outcome = process.run(command)
        assert outcome.ok, (outcome.exit_code, outcome.stderr.decode("utf-8", "replace"))
        return cast("dict[str, Json]", json.loads(outcome.stdout.splitlines()[-1]))

    def start(self, job: Job, directory: Path) -> process.Child:
        """Start one thing; its standard output says what has happened. The caller kills it and closes it."""
        return process.start(self._argv(job, directory / "job"), stdin=process.PIPE, stderr=process.DEVNULL)

    def _argv(self, job: Job, path: Path) -> tuple[str, ...]:
        path.write_bytes(pickle.dumps((self._target, self._home, job)))
        return (sys.executable, "-m", "prewarm.testing.worker", str(path))


class _Teller:
    """A ``CaptureObserver`` that passes lines on."""

    def phase(self, phase: Phase) -> None:
        _say({"phase": phase.value})

    def step(self, number: int, total: int, text: str) -> None:
        """Say nothing: the lines tell."""

    def line(self, text: str) -> None:
        _say({"line": text})


def _say(what: Mapping[str, Json]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _do(backend: Backend, job: Job) -> None:
    match job:
        case Find(namespace=namespace, key=key):
            ref = backend.find(namespace, key)
            _say({"ref": None if ref is None else ref.value})
        case Run(state=state, command=command, cwd=cwd, user=user):
            session = backend.attach(state)
            request = ProcessRequest(argv=command_argv(command), cwd=cwd, env={}, user=user)
            deadline = time.monotonic() + _PATIENCE_S
            result = run_command(session, request, deadline=deadline, max_output=1024 * 1024)
            session.detach()
            _say({"exit_code": result.exit_code, "stdout": result.stdout, "id": session.id})
        case Open(request=opening):
            session = backend.open(opening)
            _say({"id": session.id, "state": session.state()})
            sys.stdin.read()
            session.detach()
        case Capture(request=capturing):
            with backend.capture(capturing, _Teller()) as staged:
                staged.publish()
                _say({"ref": staged.ref.value})


def main(path: Path) -> None:
    """Do what a file says."""
    target, home, job = pickle.loads(path.read_bytes())  # noqa: S301 - written by Worker a moment ago.
    module, _, name = target.partition(":")
    make = cast("Callable[[BackendContext], Backend]", getattr(importlib.import_module(module), name))
    _do(make(BackendContext(home=home, environment=process.environment())), job)


if __name__ == "__main__":
    # Under its own name: what is read from the file was written by that module, not by ``__main__``.
    importlib.import_module("prewarm.testing.worker").main(Path(sys.argv[1]))
