"""Templates in one archive, as the engine saves images: written whole or not at all, and checked on the way in.

What several templates share is in it once. What an engine saves differs: blobs by digest since Docker 25, directories
of layers with links between them before. All have ``manifest.json``, and that is what is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
import secrets
import tarfile
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import IO, Final

from prewarm import document
from prewarm.backends.docker.engine import Engine, raw, translated
from prewarm.backends.docker.images import ImageFacts, facts, held
from prewarm.backends.docker.loading import BLOBS, MANIFEST
from prewarm.backends.docker.parcels import Parcel, load, parcel, sha256, sums
from prewarm.backends.members import CheckedMember
from prewarm.backends.oci import CHUNK, LARGEST
from prewarm.backends.travel import Traveller
from prewarm.errors import BackendUnavailableError, TemplateCorruptError, TemplateNotFoundError
from prewarm.key import TemplateKey

_LINKS: Final = 8
_DAMAGE: Final = (tarfile.TarError, LookupError, TypeError, ValueError, RecursionError)
_EXPORTED: Final = "take one that 'prewarm export' wrote"


def export(engine: Engine, templates: Sequence[Traveller], target: Path) -> None:
    """Write one archive of all templates; it appears whole or not at all."""
    images = wanted(engine, templates)
    # A name that nobody can guess, and nothing is there yet: the directory may be everybody's.
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with part.open("x+b") as file:
            file.writelines(saved(engine, templates))
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:", tarinfo=CheckedMember) as tar:
                agreed(_Archive(tar).parcels(), images)
        os.replace(part, target)
    except OSError as error:
        raise BackendUnavailableError(
            f"cannot write {target}: {error.strerror}", hint="free some space there"
        ) from error
    except _DAMAGE as error:
        raise BackendUnavailableError(f"the engine saves images in a form that is not known: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def take_in(engine: Engine, source: Path) -> list[TemplateKey]:
    """Load an archive whose images are all templates; give their keys."""
    try:
        with source.open("rb") as file, tarfile.open(fileobj=file, mode="r:", tarinfo=CheckedMember) as tar:
            archive = _Archive(tar)
            parcels = archive.parcels()
            archive.prove(parcels)
            return load(engine, parcels, archive.blob)
    except _DAMAGE as error:
        raise TemplateCorruptError(f"{source} is no archive of templates: {error}", hint=_EXPORTED) from error
    except OSError as error:
        raise TemplateNotFoundError(
            f"cannot read {source}: {error.strerror or error}", hint="take an archive that 'prewarm export' wrote"
        ) from error


def wanted(engine: Engine, templates: Sequence[Traveller]) -> dict[str, ImageFacts]:
    """Prove that templates are here under their names, and give their images by those.

    Raises:
        TemplateNotFoundError, TemplateCorruptError: One is not here, or its name is another image's.
    """
    images = {}
    for template in templates:
        found, tag = held(engine, template.ref, template.key), str(template.ref.value.get("tag"))
        named = facts(engine, tag)
        if named is None or named.id != found.id:
            other = "nothing" if named is None else f"image {named.id}"
            raise TemplateCorruptError(f"{tag} is {other}, not {found.id}", hint="run 'prewarm build'")
        images[tag] = found
    return images


def saved(engine: Engine, templates: Sequence[Traveller]) -> Generator[bytes, None, None]:
    """Give what the engine saves of templates, in chunks."""
    names = [str(template.ref.value.get("tag")) for template in templates]
    with translated():
        client = raw(engine.api)
        response = client.get(client._url("/images/get"), params={"names": names}, stream=True, timeout=None)  # noqa: SLF001
        client._raise_for_status(response)  # noqa: SLF001 - the SDK's call takes one image only.
        with contextlib.closing(response):
            yield from response.iter_content(CHUNK)


def agreed(parcels: Sequence[Parcel], images: dict[str, ImageFacts]) -> None:
    """Check that what was saved is what was wanted: names may have moved meanwhile.

    Raises:
        TemplateCorruptError: It is not.
    """
    for one in parcels:
        if one.tag not in images or not one.is_image(images[one.tag]):
            raise TemplateCorruptError(f"the engine saved another image as {one.tag}", hint="try again")
    if len(parcels) != len(images):
        raise TemplateCorruptError(f"the engine saved {len(parcels)} of {len(images)} images", hint="try again")


class _Archive:
    """An archive of images: its members by name, and by the digest of what they hold."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._digests: dict[str, str] = {}  # By name of a member.
        self._members: dict[str, tarfile.TarInfo] = {}  # By digest.

    def parcels(self) -> list[Parcel]:
        """Read what it describes; every image is a template, and no two have one name."""
        found: dict[str, Parcel] = {}
        for image in document.parse(self._text(MANIFEST)).items():
            tags = [one.text() for one in image.get("RepoTags").items()]
            if len(tags) != 1:
                raise ValueError(f"an image in it has {len(tags)} names: {', '.join(tags)}")
            (tag,) = tags
            layers = [self._digest(layer.text()) for layer in image.get("Layers").items()]
            name = image.get("Config").text()
            data = self._text(name)
            if tag in found:
                raise ValueError(f"it has {tag} twice")
            digest = hashlib.sha256(data).hexdigest()
            if self._digest(name) != digest:
                raise ValueError(f"{name} is not its digest")
            found[tag] = parcel(data, config=digest, layers=layers, tag=tag)
        return list(found.values())

    def prove(self, parcels: Sequence[Parcel]) -> None:
        """Check every layer against its digest, and what is in it against the configuration."""
        needed, unpacked = {layer for one in parcels for layer in one.layers}, {}
        for digest, member in sorted(self._members.items(), key=lambda one: one[1].offset_data):
            if digest in needed:
                with self._open(member) as file:
                    found, unpacked[digest] = sums(file)
                if found != digest:
                    raise ValueError(f"{member.name} is not its digest")
        for one in parcels:
            one.check_layers(unpacked)

    @contextlib.contextmanager
    def blob(self, digest: str) -> Iterator[tuple[IO[bytes], int]]:
        """Open a blob."""
        member = self._members[digest]
        with self._open(member) as file:
            yield file, member.size

    def _digest(self, name: str) -> str:
        """Give the digest of a member: the one that its name says, or else its content's."""
        if name not in self._digests:
            member = self._member(name)
            known = member.name.removeprefix(BLOBS) if member.name.startswith(BLOBS) else self._sum(member)
            self._digests[name] = known
            self._members.setdefault(known, member)
        return self._digests[name]

    def _member(self, name: str) -> tarfile.TarInfo:
        """Find a file; the links between the layers of older engines are followed within the archive."""
        for _ in range(_LINKS):
            member = self._tar.getmember(name)
            if member.issym():
                name = posixpath.normpath(posixpath.join(posixpath.dirname(member.name), member.linkname))
            elif member.islnk():
                name = member.linkname
            elif member.isreg() and not member.issparse():
                return member
            else:
                break
        raise ValueError(f"{name} is no file")

    def _open(self, member: tarfile.TarInfo) -> IO[bytes]:
        file = self._tar.extractfile(member)
        if file is None:
            raise ValueError(f"{member.name} is no file")
        return file

    def _text(self, name: str) -> bytes:
        member = self._member(name)
        if member.size > LARGEST:
            raise ValueError(f"{name} has more than {LARGEST} bytes")
        with self._open(member) as file:
            return file.read()

    def _sum(self, member: tarfile.TarInfo) -> str:
        with self._open(member) as file:
            return sha256(file)
