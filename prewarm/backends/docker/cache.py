"""Templates in a directory that a CI system keeps: blobs by digest, and an index of what they make.

The directory may come from anybody who can run the CI: nothing in it is believed before it is hashed, no link in it is
followed, and only what the index of prewarm stands beside is ever deleted.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import posixpath
import re
import secrets
import stat
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

from prewarm import document
from prewarm.backends.docker.engine import Engine
from prewarm.backends.docker.images import facts, is_of
from prewarm.backends.docker.loading import MANIFEST
from prewarm.backends.docker.parcels import Parcel, load, parcel, sums
from prewarm.backends.docker.saved import agreed, saved, wanted
from prewarm.backends.oci import CHUNK, LARGEST
from prewarm.backends.travel import Stored, Traveller
from prewarm.backends.tree import ChunkReader
from prewarm.errors import BackendUnavailableError, TemplateCorruptError, UnsupportedOptionError
from prewarm.key import TemplateKey

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_INDEX: Final = "prewarm-cache.json"
_SCHEMA: Final = "prewarm.docker-cache/1"
_AGAIN: Final = "delete the cache and build again"


def save(engine: Engine, templates: Sequence[Traveller], directory: Path) -> Stored:
    """Make a directory hold these templates' blobs and nothing else of its own."""
    try:
        with _Cache(directory, make=True) as cache:
            return cache.save(engine, templates)
    except OSError as error:
        raise BackendUnavailableError(
            f"cannot write {directory}: {error.strerror}", hint="free some space there"
        ) from error


def restore(engine: Engine, templates: Sequence[Traveller], directory: Path) -> list[TemplateKey]:
    """Load what the directory has of these templates and the engine has not."""
    try:
        with _Cache(directory) as cache:
            return cache.restore(engine, templates)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise TemplateCorruptError(f"cannot read {directory}: {error.strerror}", hint=_AGAIN) from error


class _Cache(contextlib.ExitStack):
    """The directory, held open: what it is does not change under whoever works in it."""

    def __init__(self, directory: Path, *, make: bool = False) -> None:
        super().__init__()
        if make:
            (directory / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        self._path = directory
        with contextlib.ExitStack() as failed:
            self._top = _opened(str(directory), None, failed)
            blobs = _opened("blobs", self._top, failed)
            self._blobs = _opened("sha256", blobs, failed)
            self.push(failed.pop_all())
        self._is_ours, self._known = self._index()

    def save(self, engine: Engine, templates: Sequence[Traveller]) -> Stored:
        """Take templates in, and let go of what they do not need."""
        before = set(os.listdir(self._blobs))
        if before and not self._is_ours:
            raise UnsupportedOptionError(
                f"{self._path} holds blobs and no {_INDEX}: they are somebody else's", hint="name another directory"
            )
        images, entries = wanted(engine, templates), {}
        for template in templates:
            tag = str(template.ref.value.get("tag"))
            found = self._whole(tag)
            if found is None or not found.is_image(images[tag]):
                found = self._take(engine, template)
                agreed([found], {tag: images[tag]})
            entry = {"Config": found.config, "Layers": list(found.layers), "Tag": tag}
            entries[str(template.ref.value.get("image"))] = entry
            self._known[tag] = (found.config, found.layers)
        needed = {one for tag in images for one in (self._known[tag][0], *self._known[tag][1])}
        written = kept = removed = 0
        for name in os.listdir(self._blobs):
            size = os.stat(name, dir_fd=self._blobs, follow_symlinks=False).st_size
            if name not in needed:
                os.unlink(name, dir_fd=self._blobs)
                removed += size if name in before else 0
            elif name in before:
                kept += size
            else:
                written += size
        self._write_index(json.dumps({"schema": _SCHEMA, "images": entries}, indent=1, sort_keys=True) + "\n")
        return Stored(written=written, kept=kept, removed=removed)

    def restore(self, engine: Engine, templates: Sequence[Traveller]) -> list[TemplateKey]:
        """Give the engine what it has not."""
        parcels = []
        for template in templates:
            tag = str(template.ref.value.get("tag"))
            here = facts(engine, tag) if tag in self._known else None
            if tag in self._known and (here is None or not is_of(here, template)):
                found = self._parcel(tag)
                image, content = template.ref.value.get("image"), template.ref.value.get("content")
                if image != f"sha256:{found.config}" and content != found.content:
                    raise TemplateCorruptError(
                        f"{self._path / _INDEX} gives another image for template {template.key.short}", hint=_AGAIN
                    )
                parcels.append(found)
        unpacked = {
            digest: self._prove(digest) for digest in sorted({layer for one in parcels for layer in one.layers})
        }
        for one in parcels:
            try:
                one.check_layers(unpacked)
            except ValueError as error:
                raise TemplateCorruptError(
                    f"{self._path / _INDEX} gives another image: {error}", hint=_AGAIN
                ) from error
        return load(engine, parcels, self._blob) if parcels else []

    def _index(self) -> tuple[bool, dict[str, tuple[str, tuple[str, ...]]]]:
        """Read whether there is an index, and configuration and layers by name; a damaged one has nothing."""
        try:
            with self._open(_INDEX, self._top) as file:
                top = document.parse(file.read(LARGEST))
            known = {}
            for image in top.get("images").object() if top.get("schema").text() == _SCHEMA else ():
                entry = top.get("images").get(image)
                layers = tuple(layer.text(_DIGEST) for layer in entry.get("Layers").items())
                known[entry.get("Tag").text()] = (entry.get("Config").text(_DIGEST), layers)
        except FileNotFoundError:
            return False, {}
        except (OSError, ValueError):
            return True, {}
        return True, known

    def _write_index(self, text: str) -> None:
        try:
            with self._open(_INDEX, self._top) as file:
                if file.read(LARGEST) == text.encode():
                    return
        except OSError:  # There is none, or no file: it gives way.
            pass
        part = _part()
        with self._made(part, self._top) as file:
            file.write(text.encode())
        os.replace(part, _INDEX, src_dir_fd=self._top, dst_dir_fd=self._top)

    def _whole(self, tag: str) -> Parcel | None:
        """Give a template that is here with all its blobs."""
        if tag not in self._known or not all(map(self._is_file, self._known[tag][1])):
            return None
        try:
            return self._parcel(tag)
        except TemplateCorruptError:
            return None

    def _parcel(self, tag: str) -> Parcel:
        """Read the configuration of a template."""
        config, layers = self._known[tag]
        self._prove(config)
        with self._blob(config) as (file, _):
            data = file.read(LARGEST)
        try:
            return parcel(data, config=config, layers=layers, tag=tag)
        except (ValueError, TypeError) as error:
            raise TemplateCorruptError(
                f"{self._path / _INDEX} gives another image as {tag}: {error}", hint=_AGAIN
            ) from error

    def _prove(self, digest: str) -> str:
        """Hash a blob, and give the digest of what is in it; a damaged one is removed: the next save writes it again."""
        try:
            with self._blob(digest) as (file, _):
                found, unpacked = sums(file)
        except OSError as error:
            raise TemplateCorruptError(f"blob {digest} of {self._path} cannot be read", hint=_AGAIN) from error
        except ValueError:
            found = unpacked = ""
        if found != digest:
            os.unlink(digest, dir_fd=self._blobs)
            raise TemplateCorruptError(f"blob {digest} of {self._path} is damaged", hint="run it again, or build")
        return unpacked

    def _take(self, engine: Engine, template: Traveller) -> Parcel:
        """Have the engine save a template, and keep its files by their digests."""
        digests: dict[str, str] = {}
        links: dict[str, str] = {}
        chunks = saved(engine, [template])
        with (
            contextlib.closing(chunks),
            tarfile.open(fileobj=io.BufferedReader(ChunkReader(chunks), CHUNK), mode="r|") as tar,
        ):
            for member in tar:
                if member.issym() or member.islnk():
                    below = posixpath.dirname(member.name) if member.issym() else ""
                    links[member.name] = posixpath.normpath(posixpath.join(below, member.linkname))
                elif (content := tar.extractfile(member)) is not None:
                    digests[member.name] = self._keep(content)
        digests |= {name: digests[to] for name, to in links.items() if to in digests}
        tag = str(template.ref.value.get("tag"))
        try:
            with self._blob(digests[MANIFEST]) as (file, _):
                (image,) = document.parse(file.read(LARGEST)).items()
            layers = tuple(digests[layer.text()] for layer in image.get("Layers").items())
            self._known[tag] = (digests[image.get("Config").text()], layers)
        except (ValueError, LookupError) as error:
            raise BackendUnavailableError(f"the engine saves images in a form that is not known: {error}") from error
        return self._parcel(tag)

    def _keep(self, content: IO[bytes]) -> str:
        part, digest = _part(), hashlib.sha256()
        with self._made(part, self._blobs) as file:
            while chunk := content.read(CHUNK):
                digest.update(chunk)
                file.write(chunk)
        name = digest.hexdigest()
        if self._is_file(name):
            os.unlink(part, dir_fd=self._blobs)
        else:
            os.replace(part, name, src_dir_fd=self._blobs, dst_dir_fd=self._blobs)
        return name

    @contextlib.contextmanager
    def _blob(self, digest: str) -> Iterator[tuple[IO[bytes], int]]:
        with self._open(digest, self._blobs) as file:
            yield file, os.fstat(file.fileno()).st_size

    def _is_file(self, name: str) -> bool:
        try:
            return stat.S_ISREG(os.stat(name, dir_fd=self._blobs, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return False

    def _open(self, name: str, place: int) -> IO[bytes]:
        """Open a file; a link, a device or a pipe is none."""
        # Nothing waits for the other end of a pipe.
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise FileExistsError(errno.EEXIST, "it is no file", name)
        return open(descriptor, "rb")

    def _made(self, name: str, place: int) -> IO[bytes]:
        return open(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=place), "wb")


def _opened(name: str, place: int | None, stack: contextlib.ExitStack) -> int:
    links = os.O_NOFOLLOW if place is not None else 0
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | links, dir_fd=place)
    stack.callback(os.close, descriptor)
    return descriptor


def _part() -> str:
    return f".{secrets.token_hex(8)}.part"
