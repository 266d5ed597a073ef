"""What crashes and changed definitions left in the engine: half captures, ended sessions, bases that nothing stands on.

Everything that a build under way may need carries its identity, and stays. Called by ``backend``.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias

from prewarm.backends.capturing import Litter
from prewarm.backends.docker.engine import Engine, translated
from prewarm.backends.docker.handle import remove as remove_container
from prewarm.backends.docker.images import ImageFacts, facts
from prewarm.backends.docker.names import (
    BASE_REPOSITORY,
    LABEL_BUILD,
    LABEL_NAMESPACE,
    LABEL_ROLE,
    ROLE_BUILD,
    ROLE_SESSION,
    ROLE_TEMPLATE,
    STAGED,
    tag_identity,
)
from prewarm.backends.docker.sessions import is_over
from prewarm.backends.docker.templates import familiar, listed, published, untag
from prewarm.errors import TemplateInUseError

UnderWay: TypeAlias = Callable[[str], bool]
"""Says whether the build of an identity may still be running."""

_BUILD_AGE_S: Final = 2 * 3600.0
_BASE: Final = f"{BASE_REPOSITORY}:"


def find(engine: Engine, namespace: str | None, under_way: UnderWay) -> list[Litter]:
    """Find what may go.

    Args:
        engine: Where.
        namespace: Whose; ``None`` for all. Bases are nobody's: several namespaces may stand on one.
        under_way: Asked about everything that a build made for itself.

    Raises:
        BackendUnavailableError: The engine does not answer.
    """
    bases = listed(engine, {"reference": [BASE_REPOSITORY]})
    return [
        *_unfinished(engine, namespace, bases, under_way),
        *_idle_bases(engine, bases, under_way),
        *_containers(engine, namespace, under_way),
    ]


def _unfinished(
    engine: Engine, namespace: str | None, bases: list[dict[str, Any]], under_way: UnderWay
) -> Iterator[Litter]:
    labels = [f"{LABEL_NAMESPACE}={namespace}"] if namespace is not None else []
    staged = listed(engine, {"label": [f"{LABEL_ROLE}={ROLE_TEMPLATE}", *labels]})
    for prefix, images in ((STAGED, staged), (_BASE, bases)):
        for image in images:
            for tag in image["RepoTags"]:
                if not tag.startswith(prefix) or not _is_of_a_build(tag) or under_way(tag_identity(tag)):
                    continue
                if (found := facts(engine, tag)) is not None:
                    yield _name(engine, "image of an unfinished capture", tag, found)


def _idle_bases(engine: Engine, bases: list[dict[str, Any]], under_way: UnderWay) -> Iterator[Litter]:
    """Find bases that were made for captures and that no published template stands on: the next capture makes them again.

    A template stands on what its lowest layers are, wherever it was captured.
    """
    made = [
        tag
        for image in bases
        for tag in image["RepoTags"]
        if tag.startswith(_BASE) and not _is_of_a_build(tag) and not _is_held(image["RepoTags"], under_way)
    ]
    if not made:
        return
    templates = [one for one in listed(engine, {"label": [f"{LABEL_ROLE}={ROLE_TEMPLATE}"]}) if published(one)]
    standing = [found.layers for one in templates if (found := facts(engine, one["Id"])) is not None]
    for tag in made:
        base = facts(engine, tag)
        if base is None or any(layers[: len(base.layers)] == base.layers for layers in standing):
            continue
        yield _name(engine, "base that no template stands on", tag, base, lambda tags: _is_held(tags, under_way))


def _containers(engine: Engine, namespace: str | None, under_way: UnderWay) -> Iterator[Litter]:
    with translated():
        containers = engine.api.containers(all=True, filters={"label": [LABEL_ROLE]})
    now = time.time()
    for container in containers:
        role = container["Labels"][LABEL_ROLE]
        if namespace is not None and container["Labels"].get(LABEL_NAMESPACE) != namespace:
            continue
        if role == ROLE_SESSION and is_over(container):
            what = "expired session"
        elif role == ROLE_SESSION and container["State"] == "created" and now - container["Created"] > _BUILD_AGE_S:
            what = "session that never started"
        elif role == ROLE_BUILD and not under_way(container["Labels"].get(LABEL_BUILD, "")):
            what = "container of an unfinished capture"
        else:
            continue
        yield Litter(
            description=f"{what}: {container['Names'][0].lstrip('/')}",
            size=0,
            remove=_removing(engine, container["Id"]),
        )


def _is_of_a_build(tag: str) -> bool:
    """Say whether the tag of a staged image or of a base ends with the identity of a build."""
    return "." in tag.rpartition(":")[2]


def _is_held(tags: Iterable[str], under_way: UnderWay) -> bool:
    """Say of a base's names whether a build that may be running gave it one of its own."""
    return any(
        tag.startswith(_BASE) and _is_of_a_build(tag) and under_way(tag_identity(tag)) for tag in map(familiar, tags)
    )


def _name(
    engine: Engine,
    what: str,
    tag: str,
    image: ImageFacts,
    is_held: Callable[[Iterable[str]], bool] | None = None,
) -> Litter:
    """Give a name of an image as litter; under its other names the image stays."""

    def take_away() -> None:
        if is_held is not None and (found := facts(engine, tag)) is not None and is_held(found.tags):
            return  # A build has taken it up meanwhile.
        with contextlib.suppress(TemplateInUseError):  # A session was opened from it meanwhile; the next gc sees.
            untag(engine, tag, image.id)

    return Litter(
        description=f"{what}: {tag}",
        size=0 if len(image.tags) > 1 else image.size,
        remove=take_away,
    )


def _removing(engine: Engine, container: str) -> Callable[[], None]:
    return lambda: remove_container(engine, container)
