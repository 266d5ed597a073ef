"""Trees of files as tar streams, checked both ways: nothing leaves the place it belongs to.

``pack`` reads this machine, ``unpack`` writes it; ``member_path`` is for whoever unpacks inside a session.
"""

from __future__ import annotations

import contextlib
import io
import os
import posixpath
import stat
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final

from prewarm.backends.hosting import FileKind, FileStore
from prewarm.errors import PathEscapesError, SessionFileError, SessionFileNotFoundError

CHUNK: Final = 1024 * 1024
_SPOOL: Final = 8 * CHUNK
_SAFE_BITS: Final = 0o777
_LAST_TIME: Final = 1 << 33  # In the year 2242.
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def pack(source: Path, name: str | None = None) -> IO[bytes]:
    """Give a tar stream of a directory's contents, or of one file, at its beginning; the caller closes it.

    Modes, times, links and empty directories are kept; owners are not. Links are not followed.

    Args:
        source: On this machine.
        name: What a single file is called in the archive; its own name by default.

    Raises:
        SessionFileError: Something cannot be read, or is neither file, directory nor link.
        SessionFileNotFoundError: There is no such path.
    """
    spool = tempfile.SpooledTemporaryFile(max_size=_SPOOL)  # noqa: SIM115 - handed over, open, to the caller.
    try:
        with tarfile.open(fileobj=spool, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            if source.is_dir():
                for path, relative in _walk(source):
                    _add(tar, path, relative)
            else:
                _add(tar, source, name or source.name)
    except FileNotFoundError as error:
        spool.close()
        raise SessionFileNotFoundError(f"cannot read {error.filename}: it does not exist on this machine") from error
    except OSError as error:
        spool.close()
        raise SessionFileError(f"cannot read {error.filename or source}: {error.strerror or error}") from error
    except BaseException:
        spool.close()
        raise
    spool.seek(0)
    return spool


def upload(files: FileStore, source: Path, target: str) -> None:
    """Copy a file (to ``target``, or into it where that ends with ``/``) or a directory's contents (into it).

    Raises:
        SessionFileError: As ``pack`` and ``FileStore.put_tree`` do.
    """
    if source.is_dir():
        directory, name = target, None
    elif target.endswith("/"):
        directory, name = target, source.name
    else:
        directory, name = posixpath.split(target)
    with pack(source, name) as archive:
        files.put_tree(directory or "/", archive)


def download(files: FileStore, source: str, target: Path) -> None:
    """Copy a file (to ``target``, or into it where that is a directory) or a directory's contents (into it).

    Raises:
        PathEscapesError: As ``unpack``.
        SessionFileError: As ``unpack`` and ``FileStore`` do.
    """
    if _is_directory(files, source):
        unpack(files.get_tree(source), target)
        return
    final = target / posixpath.basename(source) if target.is_dir() else target
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=final.parent, prefix=".prewarm-") as beside:
            unpack(files.get_tree(source), Path(beside))
            for name in os.listdir(beside):  # One: the file, under the name that the archive gives it.
                os.replace(os.path.join(beside, name), final)
    except OSError as error:
        raise SessionFileError(f"cannot write {error.filename or final}: {error.strerror or error}") from error


def _is_directory(files: FileStore, path: str) -> bool:
    kind = files.stat(path).kind
    if kind is not FileKind.SYMLINK:
        return kind is FileKind.DIRECTORY
    try:
        files.list(path)  # Follows the link, which ``stat`` does not.
    except SessionFileNotFoundError:
        raise
    except SessionFileError:
        return False
    return True


def _walk(root: Path) -> Iterator[tuple[Path, str]]:
    waiting = [(root, "")]
    while waiting:
        directory, prefix = waiting.pop()
        with os.scandir(directory) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                yield Path(entry.path), prefix + entry.name
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((Path(entry.path), f"{prefix}{entry.name}/"))


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    found = path.lstat()
    member = tarfile.TarInfo(name)
    member.mode = stat.S_IMODE(found.st_mode)
    member.mtime = found.st_mtime
    if stat.S_ISDIR(found.st_mode):
        member.type = tarfile.DIRTYPE
        tar.addfile(member)
    elif stat.S_ISLNK(found.st_mode):
        member.type = tarfile.SYMTYPE
        member.linkname = os.readlink(path)
        tar.addfile(member)
    elif stat.S_ISREG(found.st_mode):
        with path.open("rb") as content:
            member.size = os.fstat(content.fileno()).st_size
            tar.addfile(member, content)
    else:
        raise SessionFileError(f"cannot pack {path}: it is neither a file, a directory nor a link")


def member_path(member: tarfile.TarInfo) -> str:
    """Give a member's normalised relative path (``.`` for the root).

    Raises:
        PathEscapesError: Its name is absolute or leaves the root, or a hard link's target does; it is a device node.
        SessionFileError: Its size is below zero.
    """
    if member.size < 0:
        raise SessionFileError(f"archive member '{member.name}' has no size that can be")
    for name in (member.name, *((member.linkname,) if member.islnk() else ())):
        if name.startswith("/") or "\0" in name or ".." in name.split("/"):
            raise PathEscapesError(f"archive member '{member.name}' leaves its root")
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        raise PathEscapesError(f"archive member '{member.name}' is neither a file, a directory nor a link")
    return posixpath.normpath(member.name)


def member_time(member: tarfile.TarInfo) -> float:
    """Give a member's time of change; 0 for what is no time, which an archive may say."""
    return member.mtime if 0 <= member.mtime <= _LAST_TIME else 0.0


def unpack(chunks: Iterable[bytes], target: Path) -> None:
    """Unpack a tar stream into a directory of this machine, making it. Set-id bits are dropped; no link is followed.

    Raises:
        PathEscapesError: A member, a link's target included, leaves it. What came before it stays.
        SessionFileError: Something cannot be written, or the stream is no archive.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        root = os.open(os.path.realpath(target), _DIRECTORY)
        try:
            later: list[tuple[str, tarfile.TarInfo]] = []
            with tarfile.open(fileobj=io.BufferedReader(ChunkReader(chunks), CHUNK), mode="r|") as tar:
                for member in tar:
                    _extract(tar, member, root, later)
            for path, member in reversed(later):  # Children before parents, which may be read-only or get new times.
                with _entered(root, path, member) as place:
                    _finish(place, member)
        finally:
            os.close(root)
    except (tarfile.TarError, ValueError) as error:
        raise SessionFileError(f"cannot unpack into {target}: {error}") from error
    except OSError as error:
        raise SessionFileError(f"cannot write {error.filename or target}: {error.strerror or error}") from error


def _extract(
    tar: tarfile.TarFile, member: tarfile.TarInfo, root: int, later: list[tuple[str, tarfile.TarInfo]]
) -> None:
    path = member_path(member)
    head, name = posixpath.split(path)
    with _entered(root, head, member) as parent:
        if not (member.isdir() and _is_directory_at(parent, name)):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=parent)
        if member.isdir():
            with _entered(root, path, member):
                later.append((path, member))
        elif member.issym():
            _check_link(member, head)
            os.symlink(member.linkname, name, dir_fd=parent)
        elif member.islnk():
            _link(member, root, parent, name)
        else:
            content = tar.extractfile(member)
            with open(os.open(name, _NEW_FILE, 0o600, dir_fd=parent), "wb") as file:
                while content is not None and (chunk := content.read(CHUNK)):
                    file.write(chunk)
                file.flush()
                _finish(file.fileno(), member)


@contextlib.contextmanager
def _entered(root: int, path: str, member: tarfile.TarInfo) -> Iterator[int]:
    """Lend a directory below the root, entered part by part, made where it is missing.

    Raises:
        PathEscapesError: A part of it is a link. No honest archive has anything below a link.
    """
    place = os.dup(root)
    try:
        for name in path.split("/"):
            if name in {"", "."}:
                continue
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=place)
            try:
                below = os.open(name, _DIRECTORY, dir_fd=place)
            except NotADirectoryError as error:
                if stat.S_ISLNK(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode):
                    raise PathEscapesError(f"archive member '{member.name}' leaves its root through a link") from error
                raise
            os.close(place)
            place = below
        yield place
    finally:
        os.close(place)


def _check_link(member: tarfile.TarInfo, directory: str) -> None:
    """Let a link lead below the root only: up first, never above the root, then down. Then links of links do too."""
    parts = [part for part in member.linkname.split("/") if part not in {"", "."}]
    up = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    depth = len([part for part in directory.split("/") if part])
    if member.linkname.startswith("/") or up > depth or ".." in parts[up:]:
        raise PathEscapesError(f"link '{member.name}' in the archive points out of it, to '{member.linkname}'")


def _link(member: tarfile.TarInfo, root: int, parent: int, name: str) -> None:
    head, origin = posixpath.split(posixpath.normpath(member.linkname))
    with _entered(root, head, member) as place:
        if not stat.S_ISREG(os.stat(origin, dir_fd=place, follow_symlinks=False).st_mode):
            raise PathEscapesError(f"archive member '{member.name}' is a hard link to what is not a file")
        os.link(origin, name, src_dir_fd=place, dst_dir_fd=parent, follow_symlinks=False)


def _is_directory_at(parent: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _finish(descriptor: int, member: tarfile.TarInfo) -> None:
    os.fchmod(descriptor, member.mode & _SAFE_BITS)
    os.utime(descriptor, (member_time(member),) * 2)


class ChunkReader(io.RawIOBase):
    """A readable stream over an iterator of chunks."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override] # typeshed: WriteableBuffer.
        while not self._rest:
            try:
                self._rest = next(self._chunks)
            except StopIteration:
                return 0
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
