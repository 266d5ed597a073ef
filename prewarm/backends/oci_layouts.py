"""OCI image layouts of a project, as bases name them: ``oci:DIRECTORY:TAG``, or ``oci-archive:FILE:TAG`` for an archive of one.

Nothing is unpacked: blobs are read where they are, by digest, and proven. What an image is, ``oci`` knows. Called by backends
that take such bases.
"""

from __future__ import annotations

import abc
import contextlib
import lzma
import os
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Final

from prewarm.backends import compression, oci
from prewarm.backends.compression import Compression
from prewarm.backends.members import CheckedMember
from prewarm.document import Node, parse
from prewarm.errors import UnkeyableInputError

DIRECTORY: Final = "oci:"
ARCHIVE: Final = "oci-archive:"
PREFIXES: Final = (DIRECTORY, ARCHIVE)
BROKEN: Final = (OSError, ValueError, tarfile.TarError)  # What reading a layout raises.
_BLOBS: Final = "blobs/sha256/"
_INDEX: Final = "index.json"
_NAME: Final = "org.opencontainers.image.ref.name"
_TAGS_SHOWN: Final = 5
_ENTERED: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # Opening a fifo must not wait.


def find(reference: str, *, project: Path, platform: str, sha256: Callable[[Path], str]) -> tuple[str, oci.Image]:
    """Find the image of a platform that a base names, for its key; give the path of the layout in the project, too.

    Raises:
        UnkeyableInputError: There is no such layout, or no such image in it.
    """
    kind, _, rest = reference.partition(":")
    path, tag = _path_and_tag(project, rest)
    if not (project / path).exists():
        raise UnkeyableInputError(f"image '{reference}' does not exist", hint="paths start at the project directory")
    try:
        if f"{kind}:" == ARCHIVE:
            sha256(project / path)  # A file that cannot be read is found here.
        with opened(project / path) as layout:
            return path, oci.image_for(platform, layout, layout.root(tag, platform))
    except BROKEN as error:
        raise UnkeyableInputError(f"image '{reference}' cannot be read: {error}") from error


def _path_and_tag(project: Path, rest: str) -> tuple[str, str | None]:
    """Split ``./layout:tag``; a path that exists as it stands has no tag."""
    if not (project / rest).exists() and ":" in rest.rpartition("/")[2]:
        path, _, tag = rest.rpartition(":")
        return path, tag
    return rest, None


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Layout]:
    """Lend a layout: a directory, or an archive of one, which may be compressed.

    Raises:
        OSError, ValueError, tarfile.TarError: It is neither; also while it is read.
    """
    if path.is_dir():
        yield _Directory(path)
        return
    with path.open("rb") as file, _plain(file) as plain:
        try:
            with tarfile.open(fileobj=plain, tarinfo=CheckedMember) as tar:
                yield _Archive(tar)
        except (EOFError, zlib.error, lzma.LZMAError) as error:  # Some ways to compress only tarfile knows.
            raise tarfile.ReadError(f"its compression is damaged: {error}") from error


@contextlib.contextmanager
def _plain(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """Lend what is in a file, so that it can be read back and forth."""
    packed = compression.of(file)
    if packed is Compression.NONE:
        yield file
        return
    with tempfile.TemporaryFile(prefix="prewarm-image-") as plain:
        with compression.decompressed(file, packed) as content:
            plain.writelines(oci.pieces(content))
        plain.seek(0)
        yield plain


class Layout(abc.ABC):
    """An OCI image layout: ``oci.Blobs``. Subclasses say where its files are."""

    def root(self, tag: str | None, platform: str) -> oci.Descriptor:
        """Give the image or index of a tag, or the only one; of several, the one that says it is for a platform.

        Raises:
            ValueError: There is none, or there are several.
        """
        with self._open(_INDEX) as file:
            entries = parse(oci.whole(_INDEX, oci.pieces(file))).get("manifests").items()
        named = [(oci.descriptor(entry), _name(entry)) for entry in entries]
        found = list({one.digest: one for one, name in named if tag is None or name == tag}.values())
        fitting = oci.fitting(platform, found)
        told = [one for one in fitting if one.platform is not None]
        exact = [one for one in told if one.platform == platform]
        for chosen in (found, fitting, told, exact):
            if len(chosen) == 1:
                return chosen[0]
        which = f"it has {len(found)} images{f' of tag {tag}' if tag else ''}; one is needed"
        raise ValueError(which + _offered([name for _, name in named if name is not None]))

    def read_manifest(self, wanted: oci.Descriptor) -> bytes:
        return self.read(wanted)

    def read(self, wanted: oci.Descriptor) -> bytes:
        with self._open(_blob(wanted)) as file:
            return oci.whole(f"blob {wanted.short}", oci.proven(wanted, oci.pieces(file)))

    def prove(self, wanted: oci.Descriptor) -> None:
        """Compare a large blob with its digest.

        Raises:
            OSError, ValueError: It is another, or cannot be read.
        """
        with self._open(_blob(wanted)) as file:
            for _ in oci.proven(wanted, oci.pieces(file)):
                pass

    @abc.abstractmethod
    def fetch(self, wanted: oci.Descriptor, directory: Path) -> Path: ...

    @contextlib.contextmanager
    def blob(self, wanted: oci.Descriptor) -> Iterator[tuple[IO[bytes], int]]:
        """Lend a blob as it is, and say how large it is."""
        with self._open(_blob(wanted)) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            yield file, size

    @abc.abstractmethod
    def _open(self, name: str) -> IO[bytes]:
        """Open a file of it; nothing else than a file in it."""


class _Directory(Layout):
    def __init__(self, path: Path) -> None:
        self._path = path

    def fetch(self, wanted: oci.Descriptor, directory: Path) -> Path:
        del directory
        self.prove(wanted)
        return self._path / _blob(wanted)

    def _open(self, name: str) -> IO[bytes]:
        root, path = os.path.realpath(self._path), os.path.realpath(self._path / name)
        if not Path(path).is_relative_to(root):
            raise ValueError(f"{name} is a link that leads out of it")
        try:
            descriptor = _beneath(root, Path(path).relative_to(root).parts or (".",))
        except FileNotFoundError as error:
            raise ValueError(f"it has no file {name}") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise ValueError(f"{name} is no file")
        return open(descriptor, "rb")


class _Archive(Layout):
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._members = {
            member.name.removeprefix("./"): member for member in tar if member.isreg() and not member.issparse()
        }

    def fetch(self, wanted: oci.Descriptor, directory: Path) -> Path:
        with self._open(_blob(wanted)) as file:
            return oci.kept(wanted, oci.pieces(file), directory)

    def _open(self, name: str) -> IO[bytes]:
        file = self._tar.extractfile(self._members[name]) if name in self._members else None
        if file is None:
            raise ValueError(f"it has no file {name}")
        return file


def _beneath(root: str, parts: Sequence[str]) -> int:
    """Open a path without links, part by part: what has become a link meanwhile is not followed."""
    place = os.open(root, _ENTERED)
    try:
        for part in parts[:-1]:
            below = os.open(part, _ENTERED, dir_fd=place)
            os.close(place)
            place = below
        return os.open(parts[-1], _READ, dir_fd=place)
    finally:
        os.close(place)


def _blob(wanted: oci.Descriptor) -> str:
    return _BLOBS + wanted.sha256


def _name(entry: Node) -> str | None:
    """Give the tag of an entry of the index."""
    if entry.object().get("annotations") is None:
        return None
    said = entry.get("annotations").object().get(_NAME)
    return said if isinstance(said, str) else None


def _offered(names: Sequence[str]) -> str:
    tags = [repr(name) for name in dict.fromkeys(names)]
    more = f" and {len(tags) - _TAGS_SHOWN} more" if len(tags) > _TAGS_SHOWN else ""
    return f"; its tags are {', '.join(tags[:_TAGS_SHOWN])}{more}" if tags else ""
