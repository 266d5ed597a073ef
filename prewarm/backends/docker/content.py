"""What an image is, whichever store keeps it: a digest over all of its configuration that a session or a capture can see.

Docker's own store names an image by the digest of its configuration, containerd's by that of its manifest or index. Both
show the same configuration. The digests of its layers' contents are in it, and engines hold what they unpack against
them, so two images with one content digest are one image. Pure; read by whoever finds another id than the one expected.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Final

from prewarm.definition.options import Json

_SCHEMA: Final = "prewarm.docker-content/1"
_PLAIN: Final = ("User", "WorkingDir", "StopSignal")
_ORDERED: Final = ("Env", "Entrypoint", "Cmd", "OnBuild", "Shell")
_SETS: Final = ("ExposedPorts", "Volumes")
_DEFAULTS: Final = {"WorkingDir": "/"}


def of_inspected(found: Mapping[str, Json]) -> str:
    """Give the content digest of an image as the engine's inspection shows it."""
    platform = [found.get("Os") or "linux", found.get("Architecture"), found.get("Variant")]
    return _digest(platform, _object(found.get("Config")), _object(found.get("RootFS")).get("Layers"))


def of_config(value: Json) -> str:
    """Give the content digest of an image by its configuration, as registries and archives hold it.

    Raises:
        TypeError: It is no configuration.
    """
    if not isinstance(value, Mapping):
        raise TypeError("an image's configuration is no object")
    platform = [value.get("os") or "linux", value.get("architecture"), value.get("variant")]
    return _digest(platform, _object(value.get("config")), _object(value.get("rootfs")).get("diff_ids"))


def _digest(platform: list[Json], config: Mapping[str, Json], layers: Json) -> str:
    """Hash what counts; what engines write as null, as empty or not at all is one and the same."""
    counted: dict[str, Json] = {name: config.get(name) for name in (*_PLAIN, *_ORDERED)}
    counted |= {name: sorted(_object(config.get(name))) for name in _SETS}
    counted["Labels"] = dict(_object(config.get("Labels")))
    counted["Healthcheck"] = {name: one for name, one in _object(config.get("Healthcheck")).items() if one}
    counted = {name: one for name, one in counted.items() if one and one != _DEFAULTS.get(name)}
    whole = {"schema": _SCHEMA, "platform": [one or "" for one in platform], "config": counted, "layers": layers or []}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _object(value: Json) -> Mapping[str, Json]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError("a part of an image's configuration is no object")
    return value
