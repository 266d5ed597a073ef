"""Which builder is in use, and its driver: the engine's own sees the engine's images, every other one sees none of them.

Most machines have no other builder, and buildx's own files say so without a process: only where one may be chosen is
buildx asked, once for each engine.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prewarm.backends.logins import config_directory
from prewarm.errors import BackendUnavailableError

OWN: Final = "docker"
_DEFAULT: Final = "default"  # What buildx calls the engine's own.
_HINT: Final = "see 'docker buildx ls', and BUILDX_BUILDER"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    name: str
    driver: str


class Builder:
    """The builder that buildx would take. Thread-safe; looked for on first use.

    Args:
        environment: Where ``BUILDX_BUILDER``, ``BUILDX_CONFIG`` and what names the engine are looked up.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._lock = threading.Lock()  # Guards _found: buildx is asked once.
        self._found: _Found | None = None

    @property
    def name(self) -> str:
        """As ``docker buildx ls`` has it.

        Raises:
            BackendUnavailableError: It cannot be found out.
        """
        return self._look().name

    @property
    def driver(self) -> str:
        """``docker``, ``docker-container``, ``kubernetes`` or ``remote``.

        Raises:
            BackendUnavailableError: It cannot be found out.
        """
        return self._look().driver

    @property
    def is_engines_own(self) -> bool:
        """Whether it is the one in the engine.

        Raises:
            BackendUnavailableError: It cannot be found out.
        """
        return self.driver == OWN

    def _look(self) -> _Found:
        with self._lock:
            if self._found is None:
                self._found = self._find()
            return self._found

    def _find(self) -> _Found:
        directory = Path(self._environment.get("BUILDX_CONFIG") or config_directory(self._environment) / "buildx")
        named = self._environment.get("BUILDX_BUILDER")
        if named:
            driver = _recorded(directory, named)
            return _Found(name=named, driver=driver) if driver else self._asked(named)
        if all(_recorded(directory, name) in {OWN, None} for name in _chosen(directory)):
            return _Found(name=_DEFAULT, driver=OWN)
        return self._asked(None)

    def _asked(self, name: str | None) -> _Found:
        """Ask buildx, which knows for which engine a builder was chosen, and the engines of contexts."""
        from python_on_whales import ClientNotFoundError, DockerClient  # 200 ms, for those with several builders alone.
        from python_on_whales.exceptions import DockerException

        host = self._environment.get("DOCKER_HOST")
        # It takes this process's environment; what says where to look comes from the one that was given.
        client = DockerClient(
            host=host,
            context=None if host else self._environment.get("DOCKER_CONTEXT"),
            config=self._environment.get("DOCKER_CONFIG"),
        )
        try:
            found = client.buildx.inspect(name)
        except (DockerException, ClientNotFoundError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().rpartition("\n")[2]
            raise BackendUnavailableError(f"the builder cannot be looked at: {said}", hint=_HINT) from error
        return _Found(name=found.name or name or _DEFAULT, driver=found.driver or OWN)


def _recorded(directory: Path, name: str) -> str | None:
    """Give the driver that buildx has written down for a builder; ``None`` where it has no record of that name."""
    if name == _DEFAULT:
        return OWN
    path = directory / "instances" / name
    try:
        return str(json.loads(path.read_bytes())["Driver"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise BackendUnavailableError(f"buildx's record {path} cannot be read: {error}", hint=_HINT) from error


def _chosen(directory: Path) -> list[str]:
    """Give the builders that were ever chosen with ``docker buildx use``, for whichever engine."""
    found = []
    try:
        with contextlib.suppress(FileNotFoundError):
            current = json.loads((directory / "current").read_bytes())
            found.append(str(current.get("Name") or ""))
        found += [path.read_text("utf-8").strip() for path in (directory / "defaults").glob("*")]
    except (OSError, ValueError, AttributeError) as error:
        raise BackendUnavailableError(
            f"what buildx keeps in {directory} cannot be read: {error}", hint=_HINT
        ) from error
    return [name for name in found if name]
