"""What a definition asks for and its backend cannot do: found, all of it, before anything runs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import assert_never

from prewarm.backends.base import Feature, TemplateBackend
from prewarm.backends.buildkit import BuildKitOptions, CapturesWithBuildKit
from prewarm.backends.paths import is_below
from prewarm.definition.model import (
    Base,
    Definition,
    DockerfileBase,
    ExtendsBase,
    HostBase,
    ImageBase,
    InlineSeed,
    Network,
    Resources,
    RootfsBase,
)
from prewarm.errors import DefinitionError, UnsupportedOptionError
from prewarm.machine import PLATFORM

_OF_THE_KERNEL = ("/dev", "/proc", "/sys")


def refuse_platform(platform: str) -> None:
    """Check how a platform is written: the lock file names it.

    Raises:
        DefinitionError: It is none.
    """
    if not PLATFORM.fullmatch(platform):
        raise DefinitionError(f"'{platform}' is not a platform", hint="a platform is os/arch, such as linux/amd64")


def refuse_unsupported(asked: Iterable[tuple[Definition, TemplateBackend]]) -> None:
    """Check everything that is asked for.

    Args:
        asked: Definitions, their options flat as ``Definition.for_backend`` gives them, and who is to capture them.

    Raises:
        UnsupportedOptionError: Some of it cannot be honoured; all problems are listed.
    """
    problems = [problem for one in asked for problem in _problems(*one)]
    if len(problems) == 1:
        raise UnsupportedOptionError(problems[0], hint=_HINT)
    if problems:
        told = "\n".join(f"  {problem}" for problem in problems)
        raise UnsupportedOptionError(
            f"{len(problems)} things cannot be honoured:\n{told}", hint=_HINT, problems=tuple(problems)
        )


def refuse_buildkit(asked: Iterable[tuple[str, TemplateBackend]], options: BuildKitOptions) -> None:
    """Check what is to be handed on to BuildKit: nobody drops any of it.

    Args:
        asked: Names of sandboxes, and who is to capture them.
        options: To be handed on.

    Raises:
        UnsupportedOptionError: A backend has no BuildKit, or its builder cannot do it.
        BackendUnavailableError: The builder cannot be asked.
    """
    by_backend: dict[str, tuple[TemplateBackend, list[str]]] = {}
    for name, backend in asked:
        by_backend.setdefault(backend.name, (backend, []))[1].append(name)
    problems: list[str] = []
    for backend, names in by_backend.values():
        if isinstance(backend, CapturesWithBuildKit):
            problems += backend.buildkit_problems(options, names)
        elif options != BuildKitOptions():
            problems.append(f"backend '{backend.name}' has no BuildKit to hand caches or attestations on to")
    if problems:
        raise UnsupportedOptionError("; ".join(problems), hint=_BUILDKIT_HINT, problems=tuple(problems))


_HINT = "choose another 'backend', or take the option out"
_BUILDKIT_HINT = "take the option out, or see 'Caches of BuildKit' in prewarm's README for what each builder can do"


def _problems(definition: Definition, backend: TemplateBackend) -> Iterator[str]:
    where = f"sandbox '{definition.name}'"
    if definition.origin is not None:
        where = f"{definition.origin}: {where}"
    found = (
        *_base(definition, backend),
        *_network(definition, backend),
        *_places(definition),
        *_rest(definition, backend),
    )
    for problem in found:
        yield f"{where}: {problem}"
    for problem in backend.option_problems(definition.template.options, definition.session.options):
        yield f"{where}: {problem}"


def base_feature(base: Base) -> Feature | None:
    """Say what a backend must be able to do to start from a base; nothing where that is another sandbox."""
    match base:
        case ExtendsBase():
            return None
        case HostBase():
            return Feature.HOST
        case ImageBase():
            return Feature.IMAGES
        case RootfsBase():
            return Feature.ROOTFS
        case DockerfileBase():
            return Feature.DOCKERFILES
        case _:
            assert_never(base)


def _base(definition: Definition, backend: TemplateBackend) -> Iterator[str]:
    needed = base_feature(definition.template.base)
    if needed is None or needed in backend.features:
        return
    match definition.template.base:
        case ImageBase(reference=reference):
            what = f"'{reference}'"
        case RootfsBase(path=path):
            what = f"rootfs '{path}'"
        case DockerfileBase(dockerfile=dockerfile):
            what = f"dockerfile '{dockerfile}'"
        case _:
            what = "'host'"
    yield f"backend '{backend.name}' cannot start from base {what}"


def _network(definition: Definition, backend: TemplateBackend) -> Iterator[str]:
    features = backend.features
    steps = (*definition.template.bootstrap, *definition.template.verify)
    wanted = {definition.session.network, definition.build.network, *(step.limits.network for step in steps)}
    # A backend without any network has nothing to take away.
    if Network.NONE in wanted and Feature.NETWORK in features and Feature.NETWORK_POLICY not in features:
        yield f"backend '{backend.name}' cannot take the network away (network: none)"
    explicit = {definition.session.network, *(step.limits.network for step in steps)}
    if Network.ALL in explicit and Feature.NETWORK not in features:
        yield f"backend '{backend.name}' has no network to give (network: all)"


def _places(definition: Definition) -> Iterator[str]:
    template = definition.template
    targets = [seed.path if isinstance(seed, InlineSeed) else seed.target for seed in template.seeds]
    for what, path in (*(("a seed", target) for target in targets), ("'workdir'", template.workdir)):
        for place in _OF_THE_KERNEL:
            if is_below(path, place):
                yield f"{what} at {path} would not be in the template: every session has its own {place}"


def _rest(definition: Definition, backend: TemplateBackend) -> Iterator[str]:
    features = backend.features
    name = backend.name
    secrets = {secret for step in definition.template.bootstrap for secret in step.secrets}
    if secrets and Feature.SECRETS not in features:
        yield f"backend '{name}' cannot hide secrets from the template ({', '.join(sorted(secrets))})"
    if any(step.secrets for step in definition.template.verify):
        yield "verify steps cannot have secrets, as sessions have none"
    if definition.session.resources != Resources() and Feature.LIMITS not in features:
        yield f"backend '{name}' cannot limit resources (session: resources)"
    declared = {secret.id for secret in definition.build.secrets}
    for missing in sorted(secrets - declared):
        yield f"a step names secret '{missing}', which is not under 'build: secrets'"
