"""Published templates: which there are, whether a ref still holds, taking them away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from prewarm.backends.capturing import Presence, Probe, TemplateRecord
from prewarm.backends.docker.engine import Engine, translated
from prewarm.backends.docker.handle import remove as remove_container
from prewarm.backends.docker.images import facts, image_of, same
from prewarm.backends.docker.names import (
    BACKEND,
    CAPTURE_FORMAT,
    LABEL_BASE_BYTES,
    LABEL_KEY,
    LABEL_NAME,
    LABEL_NAMESPACE,
    LABEL_PARENT,
    LABEL_ROLE,
    LABEL_SCHEMA,
    PUBLISHED,
    ROLE_SESSION,
    ROLE_TEMPLATE,
    SCHEMA,
    published_tag,
)
from prewarm.backends.docker.sessions import is_over
from prewarm.errors import TemplateInUseError
from prewarm.key import TemplateKey
from prewarm.request import TemplateRef

_CONFLICT: Final = 409
_HOSTS: Final = ("docker.io/", "localhost/")


def ref_of(image_id: str, namespace: str, key: TemplateKey, *, content: str | None = None) -> TemplateRef:
    """Give the ref of a template: the image by its id here and by its content, and the name that it is published under."""
    value = {"image": image_id, "tag": published_tag(namespace, key)}
    if content is not None:
        value["content"] = content
    return TemplateRef(backend=BACKEND, format=CAPTURE_FORMAT, value=value)


def probe(engine: Engine, wanted: Sequence[tuple[TemplateKey, TemplateRef]]) -> list[Probe]:
    """Say for each ref whether its image is there and carries the key; one call for all.

    Only what has another id here than in its ref is looked at by itself: another store may have named the same content.

    Raises:
        BackendUnavailableError: The engine does not answer.
    """
    if not wanted:
        return []
    # One pattern for published and staged: of several, Podman wants all to match.
    images = listed(engine, {"reference": [f"{PUBLISHED.rstrip('/')}*/*"]})
    by_id = {image["Id"]: image for image in images}
    by_tag = {tag: image["Id"] for image in images for tag in image.get("RepoTags") or ()}
    return [_judge(engine, key, ref, by_id, by_tag) for key, ref in wanted]


def _judge(
    engine: Engine,
    key: TemplateKey,
    ref: TemplateRef,
    by_id: Mapping[str, dict[str, Any]],
    by_tag: Mapping[str, str],
) -> Probe:
    image_id, tag = str(ref.value.get("image")), str(ref.value.get("tag"))
    image = by_id.get(image_id)
    if tag in by_tag and by_tag[tag] != image_id:
        named = same(engine, ref)
        if named is None:
            return Probe(presence=Presence.CORRUPT, detail=f"{tag} is image {by_tag[tag]}, not {image_id}")
        image = by_id.get(named.id)
    if image is None:
        return Probe(presence=Presence.MISSING, detail=f"the engine has no image {image_id} named {tag}")
    if (image.get("Labels") or {}).get(LABEL_KEY) != key:
        return Probe(presence=Presence.CORRUPT, detail=f"image {image_id} does not carry the key {key}")
    return Probe(presence=Presence.PRESENT)


def find(engine: Engine, namespace: str, key: TemplateKey) -> TemplateRef | None:
    """Find a published template by its key; a foreign image under its name is none."""
    found = facts(engine, published_tag(namespace, key))
    # The role as well: what somebody made of a session's container has the other two.
    wanted = {LABEL_ROLE: ROLE_TEMPLATE, LABEL_NAMESPACE: namespace, LABEL_KEY: key}
    if found is None or not wanted.items() <= found.labels.items():
        return None
    return ref_of(found.id, namespace, key, content=found.content)


def list_templates(engine: Engine, namespace: str | None) -> list[TemplateRecord]:
    """List what is published, of one namespace or of all."""
    labels = [f"{LABEL_ROLE}={ROLE_TEMPLATE}", f"{LABEL_SCHEMA}={SCHEMA}"]
    if namespace is not None:
        labels.append(f"{LABEL_NAMESPACE}={namespace}")
    records = []
    for image in listed(engine, {"label": labels}):
        key, space = TemplateKey(image["Labels"][LABEL_KEY]), image["Labels"][LABEL_NAMESPACE]
        if published_tag(space, key) not in (image.get("RepoTags") or ()):
            continue
        if (found := facts(engine, image["Id"])) is not None:
            records.append(
                TemplateRecord(
                    namespace=space,
                    name=image["Labels"][LABEL_NAME],
                    key=key,
                    ref=ref_of(image["Id"], space, key, content=found.content),
                    size=max(0, int(image.get("Size") or 0) - int(image["Labels"].get(LABEL_BASE_BYTES) or 0)),
                )
            )
    return sorted(records, key=lambda record: (record.namespace, record.name, record.key))


def remove(engine: Engine, ref: TemplateRef) -> None:
    """Take a template away. Removing twice is fine.

    Raises:
        TemplateInUseError: A live session was opened from it, or another template stands on it.
    """
    tag = str(ref.value.get("tag"))
    found = image_of(engine, ref)
    if found is None:
        return
    key = found.labels.get(LABEL_KEY, "")
    with translated():
        sessions = engine.api.containers(
            all=True, filters={"label": [f"{LABEL_ROLE}={ROLE_SESSION}", f"{LABEL_KEY}={key}"]}
        )
    for session in sessions:
        if session["ImageID"] != found.id:
            continue
        if not is_over(session):
            raise TemplateInUseError(
                f"template {key[:12]} has a live session: container {session['Id'][:12]}",
                hint="end the session first, or wait until it expires",
            )
        remove_container(engine, session["Id"])
    children = listed(engine, {"label": [f"{LABEL_PARENT}={key}"]})
    if key and any(published(child) for child in children):
        names = ", ".join(sorted({child["Labels"][LABEL_NAME] for child in children}))
        raise TemplateInUseError(f"template {key[:12]} is extended by: {names}", hint="remove those first")
    untag(engine, tag, found.id)


def published(image: Mapping[str, Any]) -> bool:
    """Say of a listed image whether it is published."""
    return any(tag.startswith(PUBLISHED) for tag in image.get("RepoTags") or ())


def untag(engine: Engine, tag: str, image_id: str) -> None:
    """Take a name off an image, and the image with its last name. A name that is gone, or another image's, is left."""
    from docker.errors import APIError, NotFound

    found = facts(engine, tag)
    if found is None or found.id != image_id:
        return
    with translated():
        try:
            engine.api.remove_image(tag)
        except NotFound:
            return
        except APIError as error:
            if error.status_code == _CONFLICT:
                raise TemplateInUseError(f"image {tag} is in use: {error.explanation}") from error
            raise


def listed(engine: Engine, filters: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    """List images that fit all filters, with ids and names as Docker shows them."""
    labels = dict(label.split("=", 1) for label in filters.get("label", ()))
    # One label for the engine and the others here: of several, Podman finds none.
    asked = {name: values[-1:] for name, values in filters.items()}
    with translated():
        images: list[dict[str, Any]] = engine.api.images(filters=asked)
    images = [image for image in images if labels.items() <= (image.get("Labels") or {}).items()]
    for image in images:
        image["Id"] = f"sha256:{image['Id'].removeprefix('sha256:')}"
        image["RepoTags"] = [familiar(tag) for tag in image.get("RepoTags") or ()]
    return images


def familiar(tag: str) -> str:
    """Give a name as Docker shows it: Podman writes out the registry that goes without saying."""
    host = next((host for host in _HOSTS if tag.startswith(host)), "")
    return tag.removeprefix(host)
