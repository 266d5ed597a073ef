"""The files of a session, by tar streams through the engine: no program of the image is needed to read or write them.

What tar streams cannot do (append, list, remove, rename), or where they do not reach (memory, a read-only root), runs as
the session's user, with no more rights than it has (``inside``).
The engine resolves links inside the container, so that none leads out of it.
"""

from __future__ import annotations

import contextlib
import io
import os
import posixpath
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO

from prewarm.backends.docker import listing
from prewarm.backends.docker.accounts import Account, Accounts
from prewarm.backends.docker.archive import PathFacts, path_facts, small_text
from prewarm.backends.docker.engine import Engine, raw, translated
from prewarm.backends.docker.inside import Inside, Places
from prewarm.backends.docker.tarstreams import Sink, copy_checked
from prewarm.backends.hosting import FileInfo, FileKind, SessionHandle
from prewarm.backends.paths import is_below, session_path
from prewarm.backends.tree import CHUNK, ChunkReader
from prewarm.errors import PathEscapesError, PrewarmError, SessionFileError, SessionFileNotFoundError, SessionGoneError


class ContainerFiles:
    """A ``FileStore`` over a container.

    Args:
        engine: Where it is.
        container: Its full id.
        handle: The session, for what runs inside.
        user: The session's, as the definition names it.
        places: Where files are for commands alone.
        touch: Says that the session is in use; raises where it has gone.
    """

    def __init__(
        self,
        engine: Engine,
        container: str,
        handle: SessionHandle,
        *,
        user: str,
        places: Places,
        touch: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._container = container
        self._inside = Inside(handle, user)
        self._places = places
        self._user = user
        self._touch = touch
        self._owner: Account | None = None

    def read(self, path: str, *, limit: int | None = None) -> bytes:
        """Give the exact bytes of a file."""
        path, found = self._resolved(path)
        if found.is_directory or found.is_other:
            raise SessionFileError(f"'{path}' is not a file")
        if limit is not None and found.size > limit:
            raise SessionFileError(f"'{path}' has {found.size} bytes, more than the limit of {limit}")
        if self._places.are_hidden(path):
            return self._inside.read(path, limit)
        with self._archive(path) as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isreg() else None
                if content is not None and (limit is None or member.size <= limit):
                    return content.read()
        raise SessionFileError(f"'{path}' is not a file")

    def write(self, path: str, data: bytes, *, mode: int | None = None, append: bool = False) -> None:
        """Write all of it, making parents."""
        path = session_path(path)
        found = self._facts(path)
        if found is not None and found.is_link and found.link:
            path = session_path(found.link)
            found = self._facts(path)
        if found is not None and found.is_link:
            raise SessionFileError(f"'{path}' cannot be followed: it leads to itself")
        if found is not None and (found.is_directory or found.is_other):
            raise SessionFileError(f"cannot write '{path}': it is not a file")
        if append and found is not None:
            self._inside.command(("/bin/sh", "-c", 'cat >> "$0"', path), f"append to '{path}'", stdin=data)
            if mode is not None:
                self._inside.command(("chmod", f"{mode:o}", path), f"change the mode of '{path}'")
            return
        directory, name = posixpath.split(path)
        if found is None:
            self._make_directories(directory, 0o755)
        member = self._member(name, tarfile.REGTYPE, mode if mode is not None else found.mode if found else 0o644)
        member.size = len(data)
        self._put(directory, [(member, data)], path)

    def list(self, path: str) -> Sequence[FileInfo]:
        """Give a directory's entries, by name."""
        asked = session_path(path)
        path, found = self._resolved(path)
        if not found.is_directory:
            raise SessionFileError(f"'{path}' is not a directory")
        return listing.entries(asked, self._inside.command(listing.argv(path), f"list '{path}'"))

    def stat(self, path: str) -> FileInfo:
        """Say what a path is; a link is not followed."""
        path = session_path(path)
        found = self._facts(path)
        if found is None:
            raise self._missing(path)
        kind = FileKind.FILE
        if found.is_directory:
            kind = FileKind.DIRECTORY
        elif found.is_link:
            kind = FileKind.SYMLINK
        elif found.is_other:
            kind = FileKind.OTHER
        size = found.size if kind is FileKind.FILE else 0
        return FileInfo(path=path, kind=kind, size=size, mode=found.mode, modified=found.modified)

    def mkdir(self, path: str, *, mode: int = 0o755) -> None:
        """Make a directory and its parents; one that exists is fine."""
        self._make_directories(session_path(path), mode)

    def remove(self, path: str, *, recursive: bool = False) -> None:
        """Remove a file, a link, or a directory (an empty one, unless ``recursive``)."""
        path = session_path(path)
        if path == "/":
            raise SessionFileError("cannot remove '/'")
        found = self._facts(path)
        if found is None:
            raise self._missing(path)
        if not found.is_directory:
            self._inside.command(("rm", "-f", "--", path), f"remove '{path}'")
        elif recursive:
            self._inside.command(("rm", "-rf", "--", path), f"remove '{path}'")
        else:
            self._inside.command(("rmdir", "--", path), f"remove '{path}'")

    def rename(self, source: str, target: str) -> None:
        """Rename; a file at the target is replaced."""
        source, target = session_path(source), session_path(target)
        if self._facts(source) is None:
            raise self._missing(source)
        self._make_directories(posixpath.dirname(target), 0o755)
        self._inside.command(("mv", "-f", "-T", "--", source, target), f"rename '{source}'")

    def put_tree(self, target: str, archive: IO[bytes]) -> None:
        """Unpack a tar stream into a directory, making it. Checked whole before anything is unpacked."""
        target = session_path(target)
        owner = self._account()

        def stands(path: str) -> bool:
            found = self._facts(posixpath.join(target, path))
            if found is not None and found.is_link and not is_below(found.link, target):
                raise PathEscapesError(f"'{path}' in '{target}' is a link that leads out of it")
            return found is not None

        with tempfile.SpooledTemporaryFile(max_size=8 * CHUNK) as spool:
            try:
                with tarfile.open(fileobj=archive, mode="r|*") as source:
                    copy_checked(source, spool, owner, stands)
            except tarfile.TarError as error:
                raise SessionFileError(f"cannot unpack into '{target}': {error}") from error
            spool.seek(0)
            self._make_directories(target, 0o755)
            self._upload(target, spool, target)

    def get_tree(self, source: str) -> Iterator[bytes]:
        """Give a tar stream of a directory's contents, or of one file."""
        path, found = self._resolved(source)
        return self._packed(path, is_directory=found.is_directory)

    def _packed(self, path: str, *, is_directory: bool) -> Iterator[bytes]:
        sink = Sink()
        with self._archive(path) as tar, tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as packed:
            for member in tar:
                top, _, rest = member.name.partition("/")
                name = rest if is_directory else top
                if not name or not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
                    continue
                if member.islnk():
                    member.linkname = member.linkname.partition("/")[2]
                member.name = name
                member.pax_headers = {}  # They would bring the old name back.
                packed.addfile(member, tar.extractfile(member) if member.isreg() else None)
                yield from sink.taken()
        yield from sink.taken()

    def _resolved(self, path: str) -> tuple[str, PathFacts]:
        path = session_path(path)
        found = self._facts(path)
        if found is not None and found.is_link:
            path = session_path(found.link) if found.link else path
            found = self._facts(path)
            if found is not None and found.is_link:
                raise SessionFileError(f"'{path}' cannot be followed: it leads to itself")
        if found is None:
            raise self._missing(path)
        return path, found

    def _facts(self, path: str) -> PathFacts | None:
        self._touch()
        if self._places.are_hidden(path):
            return self._inside.facts(path)
        with translated():
            return path_facts(self._engine.api, self._container, path)

    def _missing(self, path: str) -> PrewarmError:
        from docker.errors import NotFound

        with translated():
            try:
                self._engine.api.inspect_container(self._container)
            except NotFound:
                return SessionGoneError(f"the session's container {self._container[:12]} is gone", hint="open it again")
        return SessionFileNotFoundError(f"'{path}' does not exist in the session")

    @contextlib.contextmanager
    def _archive(self, path: str) -> Iterator[tarfile.TarFile]:
        from docker.errors import NotFound

        if self._places.are_hidden(path):
            with self._inside.archive(path) as tar:
                yield tar
            return
        with translated():
            try:
                chunks, _ = raw(self._engine.api).get_archive(self._container, os.fsencode(path))
            except NotFound as error:
                raise self._missing(path) from error
            try:
                with tarfile.open(
                    fileobj=io.BufferedReader(ChunkReader(chunks), CHUNK),
                    mode="r|",
                    encoding="utf-8",
                    errors="surrogateescape",
                ) as tar:
                    yield tar
            finally:
                chunks.close()

    def _make_directories(self, path: str, mode: int) -> None:
        missing: list[str] = []
        while (found := self._facts(path)) is None:
            missing.append(posixpath.basename(path))
            path = posixpath.dirname(path)
        if found.is_link and found.link and missing:
            found = self._facts(session_path(found.link))
        if found is None or not (found.is_directory or (found.is_link and not missing)):
            raise SessionFileError(f"'{path}' is not a directory")
        if not missing:
            return
        members, name = [], ""
        for part in reversed(missing):
            name = posixpath.join(name, part)
            members.append((self._member(name, tarfile.DIRTYPE, 0o755), b""))
        members[-1][0].mode = mode
        self._put(path, members, posixpath.join(path, name))

    def _member(self, name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
        owner = self._account()
        member = tarfile.TarInfo(name)
        member.type, member.mode, member.uid, member.gid = kind, mode, owner.uid, owner.gid
        member.mtime = time.time()
        return member

    def _put(self, directory: str, members: Iterable[tuple[tarfile.TarInfo, bytes]], what: str) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for member, data in members:
                tar.addfile(member, io.BytesIO(data))
        buffer.seek(0)
        self._upload(directory, buffer, what)

    def _upload(self, directory: str, archive: IO[bytes], what: str) -> None:
        from docker.errors import APIError, NotFound

        self._touch()
        if self._places.are_refused(directory):
            self._inside.unpack(directory, archive, what)
            return
        with translated():
            try:
                raw(self._engine.api).put_archive(self._container, os.fsencode(directory), archive)
            except NotFound as error:
                raise self._missing(directory) from error
            except APIError as error:
                raise SessionFileError(f"cannot write '{what}': {error.explanation}") from error

    def _account(self) -> Account:
        if self._owner is None:
            with translated():
                text = small_text(self._engine.api, self._container, "/etc/passwd") or ""
            self._owner = Accounts(passwd=text).find(self._user) or Account(name=self._user, uid=0, gid=0, home="/")
        return self._owner
