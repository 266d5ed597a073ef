"""What is handed on to BuildKit with every build, and whether this builder can do it: it would drop some of it silently."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from prewarm.backends.buildkit import NAME_FIELD, BuildKitOptions
from prewarm.backends.docker.engine import Engine
from prewarm.backends.docker.exchange import can_rewrite, has_containerd_store

_INLINE: Final = "inline"
_GITHUB: Final = ("ACTIONS_CACHE_URL", "ACTIONS_RESULTS_URL")
_SECRET: Final = frozenset({"token", "secret_access_key", "session_token", "access_key_id"})
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
                f"Docker's own builder cannot write the cache '{_shown(cache)}': without the containerd image store"
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
            yield f"the cache '{_shown(cache)}' has no type"
        elif fields["type"] == "gha" and not _reaches_github(fields, environment):
            yield (
                f"the cache '{_shown(cache)}' is GitHub's, which needs ACTIONS_RUNTIME_TOKEN, and ACTIONS_CACHE_URL or"
                " ACTIONS_RESULTS_URL, in the environment"
            )
    for cache in options.cache_to:
        if len(names) > 1 and _fields(cache)["type"] != _INLINE and NAME_FIELD not in cache:
            yield (
                f"the cache '{_shown(cache)}' would keep the last of {len(names)} sandboxes only;"
                f" write {NAME_FIELD} where their names are to stand"
            )


def credentials(options: BuildKitOptions, environment: Mapping[str, str]) -> set[str]:
    """Give what of it nobody may see: it is hidden in whatever BuildKit says."""
    caches = (*options.cache_from, *options.cache_to)
    given = {fields[name] for fields in map(_fields, caches) for name in _SECRET & fields.keys()}
    if any(_fields(cache)["type"] == "gha" for cache in caches):
        given.add(environment.get("ACTIONS_RUNTIME_TOKEN", ""))
    return given - {""}


def _shown(cache: str) -> str:
    return re.sub(rf"(?i)\b({'|'.join(sorted(_SECRET))})=[^,]*", r"\1=***", cache)


def _reaches_github(fields: Mapping[str, str], environment: Mapping[str, str]) -> bool:
    token = fields.get("token") or environment.get("ACTIONS_RUNTIME_TOKEN")
    addresses = (fields.get("url"), fields.get("url_v2"), *map(environment.get, _GITHUB))
    return bool(token and any(addresses))


def _fields(cache: str) -> dict[str, str]:
    """Read a cache as buildx does: ``type=registry,ref=…``, or the name of an image alone."""
    (row,) = csv.reader([cache])
    if len(row) == 1 and "=" not in cache:
        return {"type": "registry", "ref": cache}
    return {"type": "", **{name.lower(): value for name, _, value in (field.partition("=") for field in row)}}
