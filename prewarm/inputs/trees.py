"""Walk the files of a project: one pass over a directory, stat data against the digest cache, nothing followed.

Finds what a seed or an input names, and refuses what cannot be the same on every machine: links that lead out of their
tree, sockets, devices, whatever cannot be read. Left out without being asked are ``.git`` (``!.git`` brings it back) and
the project's own ``prewarm.lock``, which the build writes. Called by ``resolve``; the loop is kept plain because it runs once a file.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeAlias

from prewarm.errors import DefinitionError, UnkeyableInputError
from prewarm.inputs.digests import FileDigests
from prewarm.inputs.entries import SeedEntry
from prewarm.inputs.hashing import shown
from prewarm.inputs.ignoring import Glob, Ignore, is_magic
from prewarm.key.values import EntryKind

LOCK_FILE: Final = b"prewarm.lock"
_GIT: Final = b".git"
_FILE: Final = EntryKind.FILE
_DIRECTORY: Final = EntryKind.DIRECTORY
_SYMLINK: Final = EntryKind.SYMLINK
_LEFT_OUT: Final = frozenset({_GIT, LOCK_FILE})
_KIND: Final = 0o170000

_Directory: TypeAlias = tuple[
    bytes, bytes, bytes, frozenset[int]
]  # path, relative path, prefix of targets, glob's state


class Tree:
    """The files of one project.

    Args:
        project: Its directory.
        digests: The run's view of the disk.
    """

    def __init__(self, project: Path, digests: FileDigests) -> None:
        self.root = digests.once(("real path", project), lambda: os.fsencode(os.path.realpath(project)))
        self._digests = digests

    def entries(self, source: str, target: str, ignore: Sequence[str] = ()) -> list[SeedEntry]:
        """Give what a source comes to, in no order.

        Args:
            source: File, directory or glob, relative to the project, normalised.
            target: Where it goes. A directory's contents go below it; a file goes to it, or below it where it ends
                with ``/``; a glob's matches keep their paths below the glob's fixed part. Empty: everything keeps its
                path below the project.
            ignore: Patterns as in ``.gitignore``.

        Raises:
            UnkeyableInputError: It is not there, matches nothing, cannot be read, or holds what is no file.
            DefinitionError: It, or a link in it, leads out.
        """
        self._digests.load(self.root)
        fixed, pattern = _split(source.rstrip("/") or ".", self.root)
        top = self._inside(fixed, source)
        patterns = tuple(ignore)
        hiding = self._digests.once(("ignore", patterns), lambda: Ignore(patterns)) if patterns else None
        walk = _Walk(self._digests, top, self.root, ignore=hiding, glob=Glob(pattern) if pattern else None)
        if pattern or os.path.isdir(top):
            prefix = target.rstrip("/") if target else fixed
            walk.directory(b"" if prefix == "." else os.fsencode(f"{prefix}/"))
        else:
            name = posixpath.basename(fixed)
            walk.file(os.fsencode(f"{target}{name}" if target.endswith("/") else target or fixed))
        entries = walk.entries()
        if pattern and not entries:
            raise UnkeyableInputError(f"'{source}' matches nothing", hint="put the files there, or correct the pattern")
        return entries

    def read(self, path: str) -> bytes:
        """Give the content of one file of the project."""
        name = self._inside(path, path)
        try:
            with open(name, "rb") as file:
                return file.read()
        except OSError as error:
            raise UnkeyableInputError(f"cannot read '{path}': {error.strerror}") from error

    def _inside(self, path: str, source: str) -> bytes:
        """Find where a path really is; links on the way to it may not lead out of the project."""
        joined = self.root if path == "." else os.path.join(self.root, os.fsencode(path))
        real = joined if self._is_plain(path) else os.path.realpath(joined)
        if real != self.root and not real.startswith(self.root.rstrip(b"/") + b"/"):
            raise DefinitionError(
                f"'{source}' leaves the project directory: it leads to {shown(real)}",
                hint="copy the files into the project",
            )
        if not os.path.lexists(real):
            raise UnkeyableInputError(
                f"cannot read '{source}': no such file or directory",
                hint="correct the path, which starts at the project directory, or make the file first",
            )
        return real

    def _is_plain(self, path: str) -> bool:
        """Tell whether no part of a path is a link; cheaper than finding out where the links lead."""
        at = self.root
        for part in path.split("/"):
            at = os.path.join(at, os.fsencode(part))
            try:
                if stat.S_ISLNK(os.lstat(at).st_mode):
                    return False
            except OSError:
                return False
        return True


class _Walk:
    """One walk: what it found, and which files are still to be read.

    Args:
        digests: The run's view of the disk.
        top: Where it begins.
        root: The project.
        ignore: What is hidden; ``None`` for nothing.
        glob: What is taken; ``None`` for everything.
    """

    def __init__(
        self, digests: FileDigests, top: bytes, root: bytes, *, ignore: Ignore | None, glob: Glob | None
    ) -> None:
        self._digests = digests
        self._top = top
        self._lock_file = os.path.join(root, LOCK_FILE)
        self._ignore = ignore
        self._glob = glob
        self._keeps_git = ignore is not None and ignore.keeps_git
        self._pending: list[tuple[int, bytes, os.stat_result]] = []
        self._found: list[SeedEntry] = []

    def entries(self) -> list[SeedEntry]:
        """Read what is not remembered, and give all that was found."""
        digested = self._digests.digest([(path, status) for _, path, status in self._pending])
        for (number, path, _), (sha256, status) in zip(self._pending, digested, strict=True):
            bits = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
            target = self._found[number].target
            self._found[number] = SeedEntry(target, _FILE, bits, status.st_size, sha256, b"", os.fsdecode(path))
        self._pending.clear()
        return self._found

    def file(self, target: bytes) -> None:
        """Take the one file at the top."""
        try:
            status = os.stat(self._top, follow_symlinks=False)
        except OSError as error:
            raise _unreadable(self._top, error) from error
        if not stat.S_ISREG(status.st_mode):
            raise _special(self._top, status.st_mode)
        if self._ignore is None or not self._ignore.hides(os.path.basename(self._top), is_directory=False):
            self._file(self._top, target, status)

    def directory(self, prefix: bytes) -> None:
        """Take what is below the top, each with ``prefix`` and its relative path as its target."""
        if prefix.rstrip(b"/") and self._glob is None:
            self._found.append(SeedEntry(prefix.rstrip(b"/"), _DIRECTORY, 0o755, 0, "", b"", None))
        start = self._glob.start if self._glob is not None else frozenset[int]()
        stack = [(self._top, b"", prefix, start)]
        scan = self._everything if self._glob is None else self._chosen
        while stack:
            path, relative, prefix, state = stack.pop()
            try:
                stack += scan(path, relative, prefix, state)
            except OSError as error:
                raise _unreadable(path, error) from error

    def _everything(self, path: bytes, relative: bytes, prefix: bytes, state: frozenset[int]) -> list[_Directory]:
        """Take a directory's entries and give its directories. This loop is what a warm key costs."""
        known = self._digests.known
        hides = None if self._ignore is None else self._ignore.hides
        found = self._found
        new = tuple.__new__  # A third of the time of SeedEntry(…).
        below: list[_Directory] = []
        with os.scandir(path) as scanned:
            for entry in scanned:
                name = entry.name
                if name in _LEFT_OUT and self._is_left_out(name, entry.path):
                    continue
                status = entry.stat(follow_symlinks=False)
                mode = status.st_mode
                kind = mode & _KIND
                if hides is not None and hides(relative + name, is_directory=kind == stat.S_IFDIR):
                    continue
                if kind == stat.S_IFREG:
                    row = known.get(entry.path)
                    if (
                        row is not None
                        and row[3] == status.st_ctime_ns
                        and row[2] == status.st_mtime_ns
                        and row[1] == status.st_size
                        and row[4] == status.st_ino
                        and row[5] == status.st_dev
                    ):
                        bits = 0o755 if mode & stat.S_IXUSR else 0o644
                        source = entry.path.decode("utf-8", "surrogateescape")
                        found.append(new(SeedEntry, (prefix + name, _FILE, bits, row[1], row[6], b"", source)))
                    else:
                        self._file(entry.path, prefix + name, status)
                elif kind == stat.S_IFDIR:
                    found.append(SeedEntry(prefix + name, _DIRECTORY, 0o755, 0, "", b"", None))
                    below.append((entry.path, relative + name + b"/", prefix + name + b"/", state))
                else:
                    self._other(entry.path, relative + name, prefix + name, mode)
        return below

    def _chosen(self, path: bytes, relative: bytes, prefix: bytes, state: frozenset[int]) -> list[_Directory]:
        """Take of a directory's entries what the glob matches and no pattern hides; give the directories to enter."""
        below: list[_Directory] = []
        with os.scandir(path) as scanned:
            for entry in scanned:
                name, here = entry.name, relative + entry.name
                is_directory = entry.is_dir(follow_symlinks=False)
                if name in _LEFT_OUT and self._is_left_out(name, entry.path):
                    continue
                reached = self._glob.step(state, name) if self._glob is not None else state
                if self._glob is not None and not reached:
                    continue
                if self._ignore is not None and self._ignore.hides(here, is_directory=is_directory):
                    continue
                is_match = self._glob is None or self._glob.matches(reached)
                if is_directory:
                    below.append((entry.path, here + b"/", prefix + name + b"/", reached))
                if is_match:
                    self._entry(entry.path, here, prefix + name, entry.stat(follow_symlinks=False))
        return below

    def _entry(self, path: bytes, relative: bytes, target: bytes, status: os.stat_result) -> None:
        if stat.S_ISREG(status.st_mode):
            self._file(path, target, status)
        elif stat.S_ISDIR(status.st_mode):
            self._found.append(SeedEntry(target, _DIRECTORY, 0o755, 0, "", b"", None))
        else:
            self._other(path, relative, target, status.st_mode)

    def _file(self, path: bytes, target: bytes, status: os.stat_result) -> None:
        sha256 = self._digests.remembered(path, status)
        if sha256 is None:
            self._pending.append((len(self._found), path, status))
        bits = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
        self._found.append(SeedEntry(target, _FILE, bits, status.st_size, sha256 or "", b"", os.fsdecode(path)))

    def _other(self, path: bytes, relative: bytes, target: bytes, mode: int) -> None:
        """Take a link as it stands, if it stays within the tree it belongs to; refuse what is no file."""
        if not stat.S_ISLNK(mode):
            raise _special(path, mode)
        link = os.readlink(path)
        landing = posixpath.normpath(posixpath.join(posixpath.dirname(relative), link))
        if link.startswith(b"/") or landing == b".." or landing.startswith(b"../"):
            raise DefinitionError(
                f"the link {shown(path)} leads out of its tree, to {shown(link)}",
                hint="make it relative and keep it within the source, or list it under 'ignore'",
            )
        self._found.append(SeedEntry(target, _SYMLINK, 0o777, 0, "", link, None))

    def _is_left_out(self, name: bytes, path: bytes) -> bool:
        return not self._keeps_git if name == _GIT else path == self._lock_file


def _split(source: str, root: bytes) -> tuple[str, list[str]]:
    """Split a source into its fixed part and its pattern; what exists under its own name is no pattern."""
    if not is_magic(source) or os.path.lexists(os.path.join(root, os.fsencode(source))):
        return source, []
    parts = [part for part in source.split("/") if part]
    first = next(number for number, part in enumerate(parts) if is_magic(part))
    return "/".join(parts[:first]) or ".", parts[first:]


def _unreadable(path: bytes, error: OSError) -> UnkeyableInputError:
    return UnkeyableInputError(
        f"cannot read {shown(path)}: {error.strerror}",
        hint="make it readable, or list it under 'ignore' if the template does not need it",
    )


def _special(path: bytes, mode: int) -> UnkeyableInputError:
    kinds = {stat.S_IFSOCK: "socket", stat.S_IFIFO: "named pipe", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
    kind = kinds.get(stat.S_IFMT(mode), "special file")
    return UnkeyableInputError(
        f"cannot put {shown(path)} into a template: it is a {kind}", hint="remove it, or list it under 'ignore'"
    )
