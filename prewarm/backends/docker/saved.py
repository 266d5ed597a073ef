"""Templates as the engine saves images: in one archive, or as blobs of a cache directory, checked on the way in.

Both are the engine's own format (``docker save``), in which every blob is named by its digest, so what several
templates share is there once.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import tarfile
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import IO, Any, Final

from prewarm.backends.docker.engine import Engine, raw, translated
from prewarm.backends.docker.images import facts
from prewarm.backends.docker.names import LABEL_KEY, PUBLISHED
from prewarm.backends.docker.tarstreams import CheckedMember, ChunkReader
from prewarm.backends.travel import Stored, Traveller
from prewarm.errors import BackendUnavailableError, TemplateCorruptError, TemplateNotFoundError
from prewarm.key import TemplateKey

_CHUNK: Final = 1024 * 1024
_LARGEST: Final = 16 * 1024 * 1024  # Of what describes an image.
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_MANIFEST: Final = "manifest.json"
_BLOBS: Final = "blobs/sha256/"
_INDEX: Final = "prewarm-cache.json"
_INDEX_SCHEMA: Final = "prewarm.docker-cache/1"


def export(engine: Engine, templates: Sequence[Traveller], target: Path) -> None:
    """Write one archive of all templates; it appears whole or not at all."""
    part = target.with_name(f".{target.name}.part")
    try:
        with part.open("wb") as file:
            for chunk in _saved(engine, templates):
                file.write(chunk)
        os.replace(part, target)
    except OSError as error:
        raise BackendUnavailableError(
            f"cannot write {target}: {error.strerror}", hint="free some space there"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def take_in(engine: Engine, source: Path) -> list[TemplateKey]:
    """Load an archive whose images are all templates; give their keys."""
    try:
        with tarfile.open(source, tarinfo=CheckedMember) as tar:
            images = json.loads(_content(tar, _MANIFEST))
            for image in images:
                if not image["RepoTags"] or any(not tag.startswith(PUBLISHED) for tag in image["RepoTags"]):
                    raise TemplateCorruptError(
                        f"{source} holds an image that is no template: {image['RepoTags']}",
                        hint="take one that 'prewarm export' wrote",
                    )
                _check_config(_content(tar, image["Config"]), image, str(source))
            for member in tar:
                if member.name.startswith(_BLOBS) and member.isreg():
                    _check_blob(tar, member, str(source))
        with source.open("rb") as file:
            return _load(engine, file, images)
    except (tarfile.TarError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise TemplateCorruptError(
            f"{source} is no archive of templates: {error}", hint="take one that 'prewarm export' wrote"
        ) from error
    except OSError as error:
        raise TemplateNotFoundError(f"cannot read {source}: {error.strerror}") from error


def cache_save(engine: Engine, templates: Sequence[Traveller], directory: Path) -> Stored:
    """Make a directory hold these templates' blobs and nothing else of its own."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    known = _index(directory)
    images: dict[str, Any] = {}
    before = {path.name for path in blobs.iterdir()}
    for template in templates:
        image = str(template.ref.value.get("image"))
        entry = known.get(image)
        if entry is None or entry["Tag"] != template.ref.value.get("tag") or not _is_whole(blobs, entry):
            entry = _save_one(engine, template, blobs)
        images[image] = entry
    needed = {blob for entry in images.values() for blob in (entry["Config"], *entry["Layers"])}
    written = kept = removed = 0
    for path in blobs.iterdir():
        size = path.stat().st_size
        if path.name not in needed:
            path.unlink()
            removed += size if path.name in before else 0
        elif path.name in before:
            kept += size
        else:
            written += size
    text = json.dumps({"schema": _INDEX_SCHEMA, "images": images}, indent=1, sort_keys=True) + "\n"
    path = directory / _INDEX
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        part = directory / f".{_INDEX}.part"
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    return Stored(written=written, kept=kept, removed=removed)


def cache_restore(engine: Engine, templates: Sequence[Traveller], directory: Path) -> list[TemplateKey]:
    """Load what the directory has of these templates and the engine has not."""
    known = _index(directory)
    wanted = []
    for template in templates:
        image = str(template.ref.value.get("image"))
        here = facts(engine, str(template.ref.value.get("tag")))
        if image in known and (here is None or here.id != image):
            if known[image]["Tag"] != template.ref.value.get("tag") or f"sha256:{known[image]['Config']}" != image:
                raise TemplateCorruptError(
                    f"{directory / _INDEX} gives another image for template {template.key.short}",
                    hint="delete the cache and build again",
                )
            wanted.append(known[image])
    if not wanted:
        return []
    manifest = [
        {
            "Config": _BLOBS + entry["Config"],
            "RepoTags": [entry["Tag"]],
            "Layers": [_BLOBS + layer for layer in entry["Layers"]],
        }
        for entry in wanted
    ]
    with tempfile.TemporaryFile(dir=directory) as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for blob in sorted({blob for entry in wanted for blob in (entry["Config"], *entry["Layers"])}):
                _add_blob(tar, directory, blob)
            data = json.dumps(manifest).encode()
            member = tarfile.TarInfo(_MANIFEST)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        file.seek(0)
        return _load(engine, file, manifest)


def _saved(engine: Engine, templates: Sequence[Traveller]) -> Generator[bytes, None, None]:
    for template in templates:
        if facts(engine, str(template.ref.value.get("image"))) is None:
            raise TemplateNotFoundError(f"template {template.key.short} is not in the engine")
    names = [str(template.ref.value.get("tag")) for template in templates]
    with translated():
        client = raw(engine.api)
        response = client.get(client._url("/images/get"), params={"names": names}, stream=True, timeout=None)  # noqa: SLF001
        client._raise_for_status(response)  # noqa: SLF001 - the SDK's call takes one image only.
        with contextlib.closing(response):
            yield from response.iter_content(_CHUNK)


def _load(engine: Engine, file: IO[bytes], images: Sequence[dict[str, Any]]) -> list[TemplateKey]:
    from docker.errors import APIError

    with translated():
        try:
            for event in raw(engine.api).load_image(file):
                if "error" in event:
                    raise TemplateCorruptError(f"the engine refuses the images: {event['error']}")
        except APIError as error:
            raise TemplateCorruptError(f"the engine refuses the images: {error.explanation}") from error
    keys = []
    for image in images:
        tag = image["RepoTags"][0]
        found, wanted = facts(engine, tag), "sha256:" + image["Config"].rpartition("/")[2].removesuffix(".json")
        key = tag.rpartition(":")[2]
        if found is None or found.id != wanted or found.labels.get(LABEL_KEY) != key:
            raise TemplateCorruptError(f"image {tag} is not what its archive says", hint="build it again")
        keys.append(TemplateKey(key))
    return keys


def _save_one(engine: Engine, template: Traveller, blobs: Path) -> dict[str, Any]:
    manifest = b"[]"
    with (
        contextlib.closing(_saved(engine, [template])) as chunks,
        tarfile.open(fileobj=io.BufferedReader(ChunkReader(chunks), _CHUNK), mode="r|") as tar,
    ):
        for member in tar:
            content = tar.extractfile(member) if member.isreg() else None
            if content is None:
                continue
            if member.name == _MANIFEST:
                manifest = content.read()
            elif member.name.startswith(_BLOBS):
                path = blobs / member.name.removeprefix(_BLOBS)
                if not path.exists():
                    _write_blob(path, content)
    (image,) = json.loads(manifest)
    layers = [layer.removeprefix(_BLOBS) for layer in image["Layers"]]
    return {"Config": image["Config"].removeprefix(_BLOBS), "Layers": layers, "Tag": template.ref.value["tag"]}


def _write_blob(path: Path, content: IO[bytes]) -> None:
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        while chunk := content.read(_CHUNK):
            file.write(chunk)
    os.replace(part, path)


def _index(directory: Path) -> dict[str, Any]:
    try:
        value = json.loads((directory / _INDEX).read_bytes())
        images: dict[str, Any] = value["images"] if value["schema"] == _INDEX_SCHEMA else {}
        return {image: entry for image, entry in images.items() if _is_entry(entry)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}  # No cache, or none of ours: it starts empty.


def _is_entry(entry: dict[str, Any]) -> bool:
    return isinstance(entry["Tag"], str) and all(_DIGEST.fullmatch(one) for one in (entry["Config"], *entry["Layers"]))


def _is_whole(blobs: Path, entry: dict[str, Any]) -> bool:
    return all((blobs / blob).is_file() for blob in (entry["Config"], *entry["Layers"]))


def _add_blob(tar: tarfile.TarFile, directory: Path, blob: str) -> None:
    path = directory / "blobs" / "sha256" / blob
    try:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != blob:
                raise TemplateCorruptError(f"{path} is damaged", hint="delete the cache and build again")
            file.seek(0)
            member = tarfile.TarInfo(_BLOBS + blob)
            member.size = path.stat().st_size
            tar.addfile(member, file)
    except OSError as error:
        raise TemplateCorruptError(f"{path} cannot be read: {error.strerror}", hint="delete the cache") from error


def _content(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file")
    data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError(f"{name} has more than {_LARGEST} bytes")
    return data


def _check_config(data: bytes, image: dict[str, Any], source: str) -> None:
    key = image["RepoTags"][0].rpartition(":")[2]
    if (json.loads(data).get("config", {}).get("Labels") or {}).get(LABEL_KEY) != TemplateKey(key):
        raise TemplateCorruptError(f"an image of {source} does not carry the key {key}", hint="export it again")


def _check_blob(tar: tarfile.TarFile, member: tarfile.TarInfo, source: str) -> None:
    content = tar.extractfile(member)
    digest = hashlib.sha256()
    while content is not None and (chunk := content.read(_CHUNK)):
        digest.update(chunk)
    if digest.hexdigest() != member.name.removeprefix(_BLOBS):
        raise TemplateCorruptError(f"{source} is damaged: {member.name} is not its digest", hint="export it again")
