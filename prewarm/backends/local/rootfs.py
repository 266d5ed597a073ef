"""Root filesystem archives unpacked into a layer: tar, plain or compressed with gzip or zstd.

Members that leave the root are refused, through links too. Device nodes are left out (a sandbox has its own ``/dev``), set-id
bits are dropped where all files have one owner, and owners are kept where this process is real root.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path
from typing import IO, Final

from prewarm.backends import compression
from prewarm.backends.compression import Readable, decompressed
from prewarm.backends.local.identity import identity_of_this_process
from prewarm.backends.local.inside import make_directories
from prewarm.backends.tree import member_time
from prewarm.errors import CaptureFailedError, PathEscapesError

KIND: Final = "rootfs"
_CHUNK: Final = 1024 * 1024
_IDS: Final = 65536
_OPAQUE: Final = "user.overlay.opaque"
WHITEOUT: Final = ".wh."
OPAQUE_MARK: Final = ".wh..wh..opq"


def unpack(archive: Path, target: Path, *, whiteouts: bool = False, sha256: str | None = None) -> None:
    """Unpack an archive into an empty directory.

    Args:
        archive: The file.
        target: The directory.
        whiteouts: Whether names beginning with ``.wh.`` stand for deletions, as in the layers of images.
        sha256: What the bytes of the file must have, all of them, as they are unpacked.

    Raises:
        CaptureFailedError: It is no archive, another one than was looked at before, or cannot be written.
        PathEscapesError: A member leaves the root.
    """
    try:
        with archive.open("rb") as file:
            digested = _Digested(file)
            with decompressed(digested, compression.of(file)) as stream:
                _Unpacking(target, whiteouts=whiteouts).run(stream)
            if sha256 is not None and digested.rest() != sha256:
                raise CaptureFailedError(f"{archive.name} has changed since it was looked at", hint="build again")
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise CaptureFailedError(f"{archive.name} is no archive that can be unpacked: {error}") from error
    except OSError as error:
        raise CaptureFailedError(f"{archive.name} could not be unpacked: {error}") from error


class _Digested(io.RawIOBase):
    """A file that is digested while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._digest.update(data)
        return data

    def rest(self) -> str:
        """Read what is left; give the sha256 of all."""
        while self.read(_CHUNK):
            pass
        return self._digest.hexdigest()


class _Unpacking:
    """One archive on its way into a directory. Paths are resolved by the kernel, inside the directory."""

    def __init__(self, target: Path, *, whiteouts: bool) -> None:
        self._target = target
        self._whiteouts = whiteouts
        self._many = identity_of_this_process().many
        self._directories: list[tuple[bytes, tarfile.TarInfo]] = []

    def run(self, stream: Readable) -> None:
        self._target.chmod(0o755)
        root = os.open(self._target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with tarfile.open(fileobj=stream, mode="r|", errors="surrogateescape") as tar:  # type: ignore[call-overload] # It only reads.
                for member in tar:
                    self._put(root, tar, member)
            for path, member in reversed(self._directories):
                place = make_directories(root, path, None)
                try:
                    self._finish(f"/proc/self/fd/{place}", member)
                finally:
                    os.close(place)
        finally:
            os.close(root)

    def _put(self, root: int, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        if member.size < 0:
            raise tarfile.ReadError(f"'{member.name}' has no size that can be")
        path = _inside(member.name, member)
        if member.ischr() or member.isblk():
            return
        if path == b".":
            self._directories.append((path, member))
            return
        head, name = os.path.split(path)
        parent = make_directories(root, head, None)
        try:
            if self._whiteouts and os.fsdecode(name).startswith(WHITEOUT):
                self._whiteout(parent, os.fsdecode(name), member)
            elif member.isdir():
                _directory(parent, name)
                self._directories.append((path, member))
            else:
                _clear(parent, name)
                self._file(root, tar, member, parent, name)
        finally:
            os.close(parent)

    def _file(self, root: int, tar: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: bytes) -> None:
        if member.issym():
            os.symlink(os.fsencode(member.linkname), name, dir_fd=parent)
            if self._many:
                os.chown(name, *_owner(member), dir_fd=parent, follow_symlinks=False)
            os.utime(name, (member_time(member),) * 2, dir_fd=parent, follow_symlinks=False)
        elif member.islnk():
            head, origin = os.path.split(_inside(member.linkname, member))
            place = make_directories(root, head, None)
            try:
                os.link(origin, name, src_dir_fd=place, dst_dir_fd=parent, follow_symlinks=False)
            finally:
                os.close(place)
        elif member.isfifo():
            os.mkfifo(name, 0o600, dir_fd=parent)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            content = tar.extractfile(member)
            with open(os.open(name, flags, 0o600, dir_fd=parent), "wb") as file:
                while content is not None and (chunk := content.read(_CHUNK)):
                    file.write(chunk)
                file.flush()
                self._finish(f"/proc/self/fd/{file.fileno()}", member)

    def _finish(self, path: str, member: tarfile.TarInfo) -> None:
        if self._many:
            os.chown(path, *_owner(member))
        os.chmod(path, member.mode & (0o7777 if self._many else 0o1777))
        os.utime(path, (member_time(member),) * 2)

    def _whiteout(self, parent: int, name: str, member: tarfile.TarInfo) -> None:
        if name == OPAQUE_MARK:
            os.setxattr(f"/proc/self/fd/{parent}", _OPAQUE, b"y")
        else:
            gone = name.removeprefix(WHITEOUT).encode("utf-8", "surrogateescape")
            if gone in {b"", b".", b".."}:
                raise PathEscapesError(f"archive member '{member.name}' deletes what is not below it")
            _clear(parent, gone)
            os.mknod(gone, 0o600 | 0o020000, 0, dir_fd=parent)


def _inside(name: str, member: tarfile.TarInfo) -> bytes:
    """Give a member's path below the root; a leading slash is how some archives write it."""
    path = name.lstrip("/")
    if ".." in path.split("/") or "\0" in path:
        raise PathEscapesError(f"archive member '{member.name}' leaves its root")
    return os.path.normpath(path or ".").encode("utf-8", "surrogateescape")


def _owner(member: tarfile.TarInfo) -> tuple[int, int]:
    if not (0 <= member.uid < _IDS and 0 <= member.gid < _IDS):
        raise CaptureFailedError(
            f"archive member '{member.name}' belongs to user {member.uid}:{member.gid}, beyond 65535"
        )
    return member.uid, member.gid


def _directory(parent: int, name: bytes) -> None:
    """Make a directory, in place of anything but a directory."""
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        try:
            os.close(os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent))
        except NotADirectoryError:
            os.unlink(name, dir_fd=parent)
            os.mkdir(name, 0o700, dir_fd=parent)


def _clear(parent: int, name: bytes) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        import shutil

        shutil.rmtree(os.fsdecode(name), dir_fd=parent)
