"""What a capture starts from: found by content for the key, then brought into the engine."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from prewarm.backends import compression, oci, oci_layouts, rootfs_archives
from prewarm.backends.capturing import CaptureRequest
from prewarm.backends.compression import Compression
from prewarm.backends.docker import dockerfile, ocibases
from prewarm.backends.docker.engine import Engine, raw, translated
from prewarm.backends.docker.images import ImageFacts, facts, image_of
from prewarm.backends.docker.names import BASE_REPOSITORY, LABEL_KEY
from prewarm.definition.model import Base, DockerfileBase, ExtendsBase, HostBase, ImageBase, RootfsBase
from prewarm.errors import CaptureFailedError, TemplateNotFoundError, UnkeyableInputError, UnsupportedOptionError
from prewarm.machine import is_same_platform
from prewarm.request import ResolvedBase

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_PLATFORM: Final = ("os", "architecture", "variant")
_SHOWN: Final = 19


def resolve(engine: Engine, base: Base, *, project: Path, platform: str, sha256: Callable[[Path], str]) -> ResolvedBase:
    """Find a base by content, for the key; nothing is pulled.

    An image that the engine holds is taken by its registry digest where it has one, so that machines agree, and by its
    id otherwise. One that it does not hold is asked for at its registry.

    Raises:
        UnkeyableInputError: It does not exist or cannot be read.
        BackendUnavailableError: The engine does not answer.
    """
    match base:
        case ImageBase(reference=reference) if reference.startswith(oci_layouts.PREFIXES):
            return ocibases.resolve(reference, project=project, platform=platform, sha256=sha256)
        case ImageBase(reference=reference):
            return _image(engine, reference, platform)
        case RootfsBase():
            digest = rootfs_archives.digest(base, project=project, sha256=sha256)
            return ResolvedBase(
                digest=f"sha256:{digest}",
                description=f"{base.path} (sha256:{digest[:12]}…)",
                value={"rootfs": base.path, "sha256": digest},
            )
        case DockerfileBase():
            found = dockerfile.read(
                base, project=project, sha256=sha256, image=lambda name: _image(engine, name, platform).digest
            )
            return ResolvedBase(
                digest=f"sha256:{found.digest}",
                description=f"{base.context}/{base.dockerfile} (sha256:{found.digest[:12]}…)",
                value={
                    "dockerfile": base.dockerfile,
                    "context": base.context,
                    "target": base.target,
                    "args": dict(base.args),
                    "sha256": found.digest,
                    "images": dict(found.images),
                },
            )
        case HostBase():
            raise UnsupportedOptionError(
                "the docker backend has no base 'host'", hint="name an image, or use the local backend"
            )
        case ExtendsBase():
            raise AssertionError("an extended sandbox is resolved by its template")


def _image(engine: Engine, reference: str, platform: str) -> ResolvedBase:
    found = facts(engine, reference)
    if found is not None and is_same_platform(found.platform, platform):
        digest = _registry_digest(found, reference) or found.id
        return ResolvedBase(
            digest=digest, description=f"{reference} ({digest[:_SHOWN]}…)", value={"image": found.id, "name": reference}
        )
    try:
        digest = _ask_registry(engine, reference, platform)
    except UnkeyableInputError as error:
        if found is None:
            raise
        raise UnkeyableInputError(
            f"base image '{reference}' is in the engine for {found.platform}, not for {platform}: {error.message}",
            hint=f"'docker pull --platform {platform} {reference}' shows what is wrong",
        ) from error
    return ResolvedBase(
        digest=digest, description=f"{reference} ({digest[:_SHOWN]}…)", value={"pull": pinned(reference, digest)}
    )


def pinned(reference: str, digest: str) -> str:
    """Give a reference by digest: without its tag, with the digest."""
    name = reference.partition("@")[0]
    head, slash, tail = name.rpartition("/")
    return f"{head}{slash}{tail.partition(':')[0]}@{digest}"


def _registry_digest(found: ImageFacts, reference: str) -> str | None:
    name = pinned(reference, "").rstrip("@")
    for one in found.digests:
        repository, _, digest = one.partition("@")
        if _DIGEST.fullmatch(digest) and (repository == name or repository.endswith(f"/{name}")):
            return digest
    return None


def _ask_registry(engine: Engine, reference: str, platform: str) -> str:
    from docker.errors import APIError

    with translated():
        try:
            answer = raw(engine.api).inspect_distribution(reference)
        except APIError as error:
            raise UnkeyableInputError(
                f"base image '{reference}' is not in the engine, and its registry does not give it: {error.explanation}",
                hint=f"check the name; 'docker pull {reference}' shows what is wrong",
            ) from error
    digest = str((answer.get("Descriptor") or {}).get("digest"))
    if not _DIGEST.fullmatch(digest):
        raise UnkeyableInputError(f"the registry of '{reference}' names no digest for it")
    there = ["/".join(filter(None, map(one.get, _PLATFORM))) for one in answer.get("Platforms") or ()]
    if there and not any(is_same_platform(one, platform) for one in there):
        raise UnkeyableInputError(
            f"base image '{reference}' is not there for {platform}, only for {', '.join(sorted(there))}",
            hint="choose one of these with --platform, or another base",
        )
    return digest


def bring(engine: Engine, request: CaptureRequest, build: Callable[[Mapping[str, object], str], None]) -> ImageFacts:
    """Bring the base into the engine.

    Args:
        engine: Where.
        request: Whose base.
        build: Builds a Dockerfile of the author's own, or one that only names what is to be pulled, from the base's value,
            to a tag.

    Raises:
        CaptureFailedError: It cannot be pulled, imported or built.
        TemplateNotFoundError: The template that it extends has gone.
    """
    base, value = request.base, request.base.value
    if base.parent is not None:
        found = image_of(engine, base.parent)
        if found is None or LABEL_KEY not in found.labels:
            raise TemplateNotFoundError(f"the template that '{request.name}' extends is not in the engine any more")
    elif "image" in value:
        found = facts(engine, str(value["image"]))
        if found is None:
            raise CaptureFailedError(
                f"base image '{value.get('name')}' of '{request.name}' has gone from the engine", hint="build again"
            )
    elif "pull" in value:
        found = _pull(engine, str(value["pull"]), request.platform, build)
    elif "oci" in value:
        tag = _tag("oci", str(value["manifest"]).removeprefix("sha256:"), request.platform)
        found = facts(engine, tag) or _loaded(engine, request.project / str(value["oci"]), str(value["manifest"]), tag)
    elif "rootfs" in value:
        tag = _tag("rootfs", str(value["sha256"]), request.platform)
        archive = request.project / str(value["rootfs"])
        found = facts(engine, tag) or _import(engine, archive, tag, request.platform)
    else:
        tag = _tag("dockerfile", str(value["sha256"]), request.platform)
        found = facts(engine, tag) or _built(engine, value, tag, build)
    return found


def _tag(kind: str, sha256: str, platform: str) -> str:
    """Name a base that was made for captures: what it was made from, and for which platform."""
    return f"{BASE_REPOSITORY}:{kind}-{sha256}-{platform.replace('/', '-')}"


def _loaded(engine: Engine, path: Path, manifest: str, tag: str) -> ImageFacts:
    layers = ocibases.load(engine, path, manifest, tag)
    found = facts(engine, tag)
    if found is None or found.layers != layers:
        raise CaptureFailedError(f"base '{path}' was loaded and is not in the engine as it is in its layout")
    return found


def _built(
    engine: Engine, value: Mapping[str, object], tag: str, build: Callable[[Mapping[str, object], str], None]
) -> ImageFacts:
    build(value, tag)
    found = facts(engine, tag)
    if found is None:
        raise CaptureFailedError(
            f"base {tag} is not in the engine after its build",
            hint="the builder must load into this engine; see 'docker buildx ls'",
        )
    return found


def build_arguments(value: Mapping[str, object]) -> list[str]:
    """Give buildx's arguments for a Dockerfile base: its target and its arguments."""
    arguments = ["--target", str(value["target"])] if value.get("target") else []
    given = value.get("args")
    for name, text in given.items() if isinstance(given, Mapping) else ():
        arguments += ["--build-arg", f"{name}={text}"]
    return arguments


def dockerfile_images(engine: Engine, value: Mapping[str, object]) -> tuple[dict[str, str], list[str]]:
    """Give what a Dockerfile base starts from: name to image in the engine, and buildx's arguments for the others.

    What the engine does not hold is taken by the digest that was keyed: a tag may have moved since.
    """
    held: dict[str, str] = {}
    pins: list[str] = []
    images = value.get("images")
    for name, digest in images.items() if isinstance(images, Mapping) else ():
        found = facts(engine, name)
        if found is None or digest not in {found.id, _registry_digest(found, name)}:
            found = facts(engine, digest)
        if found is not None:
            held[name] = found.id
        else:
            pins.append(f"--build-context={name}=docker-image://{pinned(name, digest)}")
    return held, pins


def _pull(
    engine: Engine, reference: str, platform: str, build: Callable[[Mapping[str, object], str], None]
) -> ImageFacts:
    from docker.errors import APIError

    found = facts(engine, reference)
    if found is not None and is_same_platform(found.platform, platform):
        return found
    if found is not None:  # Docker's own store holds one platform of a digest at a time; a builder knows no such limit.
        tag = _tag("pulled", reference.rpartition(":")[2], platform)
        return facts(engine, tag) or _built(engine, {"pull": reference}, tag, build)
    with translated():
        try:
            name, _, digest = reference.partition("@")
            for event in engine.api.pull(name, tag=digest, platform=platform, stream=True, decode=True):
                if "error" in event:
                    raise CaptureFailedError(f"base image '{reference}' cannot be pulled: {event['error']}")
        except APIError as error:
            raise CaptureFailedError(f"base image '{reference}' cannot be pulled: {error.explanation}") from error
    found = facts(engine, reference)
    if found is None or not is_same_platform(found.platform, platform):
        raise CaptureFailedError(f"base image '{reference}' was pulled for {platform} and is not in the engine")
    return found


def _import(engine: Engine, archive: Path, tag: str, platform: str) -> ImageFacts:
    from docker.errors import APIError

    repository, _, label = tag.rpartition(":")
    wanted = {"fromSrc": "-", "repo": repository, "tag": label, "platform": platform}
    with translated():
        client = raw(engine.api)
        try:
            # The SDK's call knows no platform.
            answer = client.post(client._url("/images/create"), params=wanted, data=_plain(archive), timeout=None)  # noqa: SLF001
            client._raise_for_status(answer)  # noqa: SLF001 - the same.
        except APIError as error:
            raise CaptureFailedError(f"base '{archive}' cannot be imported: {error.explanation}") from error
        except OSError as error:
            raise CaptureFailedError(f"base '{archive}' cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise CaptureFailedError(f"base '{archive}' cannot be read: {error}") from error
    found = facts(engine, tag)
    if found is None:
        said = answer.text.strip().rpartition("\n")[2]
        raise CaptureFailedError(f"base '{archive}' was imported and is not in the engine: {said}")
    return found


def _plain(archive: Path) -> Iterator[bytes]:
    """Give an archive in chunks; zstd is unpacked here, because engines differ in knowing it."""
    with archive.open("rb") as file:
        found = compression.of(file)
        packed = found if found is Compression.ZSTD else Compression.NONE
        with compression.decompressed(file, packed) as content:
            yield from oci.pieces(content)
