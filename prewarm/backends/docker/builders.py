"""What is handed on to BuildKit with every build, and whether this builder can do it: it would drop some of it silently."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from prewarm.backends.buildkit import NAME_FIELD, BuildKitOptions
from prewarm.backends.docker.engine import Engine
from prewarm.backends.docker.exchange import can_rewrite, has_containerd_store

_INLINE: Final = "inline"
_YES: Final = frozenset({"1", "true", "yes", "on"})


def effective(options: BuildKitOptions | None, environment: Mapping[str, str]) -> BuildKitOptions:
    """Give what counts: what was asked for, else what ``PREWARM_DOCKER_CACHE_FROM`` and its like say (blanks between several)."""
    asked = options or BuildKitOptions()
    return BuildKitOptions(
        cache_from=asked.cache_from or tuple(environment.get("PREWARM_DOCKER_CACHE_FROM", "").split()),
        cache_to=asked.cache_to or tuple(environment.get("PREWARM_DOCKER_CACHE_TO", "").split()),
        provenance=asked.provenance or environment.get("PREWARM_DOCKER_PROVENANCE") or None,
        sbom=asked.sbom or environment.get("PREWARM_DOCKER_SBOM") or None,
        reproducible=asked.reproducible or environment.get("PREWARM_DOCKER_REPRODUCIBLE", "").lower() in _YES,
    )


def arguments(options: BuildKitOptions, name: str, first: int = 1) -> list[str]:
    """Give buildx's arguments for one build.

    Args:
        options: As ``effective`` gives them.
        name: What the cache of this build is called, where a cache has a name in it.
        first: Number of its first step, 0 for its base: each of a capture's builds has a cache of its own.
    """
    name = name if first == 1 else f"{name}-{first}"
    given = [f"--cache-from={cache.replace(NAME_FIELD, name)}" for cache in options.cache_from]
    given += [f"--cache-to={cache.replace(NAME_FIELD, name)}" for cache in options.cache_to]
    given += [f"--provenance={options.provenance}"] if options.provenance else []
    given += [f"--sbom={options.sbom}"] if options.sbom else []
    return given


def problems(engine: Engine, options: BuildKitOptions, names: Sequence[str]) -> list[str]:
    """Say what of it this builder cannot do; nothing is asked where nothing is handed on.

    Raises:
        BackendUnavailableError: The engine does not answer, or there is no such builder.
    """
    found = list(_wrong_caches(options, names, engine.environment))
    if found:
        return found
    exported = [cache for cache in options.cache_to if _fields(cache)["type"] != _INLINE]
    attested = [
        f"--{what}={value}"
        for what, value in (("provenance", options.provenance), ("sbom", options.sbom))
        if value not in {None, "false"}
    ]
    if (exported or attested) and not has_containerd_store(engine):
        if exported and engine.builder.is_engines_own:
            found += [
                f"Docker's own builder cannot write the cache '{cache}': without the containerd image store"
                " it writes none but type=inline"
                for cache in exported
            ]
        found += [
            f"this engine cannot keep what {one} adds: it is without the containerd image store" for one in attested
        ]
    if options.reproducible and not can_rewrite(engine):
        found.append(
            "Docker's own builder cannot rewrite the times in layers, which --reproducible needs: without the containerd"
            " image store it leaves them as they are"
        )
    return found


def _wrong_caches(options: BuildKitOptions, names: Sequence[str], environment: Mapping[str, str]) -> Iterator[str]:
    for cache in dict.fromkeys((*options.cache_from, *options.cache_to)):
        fields = _fields(cache)
        if not fields["type"]:
            yield f"the cache '{cache}' has no type"
        elif fields["type"] == "gha" and "token" not in fields and not environment.get("ACTIONS_RUNTIME_TOKEN"):
            yield f"the cache '{cache}' is GitHub's, which needs ACTIONS_RUNTIME_TOKEN and its address in the environment"
    for cache in options.cache_to:
        if len(names) > 1 and _fields(cache)["type"] != _INLINE and NAME_FIELD not in cache:
            yield (
                f"the cache '{cache}' would keep the last of {len(names)} sandboxes only;"
                f" write {NAME_FIELD} where their names are to stand"
            )


def _fields(cache: str) -> dict[str, str]:
    """Read a cache as buildx does: ``type=registry,ref=…``, or the name of an image alone."""
    (row,) = csv.reader([cache])
    if len(row) == 1 and "=" not in cache:
        return {"type": "registry", "ref": cache}
    return {"type": "", **{name.lower(): value for name, _, value in (field.partition("=") for field in row)}}
