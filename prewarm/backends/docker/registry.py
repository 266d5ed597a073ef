"""Push templates to a registry and pull them by key. Credentials are Docker's own (``logins``) and never shown."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from prewarm.backends.docker.engine import Engine, raw, translated
from prewarm.backends.docker.images import ImageFacts, facts, held, is_of
from prewarm.backends.docker.names import (
    LABEL_KEY,
    LABEL_NAMESPACE,
    LABEL_ROLE,
    PUBLISHED,
    ROLE_TEMPLATE,
    published_tag,
    repository,
)
from prewarm.backends.docker.templates import untag
from prewarm.backends.logins import login, registry_host
from prewarm.backends.travel import Traveller
from prewarm.errors import (
    BackendUnavailableError,
    PrewarmError,
    TemplateCorruptError,
    TemplateNotFoundError,
    UnsupportedOptionError,
)
from prewarm.key import TemplateKey

_NOT_FOUND: Final = 404
_LOCKED: Final = frozenset({401, 403})
_LOCKED_WORDS: Final = ("unauthorized", "authentication required", "denied", "no basic auth credentials")
_HUB: Final = "docker.io/"
# Docker's own registry says 500 to whoever asks for a layer while another push is just putting it there.
_PASSING: Final = re.compile(
    r"\b(?:429 Too Many Requests|500 Internal Server Error|502 Bad Gateway|503 Service Unavailable|504 Gateway)",
    re.IGNORECASE,
)
_PAUSES_S: Final = (0.2, 0.8, 2.0)
_AT_ONCE_S: Final = 5.0
_DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"

_Value = TypeVar("_Value")


def remote_name(registry: str, namespace: str) -> str:
    """Give the repository of a namespace in a registry.

    Raises:
        UnsupportedOptionError: No registry is named so.
    """
    where = registry.strip("/")
    if "://" in registry or "@" in registry or not where:
        # What stands before an '@' may be a password.
        shown = registry.rpartition("@")[2]
        raise UnsupportedOptionError(
            f"'{shown}' is no name of a registry", hint="a host and a path, as in registry.example.org/team"
        )
    name = f"{where}/{repository(namespace)}"
    if name.removeprefix(_HUB).startswith(PUBLISHED):
        raise UnsupportedOptionError(
            f"'{registry}' is what prewarm calls its own images here", hint="name a host, or another account"
        )
    return name


def push(engine: Engine, template: Traveller, registry: str, hear: Callable[[str], None]) -> bool:
    """Push a template; nothing moves where the registry has it already."""
    found = held(engine, template.ref, template.key)
    remote = _Remote(engine, registry, template.namespace, template.key)
    there = remote.describe()
    known = {found.id, *(one.partition("@")[2] for one in found.digests)}
    if there is not None and (there.digest in known or (_is_foreign(there, found) and remote.holds(found, hear))):
        return False
    with translated():
        engine.api.tag(found.id, remote.name, template.key)

        def move() -> _Moved:
            events = engine.api.push(
                remote.name, tag=template.key, stream=True, decode=True, auth_config=remote.credentials
            )
            return remote.follow(events, hear, "pushed to")

        try:
            pushed = _patiently(move)
        finally:
            untag(engine, remote.tag, found.id)
    return pushed.moved or pushed.digest not in {None, there.digest if there else None}


def _patiently(move: Callable[[], _Value]) -> _Value:
    """Push or pull, and try again where the registry has trouble that may be over in a moment; what has moved stays.

    Docker's own image store tries pushes again by itself, and takes its time: what it gives up is given up here.
    """
    for pause_s in _PAUSES_S:
        began = time.monotonic()
        try:
            return move()
        except BackendUnavailableError as error:
            if not _PASSING.search(error.message) or time.monotonic() - began > _AT_ONCE_S:
                raise
        time.sleep(pause_s)
    return move()


def _is_foreign(there: _There, found: ImageFacts) -> bool:
    """Say whether a manifest is of the kind that another image store than this one writes.

    Its own kind with another digest is another capture, and finding that out would fetch its layers.
    """
    has_manifests = any(one.endswith(f"@{found.id}") for one in found.digests)
    return (there.media_type == _DOCKER_MANIFEST) == has_manifests


def pull(engine: Engine, template: Traveller, registry: str, hear: Callable[[str], None]) -> bool:
    """Pull a template by its key, check that it is the image of the ref, and publish it."""
    here = facts(engine, published_tag(template.namespace, template.key))
    if here is not None and is_of(here, template):
        return False
    fetch(engine, template.namespace, template.key, registry, hear, expected=template)
    return True


def offers(engine: Engine, namespace: str, key: TemplateKey, registry: str) -> bool:
    """Say whether a registry has something under a key."""
    return _Remote(engine, registry, namespace, key).describe() is not None


def fetch(
    engine: Engine,
    namespace: str,
    key: TemplateKey,
    registry: str,
    hear: Callable[[str], None],
    *,
    expected: Traveller | None = None,
) -> ImageFacts:
    """Pull what a registry has under a key, check that it carries the key, publish it; give what it is.

    Raises:
        TemplateNotFoundError: The registry has none.
        TemplateCorruptError: It does not carry the key, or is not the image expected; nothing is published then.
    """
    remote = _Remote(engine, registry, namespace, key)
    if remote.describe() is None:
        raise TemplateNotFoundError(
            f"{remote.name} has no template {key.short}",
            hint="run 'prewarm push' where it was built, or 'prewarm build' here",
        )
    with remote.pulled(hear) as found:
        _check(found, namespace, key, remote.tag, expected)
        target, _, label = published_tag(namespace, key).rpartition(":")
        with translated():
            engine.api.tag(found.id, target, label)
        return found


def _check(found: ImageFacts, namespace: str, key: TemplateKey, tag: str, expected: Traveller | None) -> None:
    if found.labels.get(LABEL_KEY) != key:
        raise TemplateCorruptError(f"{tag} does not carry its key", hint="build and push again")
    if found.labels.get(LABEL_ROLE) != ROLE_TEMPLATE:
        raise TemplateCorruptError(f"{tag} is no template, though it carries its key", hint="build and push again")
    if found.labels.get(LABEL_NAMESPACE) != namespace:
        raise TemplateCorruptError(f"{tag} is of another namespace than '{namespace}'", hint="build and push again")
    if expected is not None and not is_of(found, expected):
        image = expected.ref.value.get("image")
        raise TemplateCorruptError(f"{tag} is image {found.id}, not {image}", hint="build and push again")


@dataclass(frozen=True, slots=True, kw_only=True)
class _There:
    """What a registry has under a key."""

    digest: str
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moved:
    """What an engine said of a push or pull: whether a layer moved, and the digest that the registry now has."""

    moved: bool
    digest: str | None


class _Remote:
    """A template's place in a registry, and the credentials for it."""

    def __init__(self, engine: Engine, registry: str, namespace: str, key: TemplateKey) -> None:
        self._engine = engine
        self._key = key
        self.name = remote_name(registry, namespace)
        self.tag = f"{self.name}:{key}"
        self.credentials = login(engine.environment, self.name)

    def describe(self) -> _There | None:
        """Ask what is there; nothing moves."""
        from docker.errors import APIError

        with translated():
            try:
                answer = raw(self._engine.api).inspect_distribution(self.tag, auth_config=self.credentials)
            except APIError as error:
                if error.status_code == _NOT_FOUND:
                    return None
                raise self._refused(str(error.explanation), code=error.status_code) from error
        described = answer["Descriptor"]
        return _There(digest=str(described["digest"]), media_type=str(described.get("mediaType")))

    @contextlib.contextmanager
    def pulled(self, hear: Callable[[str], None]) -> Iterator[ImageFacts]:
        """Lend what is there under the registry's name, which is taken off again."""
        found: ImageFacts | None = None
        try:
            with translated():
                _patiently(lambda: self._pull(hear))
            found = facts(self._engine, self.tag)
            if found is None:
                raise TemplateNotFoundError(
                    f"template {self._key.short} was pulled from {self.name} and is not in the engine"
                )
            yield found
        finally:
            if found is not None or (found := facts(self._engine, self.tag)) is not None:
                untag(self._engine, self.tag, found.id)

    def _pull(self, hear: Callable[[str], None]) -> None:
        events = self._engine.api.pull(self.name, tag=self._key, stream=True, decode=True, auth_config=self.credentials)
        self.follow(events, hear, "pulled from")

    def holds(self, image: ImageFacts, hear: Callable[[str], None]) -> bool:
        """Fetch what is there and say whether it is this image; what both have does not move."""
        with self.pulled(hear) as found:
            return found.content == image.content

    def follow(self, events: Iterable[Mapping[str, Any]], hear: Callable[[str], None], way: str) -> _Moved:
        """Hear a push or pull to its end."""
        moved, digest = False, None
        for event in events:
            if "error" in event:
                raise self._refused(str(event["error"]), way=way)
            digest = (event.get("aux") or {}).get("Digest") or digest
            status = str(event.get("status", ""))
            moved = moved or status in {"Pushed", "Pull complete", "Download complete"}
            line = f"{event['id']}: {status}" if "id" in event else status
            hear("" if event.get("progressDetail") else line)
        return _Moved(moved=moved, digest=digest)

    def _refused(self, detail: str, *, code: int | None = None, way: str | None = None) -> PrewarmError:
        host = registry_host(self.name)
        what = f"template {self._key.short} cannot be {way} {self.name}" if way else f"the registry of '{self.name}'"
        # In the middle of a push or pull the engine has no code for it.
        if code in _LOCKED or any(word in detail for word in _LOCKED_WORDS):
            known = "does not accept the login" if self.credentials else "wants a login"
            refusal = f"{what}: {host} {known}" if way else f"{what} {known}"
            return BackendUnavailableError(
                f"{refusal}: {detail}", hint=f"run 'docker login {host}', and check the registry's name"
            )
        return BackendUnavailableError(
            f"{what}: {detail}" if way else f"{what} does not answer as one: {detail}",
            hint=f"check the name and the network between the engine and {host}",
        )
