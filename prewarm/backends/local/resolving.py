"""Finding a base by content, for its key."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from prewarm.backends import rootfs_archives
from prewarm.backends.local import host_base, images, rootfs
from prewarm.definition.model import Base, DockerfileBase, ExtendsBase, HostBase, ImageBase, RootfsBase
from prewarm.errors import UnkeyableInputError, UnsupportedOptionError
from prewarm.machine import host_platform
from prewarm.request import ResolvedBase


def resolve(
    base: Base,
    *,
    project: Path,
    platform: str,
    sha256: Callable[[Path], str],
    environment: Mapping[str, str],
) -> ResolvedBase:
    """Answer ``TemplateBackend.resolve_base``."""
    match base:
        case HostBase():
            return _host(platform)
        case RootfsBase():
            return _rootfs(base, project, sha256)
        case ImageBase(reference=reference):
            return images.resolve(reference, project=project, platform=platform, sha256=sha256, environment=environment)
        case DockerfileBase():
            raise UnsupportedOptionError(
                "backend 'local' builds no Dockerfiles", hint="use backend 'docker', or a base image or archive"
            )
        case ExtendsBase(sandbox=name):
            raise UnkeyableInputError(f"'{name}' is another sandbox, whose template is its base")


def _host(platform: str) -> ResolvedBase:
    if platform != host_platform():
        raise UnkeyableInputError(
            f"the base 'host' is {host_platform()}, not {platform}", hint="use an image of that platform"
        )
    try:
        digest = host_base.digest()
    except OSError as error:
        raise UnkeyableInputError(f"the base 'host' cannot be told apart: {error}") from error
    return ResolvedBase(digest=digest, description=host_base.description(), value={"kind": host_base.KIND})


def _rootfs(base: RootfsBase, project: Path, sha256: Callable[[Path], str]) -> ResolvedBase:
    found = rootfs_archives.digest(base, project=project, sha256=sha256)
    return ResolvedBase(
        digest=f"sha256:{found}",
        description=f"{os.path.basename(base.path)} (sha256:{found[:12]})",
        value={"kind": rootfs.KIND, "path": str(project / base.path), "sha256": found},
    )
