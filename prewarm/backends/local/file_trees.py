"""Trees of files below a descriptor, as tar streams in and out; members never leave it."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from typing import IO, Final

from prewarm.backends.local.inside import is_of_proc, make_directories, own
from prewarm.backends.tree import member_path, member_time
from prewarm.errors import PathEscapesError, SessionFileError

_CHUNK: Final = 1024 * 1024
_BLOCK: Final = tarfile.BLOCKSIZE
_END: Final = bytes(2 * _BLOCK)


def unpack(directory: int, archive: IO[bytes], owner: tuple[int, int] | None, *, shown: str) -> None:
    """Unpack a tar stream into a directory.

    Args:
        directory: Descriptor of it.
        archive: Plain tar.
        owner: Of what is made; ``None`` where it cannot be given.
        shown: What the directory is called in errors.

    Raises:
        PathEscapesError: A member leaves the directory, through a link or by its name, or is a device node.
        SessionFileError: The stream is no archive; a member is in the way of another.
        OSError: Something cannot be written.
    """
    later: list[tuple[bytes, tarfile.TarInfo]] = []
    try:
        with tarfile.open(fileobj=archive, mode="r|", errors="surrogateescape") as tar:
            for member in tar:
                path = member_path(member).encode("utf-8", "surrogateescape")
                if path == b".":
                    continue
                _put(tar, member, directory, path, owner)
                if member.isdir():
                    later.append((path, member))
    except (tarfile.TarError, ValueError) as error:
        raise SessionFileError(f"cannot unpack into {shown}: {error}") from error
    for path, member in reversed(later):  # Children before parents, which may be read-only or get new times.
        place = make_directories(directory, path, owner, beneath=True)
        try:
            os.chmod(f"/proc/self/fd/{place}", member.mode & 0o7777)
            os.utime(f"/proc/self/fd/{place}", (member_time(member),) * 2)
        finally:
            os.close(place)


def _put(
    tar: tarfile.TarFile, member: tarfile.TarInfo, directory: int, path: bytes, owner: tuple[int, int] | None
) -> None:
    if member.isdir():
        os.close(make_directories(directory, path, owner, 0o700, beneath=True))
        return
    head, name = os.path.split(path)
    parent = make_directories(directory, head, owner, beneath=True)
    try:
        _clear(member, parent, name)
        if member.issym():
            os.symlink(os.fsencode(member.linkname), name, dir_fd=parent)
            if owner is not None:
                os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)
        elif member.islnk():
            _link(member, directory, parent, name)
        else:
            _write(tar, member, parent, name, owner)
    finally:
        os.close(parent)


def _clear(member: tarfile.TarInfo, parent: int, name: bytes) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    except IsADirectoryError as error:
        raise SessionFileError(f"cannot unpack '{member.name}': there is a directory of this name") from error


def _link(member: tarfile.TarInfo, directory: int, parent: int, name: bytes) -> None:
    head, target = os.path.split(os.path.normpath(os.fsencode(member.linkname)))
    origin = make_directories(directory, head, None, beneath=True)
    try:
        if not stat.S_ISREG(os.stat(target, dir_fd=origin, follow_symlinks=False).st_mode):
            raise PathEscapesError(f"archive member '{member.name}' is a hard link to what is not a file")
        os.link(target, name, src_dir_fd=origin, dst_dir_fd=parent, follow_symlinks=False)
    finally:
        os.close(origin)


def _write(
    tar: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: bytes, owner: tuple[int, int] | None
) -> None:
    content = tar.extractfile(member)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(name, flags, 0o600, dir_fd=parent), "wb") as file:
        while content is not None and (chunk := content.read(_CHUNK)):
            file.write(chunk)
        file.flush()
        own(file.fileno(), owner)
        os.fchmod(file.fileno(), member.mode & 0o7777)
        os.utime(file.fileno(), (member_time(member),) * 2)


def pack(place: int, name: str) -> Iterator[bytes]:
    """Give a tar stream of a directory's contents, or of one file under ``name``. Sockets and the like are left out.

    Raises:
        OSError: Something cannot be read.
        SessionFileError: A file became shorter while it was read; it is one of ``/proc``, where sizes are not what can
            be read, and whoever reads may be root of this machine.
    """
    if is_of_proc(place):
        raise SessionFileError(f"cannot pack {name or '/'}: it is of /proc", hint="read it with a command")
    if stat.S_ISDIR(os.fstat(place).st_mode):
        yield from _pack_directory(place, "")
    else:
        yield from _pack_file(place, name)
    yield _END


def _pack_directory(place: int, prefix: str) -> Iterator[bytes]:
    directory = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in sorted(os.listdir(directory)):
            inner = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            try:
                status = os.fstat(inner)
                if is_of_proc(inner):
                    continue
                if stat.S_ISDIR(status.st_mode):
                    yield _header(prefix + name, status, tarfile.DIRTYPE)
                    yield from _pack_directory(inner, f"{prefix}{name}/")
                elif stat.S_ISLNK(status.st_mode):
                    yield _header(prefix + name, status, tarfile.SYMTYPE, os.readlink("", dir_fd=inner))
                elif stat.S_ISREG(status.st_mode):
                    yield from _pack_file(inner, prefix + name)
            finally:
                os.close(inner)
    finally:
        os.close(directory)


def _pack_file(place: int, name: str) -> Iterator[bytes]:
    with open(os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        yield _header(name, status, tarfile.REGTYPE)
        left = status.st_size
        while left:
            chunk = file.read(min(left, _CHUNK))
            if not chunk:
                raise SessionFileError(f"cannot pack {name}: it became shorter while it was read")
            left -= len(chunk)
            yield chunk
        if status.st_size % _BLOCK:
            yield bytes(_BLOCK - status.st_size % _BLOCK)


def _header(name: str, status: os.stat_result, kind: bytes, link: str = "") -> bytes:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.mode = stat.S_IMODE(status.st_mode)
    member.mtime = status.st_mtime
    member.linkname = link
    member.size = status.st_size if kind == tarfile.REGTYPE else 0
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
