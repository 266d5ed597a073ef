"""The files of a session, reached through its holder's root directory; the kernel keeps every path inside (``openat2``).

Nothing here follows a link by itself or joins paths outside. Owners are given only where this process is real root;
otherwise all files of a session belong to the one user there is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import IO, Final

from prewarm.backends.hosting import FileInfo, FileKind
from prewarm.backends.local.inside import make_directories, open_for_writing, open_regular, own, translated, write_all
from prewarm.backends.local.openat2 import openat2
from prewarm.backends.paths import session_path
from prewarm.errors import SessionFileError, SessionFileNotFoundError

_SPOOL: Final = 8 * 1024 * 1024
_FILE_MODE: Final = 0o644
_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY


class LocalFiles:
    """A ``FileStore`` over a root directory.

    Args:
        root: Lends a descriptor of the root directory; raises ``SessionGoneError`` where the session has ended.
        owner: User and group of what is made; ``None`` where they cannot be given.
    """

    def __init__(self, root: Callable[[], AbstractContextManager[int]], owner: tuple[int, int] | None) -> None:
        self._root = root
        self._owner = owner

    def read(self, path: str, *, limit: int | None = None) -> bytes:
        with self._at(path, "read") as (root, raw):
            descriptor = open_regular(root, raw)
            with open(descriptor, "rb", buffering=0) as file:
                size = os.fstat(descriptor).st_size
                if limit is not None and size > limit:
                    raise SessionFileError(f"cannot read {path}: it has {size} bytes, more than {limit}")
                content = file.read(-1 if limit is None else limit + 1)
                while limit is not None and len(content) <= limit and (more := file.read(limit + 1 - len(content))):
                    content += more
                if limit is not None and len(content) > limit:
                    raise SessionFileError(f"cannot read {path}: it has more than {limit} bytes")
                return content

    def write(self, path: str, data: bytes, *, mode: int | None = None, append: bool = False) -> None:
        with self._at(path, "write") as (root, raw):
            if raw == b"/":
                raise SessionFileError("cannot write /: it is a directory")
            parent = make_directories(root, os.path.dirname(raw), self._owner)
            os.close(parent)
            descriptor, is_new = open_for_writing(root, raw)
            with open(descriptor, "wb", buffering=0) as file:
                if is_new:
                    own(descriptor, self._owner)
                if is_new or mode is not None:
                    os.fchmod(descriptor, _FILE_MODE if mode is None else mode)
                if append:
                    file.seek(0, os.SEEK_END)
                else:
                    file.truncate(0)
                write_all(file, data)

    def list(self, path: str) -> Sequence[FileInfo]:
        with self._at(path, "list") as (root, raw):
            descriptor = openat2(root, raw, os.O_RDONLY | os.O_DIRECTORY)
            try:
                prefix = path.rstrip("/") + "/"
                with os.scandir(descriptor) as entries:
                    found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
            finally:
                os.close(descriptor)
            return [_info(prefix + name, status) for name, status in sorted(found, key=lambda pair: pair[0])]

    def stat(self, path: str) -> FileInfo:
        with self._at(path, "stat") as (root, raw):
            descriptor = openat2(root, raw, os.O_PATH | os.O_NOFOLLOW)
            try:
                return _info(path, os.fstat(descriptor))
            finally:
                os.close(descriptor)

    def mkdir(self, path: str, *, mode: int = 0o755) -> None:
        with self._at(path, "make directory") as (root, raw):
            os.close(make_directories(root, raw, self._owner, mode))

    def remove(self, path: str, *, recursive: bool = False) -> None:
        with self._at(path, "remove") as (root, raw):
            if raw == b"/":
                raise SessionFileError("cannot remove /: it is the root")
            with self._parent(root, raw) as (parent, name):
                status = os.stat(name, dir_fd=parent, follow_symlinks=False)
                if not stat.S_ISDIR(status.st_mode):
                    os.unlink(name, dir_fd=parent)
                elif recursive:
                    import shutil

                    shutil.rmtree(name, dir_fd=parent)
                else:
                    _remove_directory(path, name, parent)

    def rename(self, source: str, target: str) -> None:
        with self._at(target, "rename to") as (root, new):
            os.close(make_directories(root, os.path.dirname(new), self._owner))
        with self._at(source, "rename") as (root, old):
            if b"/" in (old, new):
                raise SessionFileError(f"cannot rename {source} to {target}: one of them is the root")
            with self._parent(root, old) as (old_parent, old_name), self._parent(root, new) as (new_parent, new_name):
                try:
                    os.rename(old_name, new_name, src_dir_fd=old_parent, dst_dir_fd=new_parent)
                    return
                except OSError as error:
                    if error.errno != errno.EXDEV:
                        raise
        self._move(source, target)

    def put_tree(self, target: str, archive: IO[bytes]) -> None:
        with self._at(target, "unpack into") as (root, raw):
            from prewarm.backends.local import file_trees  # tarfile: most sessions move no trees.

            directory = make_directories(root, raw, self._owner)
            try:
                file_trees.unpack(directory, archive, self._owner, shown=target)
            finally:
                os.close(directory)

    def get_tree(self, source: str) -> Iterator[bytes]:
        with self._at(source, "pack") as (root, raw):
            descriptor = openat2(root, raw, os.O_PATH)
        return self._packed(descriptor, source)

    def _packed(self, descriptor: int, source: str) -> Iterator[bytes]:
        from prewarm.backends.local import file_trees

        with translated("pack", source):
            try:
                yield from file_trees.pack(descriptor, os.path.basename(session_path(source)))
            finally:
                os.close(descriptor)

    def _move(self, source: str, target: str) -> None:
        """Copy and remove: overlayfs cannot rename a directory that comes from a layer."""
        if target.startswith(source.rstrip("/") + "/"):
            raise SessionFileError(f"cannot rename {source} to {target}: it would be inside itself")
        mode = self.stat(source).mode
        with contextlib.suppress(SessionFileNotFoundError):
            if self.stat(target).kind is not FileKind.DIRECTORY or self.list(target):
                raise SessionFileError(f"cannot rename {source} to {target}: the target is not an empty directory")
        import tempfile

        with tempfile.SpooledTemporaryFile(max_size=_SPOOL) as spool:
            for chunk in self.get_tree(source):
                spool.write(chunk)
            spool.seek(0)
            self.mkdir(target, mode=mode)
            self.put_tree(target, spool)
        self.remove(source, recursive=True)

    @contextlib.contextmanager
    def _parent(self, root: int, raw: bytes) -> Iterator[tuple[int, bytes]]:
        parent = openat2(root, os.path.dirname(raw), _DIRECTORY)
        try:
            yield parent, os.path.basename(raw)
        finally:
            os.close(parent)

    @contextlib.contextmanager
    def _at(self, path: str, doing: str) -> Iterator[tuple[int, bytes]]:
        """Lend the root and the path as bytes; what the kernel refuses becomes an error that names the path."""
        raw = session_path(path).encode("utf-8", "surrogateescape")
        with translated(doing, path), self._root() as root:
            yield root, raw


def _remove_directory(path: str, name: bytes, parent: int) -> None:
    try:
        os.rmdir(name, dir_fd=parent)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            raise SessionFileError(f"cannot remove {path}: it is not empty", hint="say recursive=True") from error
        raise


def _info(path: str, status: os.stat_result) -> FileInfo:
    kinds = {stat.S_IFREG: FileKind.FILE, stat.S_IFDIR: FileKind.DIRECTORY, stat.S_IFLNK: FileKind.SYMLINK}
    return FileInfo(
        path=path,
        kind=kinds.get(stat.S_IFMT(status.st_mode), FileKind.OTHER),
        size=status.st_size,
        mode=stat.S_IMODE(status.st_mode),
        modified=status.st_mtime,
    )
