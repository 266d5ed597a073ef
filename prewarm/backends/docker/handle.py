"""A live session of the docker backend: a handle on one container, by its id and never by its name."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from prewarm.backends.docker import execution
from prewarm.backends.docker.accounts import Accounts
from prewarm.backends.docker.archive import path_facts, small_text
from prewarm.backends.docker.engine import Engine, translated
from prewarm.backends.docker.execution import Execution
from prewarm.backends.docker.files import ContainerFiles
from prewarm.backends.docker.inside import Places
from prewarm.backends.docker.keeper import EXPIRED, TOUCH_SIGNAL
from prewarm.backends.docker.policy import Policy
from prewarm.backends.hosting import ProcessRequest
from prewarm.definition.model import Json
from prewarm.errors import PrewarmError, SessionFailedError, SessionGoneError
from prewarm.key import TemplateKey

STATE_SCHEMA: Final = "prewarm.docker-session/1"
_CHECK_EVERY_S: Final = 0.5
_TOUCHES_PER_IDLE: Final = 4
_SLOWEST_TOUCH_S: Final = 60.0


class DockerSession:
    """A ``SessionHandle``. Thread-safe; several may stand for one container.

    Args:
        engine: Where the container is.
        container: Its full id.
        key: Of the template that it was born from.
        policy: What it may.
        known: Variables that its image has.
    """

    def __init__(
        self, engine: Engine, container: str, *, key: TemplateKey, policy: Policy, known: frozenset[str]
    ) -> None:
        self._engine = engine
        self._container = container
        self._key = key
        self._policy = policy
        self._known = known
        self._lock = threading.Lock()  # Guards the two times below.
        now = time.monotonic()
        self._touched = now
        self._checked = now
        self._directories = {policy.workdir, "/"}
        self._users = {policy.user}
        self._places = Places(policy.options.options)
        self._files = ContainerFiles(engine, container, self, user=policy.user, places=self._places, touch=self._check)

    @property
    def id(self) -> str:
        return self._container

    @property
    def template_key(self) -> TemplateKey:
        return self._key

    @property
    def files(self) -> ContainerFiles:
        return self._files

    def start(self, request: ProcessRequest) -> Execution:
        """Start a command."""
        if request.cwd not in self._directories:
            self._check_directory(request.cwd)
        if request.user not in self._users:
            self._check_user(request.user)
        self.touch()
        return execution.start(
            self._engine, self._container, request, known=self._known, extra=self._policy.env, touch=self.touch
        )

    def state(self) -> Mapping[str, Json]:
        return {"schema": STATE_SCHEMA, "container": self._container}

    def expose(self, port: int) -> tuple[str, int]:
        """Give the address on the engine's machine where a port of the session answers.

        Raises:
            SessionFailedError: The port is not among the session's ``expose``.
            SessionGoneError: The container has gone.
        """
        found = inspect(self._engine, self._container)
        bound = ((found["NetworkSettings"].get("Ports") or {}).get(f"{port}/tcp") or [None])[0]
        if bound is None:
            raise SessionFailedError(
                f"port {port} of the session is not exposed",
                hint=f"add {port} to the session's 'expose' and open it anew",
            )
        return bound["HostIp"], int(bound["HostPort"])

    def detach(self) -> None:
        """Let go of it; there is nothing to let go of: commands own their connections."""

    def remove(self) -> None:
        """End it and take away its files. Twice is fine."""
        remove(self._engine, self._container)

    def touch(self) -> None:
        """Tell the keeper that the session is in use; not more often than its idle time asks for."""
        pause = min(self._policy.options.idle_timeout_s / _TOUCHES_PER_IDLE, _SLOWEST_TOUCH_S)
        with self._lock:
            now = time.monotonic()
            if now - self._touched < pause:
                return
            self._touched = now
        from docker.errors import APIError

        with translated(), contextlib.suppress(APIError):  # Gone or stopped: what comes next says so, by its own name.
            self._engine.api.kill(self._container, TOUCH_SIGNAL)

    def _check(self) -> None:
        """Refuse to go on in a container that has ended: the engine would still show its files."""
        with self._lock:
            now = time.monotonic()
            if now - self._checked < _CHECK_EVERY_S:
                return
            self._checked = now
        if not inspect(self._engine, self._container)["State"]["Running"]:
            raise gone(self._container)
        self.touch()

    def _check_directory(self, path: str) -> None:
        if self._places.are_hidden(path):
            return  # The engine says so itself where it is not there.
        with translated():
            found = path_facts(self._engine.api, self._container, path)
        if found is None:
            inspect(self._engine, self._container)
            raise SessionFailedError(f"cannot start in '{path}': it does not exist in the session")
        if not (found.is_directory or found.is_link):
            raise SessionFailedError(f"cannot start in '{path}': it is not a directory")
        self._directories.add(path)

    def _check_user(self, user: str) -> None:
        """Refuse a user that the session does not know: the engine would say so where the command writes."""
        with translated():
            passwd = small_text(self._engine.api, self._container, "/etc/passwd") or ""
        if Accounts(passwd=passwd).find(user.partition(":")[0]) is None:
            inspect(self._engine, self._container)
            raise SessionFailedError(
                f"there is no user '{user}' in the session",
                hint="name it as 'user' of the definition, which creates it",
            )
        self._users.add(user)


def inspect(engine: Engine, container: str) -> dict[str, Any]:
    """Inspect a container.

    Raises:
        SessionGoneError: It is gone.
    """
    from docker.errors import NotFound

    with translated():
        try:
            found: dict[str, Any] = engine.api.inspect_container(container)
        except NotFound as error:
            raise gone(container) from error
    return found


def remove(engine: Engine, container: str) -> None:
    """Remove a container with its processes and files. Twice is fine."""
    from docker.errors import APIError, NotFound

    with translated():
        try:
            engine.api.remove_container(container, force=True, v=True)
        except NotFound:
            return
        except APIError as error:
            if error.status_code != 409:  # noqa: PLR2004 - conflict: somebody else is removing it.
                raise


def expired(found: Mapping[str, Any], ends_at: float | None) -> bool:
    """Say whether an inspected container has come to its end: by its keeper, or by the clock."""
    state = found["State"]
    if not state["Running"] and state["Status"] == "exited" and state["ExitCode"] == EXPIRED:
        return True
    return ends_at is not None and time.time() >= ends_at


def gone(container: str) -> PrewarmError:
    """Give the error for a session that is no more."""
    return SessionGoneError(
        f"the session's container {container[:12]} has expired or was removed", hint="open the session again"
    )
