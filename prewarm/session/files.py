"""The files of a session, as an application sees them: text or bytes, single files or whole trees.

Paths are absolute, or start at the session's ``workdir``; ``..`` is refused, and links never lead out of the session.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from pathlib import Path

from prewarm.backends.hosting import FileInfo, FileStore
from prewarm.backends.paths import session_path
from prewarm.errors import SessionFileNotFoundError


class SessionFiles:
    """What ``Session.files`` gives.

    Args:
        store: The backend's files; asked for at each call, so that an ended session says so.
        workdir: Where relative paths start.

    Raises (all methods): ``SessionFileNotFoundError``, ``PathEscapesError``, ``SessionFileError``, ``SessionGoneError``.
    """

    def __init__(self, store: Callable[[], FileStore], workdir: str) -> None:
        self._store = store
        self._workdir = workdir

    def read(self, path: str, *, limit: int | None = None) -> bytes:
        """Give a file's exact bytes; more than ``limit`` of them is a ``SessionFileError``."""
        return self._store().read(self._path(path), limit=limit)

    def read_text(self, path: str, *, encoding: str = "utf-8", errors: str = "strict", limit: int | None = None) -> str:
        """Give a file's text, line ends as they are."""
        return self.read(path, limit=limit).decode(encoding, errors)

    def write(self, path: str, data: bytes | str, *, mode: int | None = None) -> None:
        """Write a file whole, making its parents. Text is written as UTF-8; a new file has mode 0644 unless told."""
        self._store().write(self._path(path), _bytes(data), mode=mode)

    def append(self, path: str, data: bytes | str) -> None:
        """Write at the end of a file, which is made if it is missing."""
        self._store().write(self._path(path), _bytes(data), append=True)

    def list(self, path: str = ".") -> Sequence[FileInfo]:
        """Give a directory's entries, by name."""
        return self._store().list(self._path(path))

    def stat(self, path: str) -> FileInfo:
        """Say what a path is; a link is not followed."""
        return self._store().stat(self._path(path))

    def exists(self, path: str) -> bool:
        """Say whether there is anything at a path; a link counts whatever it points to."""
        try:
            self.stat(path)
        except SessionFileNotFoundError:
            return False
        return True

    def mkdir(self, path: str, *, mode: int = 0o755) -> None:
        """Make a directory and its parents; one that exists is fine."""
        self._store().mkdir(self._path(path), mode=mode)

    def remove(self, path: str, *, recursive: bool = False) -> None:
        """Remove a file, a link, an empty directory, or a tree where ``recursive`` says so."""
        self._store().remove(self._path(path), recursive=recursive)

    def rename(self, source: str, target: str) -> None:
        """Move a file or tree within the session; a file there is replaced."""
        self._store().rename(self._path(source), self._path(target))

    def upload(self, source: Path | str, target: str) -> None:
        """Copy a file or tree of this machine into the session, in one archive.

        Args:
            source: A file, which lands at ``target`` (or in it, where that ends with ``/``), or a directory, whose
                contents land in ``target``. Modes and links are kept; links are not followed.
            target: In the session; parents are made.
        """
        from prewarm.backends.tree import upload  # Most sessions copy no trees.

        kept = "/" if target.endswith("/") else ""
        upload(self._store(), Path(source), self._path(target).rstrip("/") + kept)

    def download(self, source: str, target: Path | str) -> None:
        """Copy a file or tree of the session to this machine.

        Nothing is written outside ``target``: an archive member or a link's target that leaves it is refused.

        Args:
            source: In the session: a file, which lands at ``target`` (or in it, where that is a directory), or a
                directory, whose contents land in ``target``.
            target: On this machine; parents are made.
        """
        from prewarm.backends.tree import download

        download(self._store(), self._path(source), Path(target))

    def _path(self, path: str) -> str:
        return session_path(path if path.startswith("/") else posixpath.join(self._workdir, path))


def _bytes(data: bytes | str) -> bytes:
    return data.encode() if isinstance(data, str) else data
