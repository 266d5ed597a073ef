"""Putting accounts, the working directory and seeds into a template before its first step, through its own mounts."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from prewarm.backends.local.inside import make_directories, open_regular, own, write_all
from prewarm.backends.local.sandbox import Sandbox
from prewarm.backends.local.users import User, with_user
from prewarm.errors import CaptureFailedError, SessionFailedError

if TYPE_CHECKING:  # Only builds know seeds.
    from prewarm.inputs import SeedEntry

_NOT_KEPT = "would not be in the template: something else is mounted there in every session"
_CHOOSE_ANOTHER = "choose another place for it"


def ensure_user(sandbox: Sandbox, name: str) -> User:
    """Give the user sessions will run as, creating it with its home if it is missing."""
    try:
        return sandbox.find_user(name)
    except SessionFailedError:
        passwd, group, user = with_user(name, sandbox.account_file("passwd"), sandbox.account_file("group"))
    sandbox.files.write("/etc/passwd", passwd)
    sandbox.files.write("/etc/group", group)
    return user


def make_home(sandbox: Sandbox, user: User, owner: tuple[int, int] | None) -> None:
    """Make a user's home directory if it is missing."""
    if user.home is not None and user.home.startswith("/home/"):
        with sandbox.holder.root() as root:
            os.close(make_directories(root, user.home.encode(), owner, 0o755))


def make_workdir(sandbox: Sandbox, path: str, owner: tuple[int, int] | None) -> None:
    """Make the working directory if it is missing, and give it to the user.

    Raises:
        CaptureFailedError: It cannot be made there.
    """
    try:
        with sandbox.holder.root() as root:
            place = make_directories(root, path.encode(), owner)
            try:
                if _is_elsewhere(place, root) and not os.fstatvfs(place).f_flag & os.ST_RDONLY:
                    raise CaptureFailedError(f"working directory {path} {_NOT_KEPT}", hint=_CHOOSE_ANOTHER)
                if owner is not None and path != "/":
                    os.chown(f"/proc/self/fd/{place}", *owner)
            finally:
                os.close(place)
    except OSError as error:
        raise CaptureFailedError(f"working directory {path} could not be made: {error.strerror}") from error


def place_seeds(
    sandbox: Sandbox, seeds: tuple[SeedEntry, ...], owner: tuple[int, int] | None, check: Callable[[], None]
) -> None:
    """Write seeds in one pass; their contents must still be what was keyed.

    Args:
        sandbox: Where to.
        seeds: Parents first.
        owner: Of all of them; ``None`` where it cannot be given.
        check: Called now and then; raises where the build is cancelled.

    Raises:
        CaptureFailedError: One cannot be written, or would not be in the template, or is no longer what it was.
    """
    with sandbox.holder.root() as root:
        directory, parent, elsewhere = b"", os.dup(root), False
        try:
            for number, seed in enumerate(seeds):
                if number % 64 == 0:
                    check()
                head, name = os.path.split(seed.target)
                try:
                    if head != directory or number == 0:
                        os.close(parent)
                        parent = -1
                        parent = make_directories(root, head, owner)
                        directory = head
                        elsewhere = _is_elsewhere(parent, root)
                    _place(seed, parent, name, owner)
                    if elsewhere:
                        raise CaptureFailedError(f"seed {os.fsdecode(seed.target)} {_NOT_KEPT}", hint=_CHOOSE_ANOTHER)
                except OSError as error:
                    where = os.fsdecode(seed.target)
                    raise CaptureFailedError(
                        f"seed {where} could not be placed: {error.strerror}",
                        hint="what comes from the base 'host' is read-only there"
                        if error.errno == errno.EROFS
                        else None,
                    ) from error
        finally:
            if parent >= 0:
                os.close(parent)


def _is_elsewhere(place: int, root: int) -> bool:
    """Say whether a directory is on something mounted over the template, such as ``/run``: what is put there is lost."""
    return os.fstat(place).st_dev != os.fstat(root).st_dev


def _place(seed: SeedEntry, parent: int, name: bytes, owner: tuple[int, int] | None) -> None:
    match seed.kind.value:
        case "directory":
            _place_directory(seed, parent, name, owner)
        case "symlink":
            _clear(parent, name)
            os.symlink(seed.link, name, dir_fd=parent)
            if owner is not None:
                os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)
        case _:
            _place_file(seed, parent, name, owner)


def _place_directory(seed: SeedEntry, parent: int, name: bytes, owner: tuple[int, int] | None) -> None:
    if not name:
        return  # The root itself.
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent).st_mode):
            raise
        return  # A directory of the base keeps its owner and mode.
    made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        own(made, owner)
        os.fchmod(made, seed.mode)
    finally:
        os.close(made)


def _place_file(seed: SeedEntry, parent: int, name: bytes, owner: tuple[int, int] | None) -> None:
    content = _content(seed)
    if hashlib.sha256(content).hexdigest() != seed.sha256:
        raise CaptureFailedError(
            f"seed {os.fsdecode(seed.target)} has changed since its key was computed", hint="build again"
        )
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, 0o600, dir_fd=parent)
    except FileExistsError:
        _clear(parent, name)
        descriptor = os.open(name, flags, 0o600, dir_fd=parent)
    with open(descriptor, "wb", buffering=0) as file:
        write_all(file, content)
        own(descriptor, owner)
        os.fchmod(descriptor, seed.mode)


def _content(seed: SeedEntry) -> bytes:
    if not isinstance(seed.source, str):
        return seed.source or b""
    try:
        return Path(seed.source).read_bytes()
    except OSError as error:
        raise CaptureFailedError(
            f"seed {os.fsdecode(seed.target)} cannot be read from {seed.source}: {error.strerror}", hint="build again"
        ) from error


def _clear(parent: int, name: bytes) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return


def give(sandbox: Sandbox, path: str, owner: tuple[int, int]) -> None:
    """Give a file that is there to its owner."""
    with sandbox.holder.root() as root:
        descriptor = open_regular(root, path.encode())
        try:
            os.fchown(descriptor, *owner)
        finally:
            os.close(descriptor)
