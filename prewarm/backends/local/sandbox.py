"""A sandbox that is up: commands and files through its holder. Sessions are sandboxes, and so are captures while they run."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from prewarm.backends.environment import default_environment
from prewarm.backends.hosting import ProcessRequest
from prewarm.backends.local import command
from prewarm.backends.local.bwrap import SECRETS, View
from prewarm.backends.local.files import LocalFiles
from prewarm.backends.local.holder import Holder
from prewarm.backends.local.identity import Identity
from prewarm.backends.local.inside import open_regular
from prewarm.backends.local.limits import Limits
from prewarm.backends.local.openat2 import openat2
from prewarm.backends.local.programs import Credentials
from prewarm.backends.local.users import User, find_user
from prewarm.definition.options import Network
from prewarm.errors import SessionFailedError, SessionFileError

HOSTNAME: Final = "sandbox"
_ACCOUNTS_LIMIT: Final = 4 * 1024 * 1024


class Machine(NamedTuple):
    """What this machine offers to all sandboxes.

    Attributes:
        identity: Who this process may be inside.
        nsenter: Path of the program that enters.
    """

    identity: Identity
    nsenter: str


class Surroundings(NamedTuple):
    """What holds for every command of a sandbox.

    Attributes:
        user: Who owns the files that are made through ``files``.
        network: What it may reach.
        environment: Variables of the base.
        limits: On each command.
    """

    user: str
    network: Network
    environment: Mapping[str, str] = MappingProxyType({})
    limits: Limits = Limits()


class Sandbox:
    """A running sandbox. Thread-safe.

    Args:
        holder: Its holder.
        machine: What this machine offers.
        surroundings: What holds for its commands.
        entered: Told the entering process of each command; gives what is to be called when the command has ended.
        touch: Says that it is in use.
    """

    def __init__(
        self,
        holder: Holder,
        machine: Machine,
        surroundings: Surroundings,
        entered: Callable[[int], Callable[[], None]],
        touch: Callable[[], None] = lambda: None,
    ) -> None:
        self.holder = holder
        self._machine = machine
        self._surroundings = surroundings
        self._entered = entered
        self.touch = touch

    @functools.cached_property
    def _owner(self) -> User:
        return self.find_user(self._surroundings.user)

    @functools.cached_property
    def owner(self) -> tuple[int, int] | None:
        """Who owns the files that are made through ``files``; ``None`` where there is only one user.

        Looked for when it is needed: a session that damaged its own accounts can still be found, looked into as root, and ended.

        Raises:
            SessionFailedError: The sandbox has lost its user.
        """
        return (self._owner.uid, self._owner.gid) if self._machine.identity.many else None

    @functools.cached_property
    def files(self) -> LocalFiles:
        """Its files."""
        return LocalFiles(self.holder.root, self.owner)

    def find_user(self, name: str) -> User:
        """Find a user in the sandbox's own accounts.

        Raises:
            SessionFailedError: There is none of that name.
        """
        return find_user(name, self.account_file("passwd"), self.account_file("group"))

    def account_file(self, name: str) -> bytes:
        """Give the content of a file below ``/etc``; nothing where it is not there or no file."""
        with self.holder.root() as root:
            try:
                descriptor = open_regular(root, f"/etc/{name}".encode())
            except (OSError, SessionFileError):
                return b""
            with open(descriptor, "rb") as file:
                return file.read(_ACCOUNTS_LIMIT)

    def start(self, request: ProcessRequest) -> command.LocalProcess:
        """Start a command; ``SessionHandle.start``."""
        user = self._owner if request.user == self._surroundings.user else self.find_user(request.user)
        self._check_directory(request.cwd)
        limits = self._surroundings.limits
        launch = command.Launch(
            argv=request.argv,
            env={**default_environment(request.user, user.home), **self._surroundings.environment, **request.env},
            cwd=request.cwd,
            credentials=Credentials(
                uid=user.uid, gid=user.gid, groups=user.groups, nested=not self._machine.identity.many
            ),
            network=self._surroundings.network is Network.NONE,
            limits=limits.process,
            cpus=limits.cpus,
            join=limits.join,
            stdin=request.stdin,
            terminal=request.terminal,
        )
        return command.start(self.holder, launch, nsenter=self._machine.nsenter, entered=self._entered)

    def _check_directory(self, path: str) -> None:
        with self.holder.root() as root:
            try:
                os.close(openat2(root, os.fsencode(path), os.O_PATH | os.O_DIRECTORY))
            except OSError as error:
                raise SessionFailedError(f"cannot start in {path}: it is not a directory of the sandbox") from error


def network_files(network: Network) -> dict[str, bytes]:
    """Give the files that go with a network: ``/etc/hosts``, and this machine's name servers where it is reached."""
    hosts = f"127.0.0.1\tlocalhost {HOSTNAME}\n::1\tlocalhost ip6-localhost ip6-loopback\n".encode()
    if network is Network.NONE:
        return {"/etc/hosts": hosts}
    found = {"/etc/hosts": hosts + _host_file("hosts")}
    servers = _host_file("resolv.conf")
    if servers:
        found["/etc/resolv.conf"] = servers
    return found


def _host_file(name: str) -> bytes:
    try:
        return Path("/etc", name).read_bytes()
    except OSError:
        return b""


def view_of(
    layers: tuple[Path, ...],
    upper: Path,
    work: Path,
    *,
    binds: tuple[tuple[str, str], ...],
    network: Network,
    secrets: Mapping[str, bytes] | None = None,
) -> View:
    """Give the view of a sandbox over these directories."""
    return View(
        lowers=layers,
        upper=upper,
        work=work,
        binds=binds,
        data=network_files(network),
        secrets={f"{SECRETS}/{name}": value for name, value in (secrets or {}).items()},
        network=network,
        hostname=HOSTNAME,
    )
