"""``DockerBackend``: both halves of the protocol, each answered by the module that knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prewarm.backends.context import BackendContext, Feature
from prewarm.backends.docker import policy, sessions, templates
from prewarm.backends.docker.engine import Engine
from prewarm.backends.docker.names import BACKEND, CAPTURE_FORMAT
from prewarm.backends.docker.workplace import abandoned, clear, under_way

if TYPE_CHECKING:
    from prewarm.backends.buildkit import BuildKitOptions
    from prewarm.backends.capturing import (
        CaptureObserver,
        CaptureRequest,
        Litter,
        Probe,
        StagedTemplate,
        TemplateRecord,
    )
    from prewarm.backends.docker.handle import DockerSession
    from prewarm.backends.health import Health
    from prewarm.backends.hosting import OpenRequest, SessionRecord
    from prewarm.backends.travel import Stored, Traveller
    from prewarm.definition.model import Base, Json
    from prewarm.key import TemplateKey
    from prewarm.request import ResolvedBase, TemplateRef

_FEATURES: Final = frozenset(
    {
        Feature.PROCESSES,
        Feature.ROOTFS,
        Feature.IMAGES,
        Feature.DOCKERFILES,
        Feature.CROSS_PROCESS,
        Feature.NETWORK_POLICY,
        Feature.NETWORK,
        Feature.LIMITS,
        Feature.SECRETS,
        Feature.TERMINAL,
        Feature.SELF_EXPIRY,
    }
)


class DockerBackend:
    """Templates as images, sessions as containers. Thread-safe; does no work before it is asked.

    Args:
        context: Where it keeps the directories of builds, and the environment that says which engine.
    """

    def __init__(self, context: BackendContext) -> None:
        self._home = context.home
        self._environment = context.environment
        self._engine = Engine(context.environment)

    @property
    def engine(self) -> Engine:
        """The engine that it works on."""
        return self._engine

    @property
    def name(self) -> str:
        return BACKEND

    @property
    def capture_format(self) -> str:
        return CAPTURE_FORMAT

    @property
    def features(self) -> frozenset[Feature]:
        return _FEATURES

    def check(self) -> Health:
        """Find out whether the engine answers and there is a builder."""
        from prewarm.backends.docker.health import check

        return check(self._engine)

    def option_problems(self, template: Mapping[str, Json], session: Mapping[str, Json]) -> Sequence[str]:
        return policy.problems(template, session)

    def resolve_base(self, base: Base, *, project: Path, platform: str, sha256: Callable[[Path], str]) -> ResolvedBase:
        from prewarm.backends.docker import bases

        return bases.resolve(self._engine, base, project=project, platform=platform, sha256=sha256)

    def buildkit_problems(self, options: BuildKitOptions, names: Sequence[str]) -> Sequence[str]:
        from prewarm.backends.docker import builders

        return builders.problems(self._engine, builders.effective(options, self._environment), names)

    def capture(self, request: CaptureRequest, observer: CaptureObserver) -> AbstractContextManager[StagedTemplate]:
        from prewarm.backends.docker.capture import capture

        return capture(self._engine, self._home, request, observer)

    def probe(self, wanted: Sequence[tuple[TemplateKey, TemplateRef]]) -> Sequence[Probe]:
        return templates.probe(self._engine, wanted)

    def find(self, namespace: str, key: TemplateKey) -> TemplateRef | None:
        return templates.find(self._engine, namespace, key)

    def templates(self, namespace: str | None = None) -> Sequence[TemplateRecord]:
        return templates.list_templates(self._engine, namespace)

    def remove(self, ref: TemplateRef) -> None:
        templates.remove(self._engine, ref)

    def litter(self, namespace: str | None = None) -> Sequence[Litter]:
        from prewarm.backends.capturing import Litter
        from prewarm.backends.docker import litter

        found = litter.find(self._engine, namespace, lambda identity: under_way(self._home, identity))
        for path in abandoned(self._home):
            found.append(
                Litter(description=f"directory of an unfinished capture: {path.name}", size=0, remove=_removing(path))
            )
        return found

    def open(self, request: OpenRequest) -> DockerSession:
        allowed = [one for one in self._environment.get(policy.ALLOWED_MOUNTS, "").split(":") if one.startswith("/")]
        return sessions.open_session(self._engine, request, allowed)

    def attach(self, state: Mapping[str, Json]) -> DockerSession:
        return sessions.attach(self._engine, state)

    def end_session(self, state: Mapping[str, Json]) -> None:
        sessions.end(self._engine, state)

    def push(self, template: Traveller, registry: str, hear: Callable[[str], None]) -> bool:
        from prewarm.backends.docker.registry import push

        return push(self._engine, template, registry, hear)

    def pull(self, template: Traveller, registry: str, hear: Callable[[str], None]) -> bool:
        from prewarm.backends.docker.registry import pull

        return pull(self._engine, template, registry, hear)

    def offers(self, namespace: str, key: TemplateKey, registry: str) -> bool:
        from prewarm.backends.docker.registry import offers

        return offers(self._engine, namespace, key, registry)

    def fetch(self, namespace: str, key: TemplateKey, registry: str, hear: Callable[[str], None]) -> TemplateRef | None:
        from prewarm.backends.docker.registry import fetch
        from prewarm.errors import TemplateNotFoundError

        try:
            found = fetch(self._engine, namespace, key, registry, hear)
        except TemplateNotFoundError:
            return None
        return templates.ref_of(found.id, namespace, key, content=found.content)

    def export_templates(self, templates: Sequence[Traveller], target: Path) -> None:
        from prewarm.backends.docker import saved

        saved.export(self._engine, templates, target)

    def import_templates(self, source: Path) -> Sequence[TemplateKey]:
        from prewarm.backends.docker import saved

        return saved.take_in(self._engine, source)

    def cache_save(self, templates: Sequence[Traveller], directory: Path) -> Stored:
        from prewarm.backends.docker import cache

        return cache.save(self._engine, templates, directory)

    def cache_restore(self, templates: Sequence[Traveller], directory: Path) -> Sequence[TemplateKey]:
        from prewarm.backends.docker import cache

        return cache.restore(self._engine, templates, directory)

    def close(self) -> None:
        """Let go of the connections to the engine. Twice is fine; the next use connects again."""
        self._engine.close()

    def sessions(self, namespace: str | None = None) -> Sequence[SessionRecord]:
        return sessions.list_sessions(self._engine, namespace)


def _removing(path: Path) -> Callable[[], None]:
    return lambda: clear(path)
