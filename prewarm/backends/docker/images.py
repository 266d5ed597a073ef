"""Look at images without running anything of them: what they are, who their users are, what they carry.

``look`` makes a container that is never started, because the engine gives files of containers only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prewarm.backends.docker import content
from prewarm.backends.docker.accounts import Accounts
from prewarm.backends.docker.archive import path_facts, small_text
from prewarm.backends.docker.engine import Engine, raw, translated
from prewarm.backends.docker.names import (
    LABEL_BUILD,
    LABEL_KEY,
    LABEL_ROLE,
    LABEL_SCHEMA,
    ROLE_BUILD,
    SCHEMA,
    build_container,
)
from prewarm.errors import TemplateCorruptError, TemplateNotFoundError
from prewarm.key import TemplateKey

if TYPE_CHECKING:
    from docker.api.client import APIClient

    from prewarm.backends.travel import Traveller
    from prewarm.values import TemplateRef


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What is known of an image without its files.

    Attributes:
        id: ``sha256:…`` as this engine's store names it: of its configuration, or of its manifest.
        content: ``sha256:…`` that is the same in every store; see ``content``.
        size: Bytes of all its layers.
        labels: As they stand.
        env: Its own variables.
        tags: Names that point at it.
        digests: ``name@sha256:…`` of registries it came from or went to.
        platform: ``os/arch``.
        layers: Digests of its layers' contents, lowest first.
    """

    id: str
    content: str
    size: int
    labels: dict[str, str]
    env: dict[str, str]
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    platform: str
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseFiles:
    """What a capture must know of its base's files.

    Attributes:
        accounts: Its users and groups.
        has_shell: Whether ``/bin/sh`` is there.
        has_apt: Whether ``/usr/bin/apt-get`` is there.
        has_workdir: Whether the definition's ``workdir`` is there already.
    """

    accounts: Accounts
    has_shell: bool
    has_apt: bool
    has_workdir: bool


def facts(engine: Engine, reference: str) -> ImageFacts | None:
    """Inspect an image by id or name; ``None`` if the engine does not hold it.

    Raises:
        BackendUnavailableError: The engine does not answer.
    """
    from docker.errors import NotFound

    with translated():
        try:
            found = raw(engine.api).inspect_image(reference)
        except NotFound:
            return None
    config = found.get("Config") or {}
    variant = f"/{found['Variant']}" if found.get("Variant") else ""
    return ImageFacts(
        id=found["Id"],
        content=content.of_inspected(found),
        size=int(found.get("Size") or 0),
        labels=dict(config.get("Labels") or {}),
        env=dict(text.split("=", 1) for text in config.get("Env") or () if "=" in text),
        tags=tuple(found.get("RepoTags") or ()),
        digests=tuple(found.get("RepoDigests") or ()),
        platform=f"{found.get('Os', 'linux')}/{found.get('Architecture', '')}{variant}",
        layers=tuple((found.get("RootFS") or {}).get("Layers") or ()),
    )


def same(engine: Engine, ref: TemplateRef) -> ImageFacts | None:
    """Find what has a template's name and its content, under whatever id; ``None`` too where the ref names no content.

    Raises:
        BackendUnavailableError: The engine does not answer.
    """
    content = ref.value.get("content")
    found = facts(engine, str(ref.value.get("tag"))) if content else None
    return found if found is not None and found.content == content else None


def image_of(engine: Engine, ref: TemplateRef) -> ImageFacts | None:
    """Find the image of a ref, by its id or as ``same`` does; whether it carries its key is not asked.

    Raises:
        BackendUnavailableError: The engine does not answer.
    """
    image = str(ref.value.get("image"))
    found = facts(engine, image)
    return found if found is not None and found.id == image else same(engine, ref)


def held(engine: Engine, ref: TemplateRef, key: TemplateKey) -> ImageFacts:
    """Find the image of a template: by its id, or by its name where this engine's store has the same content under another.

    Raises:
        TemplateNotFoundError: The engine has none.
        TemplateCorruptError: It has another one under that name, or one without the key.
        BackendUnavailableError: The engine does not answer.
    """
    image, tag = str(ref.value.get("image")), str(ref.value.get("tag"))
    found = image_of(engine, ref)
    if found is None and (other := facts(engine, tag)) is not None:
        raise TemplateCorruptError(f"{tag} is image {other.id}, not {image}")
    if found is None:
        raise TemplateNotFoundError(
            f"the image of template {key.short} is not in this engine: {image}",
            hint="run 'prewarm build' or 'prewarm pull' for this engine",
        )
    if found.labels.get(LABEL_KEY) != key:
        raise TemplateCorruptError(f"image {found.id} does not carry the key {key.short}")
    return found


def is_of(found: ImageFacts, template: Traveller) -> bool:
    """Say whether an image is a template's, by its id here or by its content."""
    value = template.ref.value
    return found.labels.get(LABEL_KEY) == template.key and (
        found.id == value.get("image") or found.content == value.get("content")
    )


def look(engine: Engine, image: str, *, key: TemplateKey, workdir: str, identity: str) -> BaseFiles:
    """Read what a capture must know of a base's files.

    Raises:
        BackendUnavailableError: The engine does not answer.
    """
    with translated(), _resting_container(engine.api, image, key, identity) as container:
        shadow = small_text(engine.api, container, "/etc/shadow")
        return BaseFiles(
            accounts=Accounts(
                passwd=small_text(engine.api, container, "/etc/passwd") or "",
                group=small_text(engine.api, container, "/etc/group") or "",
                shadow=shadow,
            ),
            has_shell=_exists(engine.api, container, "/bin/sh"),
            has_apt=_exists(engine.api, container, "/usr/bin/apt-get"),
            has_workdir=workdir == "/" or _exists(engine.api, container, workdir),
        )


@contextlib.contextmanager
def _resting_container(api: APIClient, image: str, key: TemplateKey, identity: str) -> Iterator[str]:
    from docker.errors import NotFound

    labels = {LABEL_SCHEMA: SCHEMA, LABEL_ROLE: ROLE_BUILD, LABEL_BUILD: identity}
    made = api.create_container(image, ["none"], labels=labels, name=build_container(key), network_disabled=True)
    try:
        yield made["Id"]
    finally:
        with contextlib.suppress(NotFound):
            api.remove_container(made["Id"], force=True, v=True)


def _exists(api: APIClient, container: str, path: str) -> bool:
    return path_facts(api, container, path) is not None
