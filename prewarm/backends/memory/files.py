"""A filesystem in a dictionary: absolute path to node. Links resolve inside it, so nothing can lead out."""

from __future__ import annotations

import hashlib
import io
import posixpath
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO, Final

from prewarm.backends.hosting import FileInfo, FileKind
from prewarm.backends.paths import session_path
from prewarm.backends.tree import CHUNK, member_path
from prewarm.errors import PathEscapesError, SessionFileError, SessionFileNotFoundError

_LINKS_AT_MOST: Final = 40
_DIRECTORY_MODE: Final = 0o755
_FILE_MODE: Final = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One file, directory or link."""

    kind: FileKind
    mode: int
    modified: float = 0.0
    data: bytes = b""
    link: str = ""


def bare_tree() -> dict[str, Node]:
    """Give the few directories that every base of this backend has."""
    tree = {path: Node(kind=FileKind.DIRECTORY, mode=0o755) for path in ("/", "/etc", "/home", "/root", "/usr", "/var")}
    tree["/tmp"] = Node(kind=FileKind.DIRECTORY, mode=0o1777)  # noqa: S108 - inside.
    return tree


def tree_digest(tree: Mapping[str, Node]) -> str:
    """Give the sha256 of a tree: paths, kinds, modes, contents, links."""
    digest = hashlib.sha256()
    for path in sorted(tree):
        node = tree[path]
        for part in (path, node.kind.value, f"{node.mode:o}", node.link):
            raw = part.encode("utf-8", "surrogateescape")
            digest.update(b"%d:%s" % (len(raw), raw))
        digest.update(b"%d:" % len(node.data))
        digest.update(node.data)
    return digest.hexdigest()


class MemoryFiles:
    """A ``FileStore`` over a dictionary.

    Args:
        tree: What it works on; owned by it from here on.
        clock: Seconds since the epoch.
        alive: Raises where the session has ended; called first by every operation.
    """

    def __init__(self, tree: dict[str, Node], *, clock: Callable[[], float], alive: Callable[[], None]) -> None:
        self._tree = tree
        self._clock = clock
        self._alive = alive
        self._guard = threading.RLock()  # Guards _tree.

    def view(self, alive: Callable[[], None]) -> MemoryFiles:
        """Give the same files behind another check."""
        other = MemoryFiles(self._tree, clock=self._clock, alive=alive)
        other._guard = self._guard
        return other

    def snapshot(self) -> dict[str, Node]:
        """Give a copy of the tree; nodes are values."""
        with self._guard:
            return dict(self._tree)

    def read(self, path: str, *, limit: int | None = None) -> bytes:
        with self._entered():
            node = self._node(self._resolve(path), path)
            if node.kind is not FileKind.FILE:
                raise SessionFileError(f"cannot read {path}: it is a {node.kind.value}")
            if limit is not None and len(node.data) > limit:
                raise SessionFileError(f"cannot read {path}: it has {len(node.data)} bytes, more than {limit}")
            return node.data

    def write(self, path: str, data: bytes, *, mode: int | None = None, append: bool = False) -> None:
        with self._entered():
            place = self._resolve(path)
            old = self._tree.get(place)
            if old is not None and old.kind is not FileKind.FILE:
                raise SessionFileError(f"cannot write {path}: it is a {old.kind.value}")
            self._make_directories(posixpath.dirname(place), _DIRECTORY_MODE)
            whole = old.data + data if old is not None and append else bytes(data)
            bits = mode if mode is not None else old.mode if old is not None else _FILE_MODE
            self._tree[place] = Node(kind=FileKind.FILE, mode=bits, modified=self._clock(), data=whole)

    def list(self, path: str) -> Sequence[FileInfo]:
        with self._entered():
            place = self._resolve(path)
            if self._node(place, path).kind is not FileKind.DIRECTORY:
                raise SessionFileError(f"cannot list {path}: it is not a directory")
            prefix = place.rstrip("/") + "/"
            shown = path.rstrip("/") + "/"
            names = sorted(p[len(prefix) :] for p in self._tree if p.startswith(prefix) and p != "/")
            return [_info(shown + name, self._tree[prefix + name]) for name in names if "/" not in name]

    def stat(self, path: str) -> FileInfo:
        with self._entered():
            return _info(path, self._node(self._resolve(path, follow=False), path))

    def mkdir(self, path: str, *, mode: int = _DIRECTORY_MODE) -> None:
        with self._entered():
            self._make_directories(self._resolve(path), mode)

    def remove(self, path: str, *, recursive: bool = False) -> None:
        with self._entered():
            place = self._resolve(path, follow=False)
            self._node(place, path)
            if place == "/":
                raise SessionFileError("cannot remove /: it is the root")
            below = [p for p in self._tree if p.startswith(place + "/")]
            if below and not recursive:
                raise SessionFileError(f"cannot remove {path}: it is not empty", hint="say recursive=True")
            for gone in (place, *below):
                del self._tree[gone]

    def rename(self, source: str, target: str) -> None:
        with self._entered():
            old, new = self._resolve(source, follow=False), self._resolve(target, follow=False)
            node = self._node(old, source)
            if new == old:
                return
            if new.startswith(old.rstrip("/") + "/"):
                raise SessionFileError(f"cannot rename {source} to {target}: it would be inside itself")
            self._make_directories(posixpath.dirname(new), _DIRECTORY_MODE)
            there = self._tree.get(new)
            if there is not None and (there.kind is FileKind.DIRECTORY) != (node.kind is FileKind.DIRECTORY):
                raise SessionFileError(f"cannot rename {source} to {target}: one is a directory, the other is not")
            if any(p.startswith(new + "/") for p in self._tree):
                raise SessionFileError(f"cannot rename {source} to {target}: the target is not empty")
            for path in [p for p in self._tree if p == old or p.startswith(old + "/")]:
                self._tree[new + path[len(old) :]] = self._tree.pop(path)

    def is_directory(self, path: str) -> bool:
        """Say whether a path leads to a directory, through links too; not of ``FileStore``, for working directories."""
        with self._entered():
            node = self._tree.get(self._resolve(path))
            return node is not None and node.kind is FileKind.DIRECTORY

    def symlink(self, target: str, path: str) -> None:
        """Make a link at ``path`` that points to ``target``; not of ``FileStore``, for seeds and commands."""
        with self._entered():
            place = self._resolve(path, follow=False)
            if place in self._tree:
                raise SessionFileError(f"cannot make link {path}: it exists")
            self._make_directories(posixpath.dirname(place), _DIRECTORY_MODE)
            self._tree[place] = Node(kind=FileKind.SYMLINK, mode=0o777, modified=self._clock(), link=target)

    def chmod(self, path: str, mode: int) -> None:
        """Change permission bits; not of ``FileStore``, for seeds and commands."""
        with self._entered():
            place = self._resolve(path)
            self._tree[place] = replace(self._node(place, path), mode=mode)

    def put_tree(self, target: str, archive: IO[bytes]) -> None:
        with self._entered():
            root = self._resolve(target)
            self._make_directories(root, _DIRECTORY_MODE)
            try:
                with tarfile.open(fileobj=archive, mode="r|") as tar:
                    for member in tar:
                        self._put(tar, member, root)
            except tarfile.TarError as error:
                raise SessionFileError(f"cannot unpack into {target}: {error}") from error

    def get_tree(self, source: str) -> Iterator[bytes]:
        with self._entered():
            root = self._resolve(source)
            top = self._node(root, source)
            tree = self.snapshot()
        if top.kind is FileKind.DIRECTORY:
            prefix = root.rstrip("/") + "/"
            members = [(p[len(prefix) :], tree[p]) for p in sorted(tree) if p.startswith(prefix) and p != "/"]
        else:
            members = [(posixpath.basename(root), top)]
        spool = io.BytesIO()
        with tarfile.open(fileobj=spool, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for name, node in members:
                tar.addfile(_member(name, node), io.BytesIO(node.data))
        whole = spool.getvalue()
        return iter([whole[at : at + CHUNK] for at in range(0, len(whole), CHUNK)])

    def _entered(self) -> threading.RLock:
        self._alive()
        return self._guard

    def _put(self, tar: tarfile.TarFile, member: tarfile.TarInfo, root: str) -> None:
        relative = member_path(member)
        if relative == ".":
            return
        parent = self._resolve(posixpath.join(root, posixpath.dirname(relative)))
        if parent != root and not parent.startswith(root.rstrip("/") + "/"):
            raise PathEscapesError(f"archive member '{member.name}' leaves its root through a link")
        self._make_directories(parent, _DIRECTORY_MODE)
        place = posixpath.join(parent, posixpath.basename(relative))
        there = self._tree.get(place)
        if there is not None and (there.kind is FileKind.DIRECTORY) != member.isdir():
            raise SessionFileError(f"cannot unpack '{member.name}': one of the two is a directory, the other is not")
        mode = member.mode & 0o7777
        if member.isdir():
            node = Node(kind=FileKind.DIRECTORY, mode=mode, modified=member.mtime)
        elif member.issym():
            node = Node(kind=FileKind.SYMLINK, mode=0o777, modified=member.mtime, link=member.linkname)
        elif member.islnk():
            node = self._node(posixpath.join(root, posixpath.normpath(member.linkname)), member.linkname)
        else:
            content = tar.extractfile(member)
            data = content.read() if content is not None else b""
            node = Node(kind=FileKind.FILE, mode=mode, modified=member.mtime, data=data)
        self._tree[place] = node

    def _node(self, place: str, path: str) -> Node:
        if place not in self._tree:
            raise SessionFileNotFoundError(f"{path} does not exist in the session")
        return self._tree[place]

    def _make_directories(self, place: str, mode: int) -> None:
        walked = ""
        for part in [p for p in place.split("/") if p]:
            walked += f"/{part}"
            node = self._tree.get(walked)
            if node is None:
                bits = mode if walked == place else _DIRECTORY_MODE
                self._tree[walked] = Node(kind=FileKind.DIRECTORY, mode=bits, modified=self._clock())
            elif node.kind is not FileKind.DIRECTORY:
                raise SessionFileError(f"{walked} is not a directory")

    def _resolve(self, path: str, *, follow: bool = True) -> str:
        """Follow links, from the root of this tree; what does not exist stays as it is written."""
        waiting = [p for p in session_path(path).split("/") if p][::-1]
        place, links = "", 0
        while waiting:
            part = waiting.pop()
            if part == "..":
                place = place.rpartition("/")[0]
                continue
            if part == ".":
                continue
            node = self._tree.get(f"{place}/{part}")
            if node is not None and node.kind is FileKind.SYMLINK and (waiting or follow):
                links += 1
                if links > _LINKS_AT_MOST:
                    raise SessionFileError(f"too many links in {path}")
                waiting.extend([p for p in node.link.split("/") if p][::-1])
                place = "" if node.link.startswith("/") else place
                continue
            if node is not None and node.kind is FileKind.FILE and waiting:
                raise SessionFileError(f"cannot use {path}: {place}/{part} is not a directory")
            place = f"{place}/{part}"
        return place or "/"


def _info(path: str, node: Node) -> FileInfo:
    size = len(node.data) if node.kind is FileKind.FILE else len(node.link)
    return FileInfo(path=path, kind=node.kind, size=size, mode=node.mode, modified=node.modified)


def _member(name: str, node: Node) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mode, member.mtime = node.mode, node.modified
    if node.kind is FileKind.DIRECTORY:
        member.type = tarfile.DIRTYPE
    elif node.kind is FileKind.SYMLINK:
        member.type, member.linkname = tarfile.SYMTYPE, node.link
    else:
        member.size = len(node.data)
    return member
