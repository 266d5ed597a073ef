"""Push templates to a registry and pull them by key. Credentials are Docker's own (config, helpers) and never shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from prewarm.backends.docker.endpoint import config_directory
from prewarm.backends.docker.engine import Engine, raw, translated
from prewarm.backends.docker.images import facts
from prewarm.backends.docker.names import LABEL_KEY, published_tag, repository
from prewarm.backends.docker.templates import untag
from prewarm.backends.travel import Traveller
from prewarm.errors import BackendUnavailableError, TemplateCorruptError, TemplateNotFoundError

_NOT_FOUND: Final = 404
_LOGIN: Final = "log in with 'docker login', and check the registry's name"


def remote_name(registry: str, namespace: str) -> str:
    """Give the repository of a namespace in a registry."""
    return f"{registry.rstrip('/')}/{repository(namespace)}"


def push(engine: Engine, template: Traveller, registry: str, hear: Callable[[str], None]) -> bool:
    """Push a template; nothing moves where the registry has it already."""
    image = str(template.ref.value.get("image"))
    found = facts(engine, image)
    if found is None:
        raise TemplateNotFoundError(f"template {template.key.short} is not in the engine: {image}")
    name = remote_name(registry, template.namespace)
    known = {digest for one in found.digests for repo, _, digest in (one.partition("@"),) if repo == name}
    if known and _remote_digest(engine, f"{name}:{template.key}") in known:
        return False
    with translated():
        engine.api.tag(image, name, template.key)
        try:
            events = engine.api.push(name, tag=template.key, stream=True, decode=True, auth_config=_auth(engine, name))
            moved = _follow(events, hear, f"template {template.key.short} cannot be pushed to {name}")
        finally:
            untag(engine, f"{name}:{template.key}", image)
    return moved


def pull(engine: Engine, template: Traveller, registry: str, hear: Callable[[str], None]) -> bool:
    """Pull a template by its key, check that it is the image of the ref, and publish it."""
    image = str(template.ref.value.get("image"))
    tag = published_tag(template.namespace, template.key)
    here = facts(engine, tag)
    if here is not None and here.id == image:
        return False
    fetch(engine, template.namespace, template.key, registry, hear, expected=image)
    return True


def offers(engine: Engine, namespace: str, key: str, registry: str) -> bool:
    """Say whether a registry has something under a key."""
    return _remote_digest(engine, f"{remote_name(registry, namespace)}:{key}") is not None


def fetch(
    engine: Engine,
    namespace: str,
    key: str,
    registry: str,
    hear: Callable[[str], None],
    *,
    expected: str | None = None,
) -> str:
    """Pull what a registry has under a key, check that it carries the key, publish it; give its image id.

    Raises:
        TemplateNotFoundError: The registry has none.
        TemplateCorruptError: It does not carry the key, or is not the image expected; nothing is published then.
    """
    name = remote_name(registry, namespace)
    if _remote_digest(engine, f"{name}:{key}") is None:
        raise TemplateNotFoundError(
            f"{name} has no template {key[:12]}", hint="run 'prewarm push' where it was built, or 'prewarm build' here"
        )
    with translated():
        events = engine.api.pull(name, tag=key, stream=True, decode=True, auth_config=_auth(engine, name))
        _follow(events, hear, f"template {key[:12]} cannot be pulled from {name}")
    found = facts(engine, f"{name}:{key}")
    if found is None:
        raise TemplateNotFoundError(f"template {key[:12]} was pulled from {name} and is not in the engine")
    if found.labels.get(LABEL_KEY) != key:
        untag(engine, f"{name}:{key}", found.id)
        raise TemplateCorruptError(f"{name}:{key} does not carry its key", hint="build and push again")
    if expected is not None and found.id != expected:
        untag(engine, f"{name}:{key}", found.id)
        raise TemplateCorruptError(f"{name}:{key} is image {found.id}, not {expected}", hint="build and push again")
    target, _, label = f"prewarm/{repository(namespace)}:{key}".rpartition(":")
    with translated():
        engine.api.tag(found.id, target, label)
    untag(engine, f"{name}:{key}", found.id)
    return found.id


def _remote_digest(engine: Engine, reference: str) -> str | None:
    from docker.errors import APIError

    with translated():
        try:
            answer = raw(engine.api).inspect_distribution(reference, auth_config=_auth(engine, reference))
        except APIError as error:
            if error.status_code == _NOT_FOUND:
                return None
            raise BackendUnavailableError(
                f"the registry of '{reference.rpartition(':')[0]}' refuses: {error.explanation}", hint=_LOGIN
            ) from error
    return str(answer["Descriptor"]["digest"])


def _auth(engine: Engine, reference: str) -> dict[str, str] | None:
    """Find Docker's credentials for a registry; ``None`` for none."""
    from docker import auth

    registry, _ = auth.resolve_repository_name(reference.partition("@")[0])
    known = auth.load_config(str(config_directory(engine.environment) / "config.json"))
    found: dict[str, str] | None = auth.resolve_authconfig(known, registry)
    return found


def _follow(events: Iterable[Mapping[str, Any]], hear: Callable[[str], None], failing: str) -> bool:
    moved = False
    for event in events:
        if "error" in event:
            raise BackendUnavailableError(f"{failing}: {event['error']}", hint=_LOGIN)
        status = str(event.get("status", ""))
        moved = moved or status in {"Pushed", "Pull complete", "Download complete"}
        if status and not event.get("progressDetail"):
            hear(f"{event['id']}: {status}" if "id" in event else status)
    return moved
