"""Container images as bases: from an OCI layout (a directory or an archive of one), or from a registry.

Each layer of an image becomes a layer of this backend, deletions included; an image of more layers than the kernel's mount
option holds is laid together by the capture. From a registry, the name is resolved to a digest for the key, and the blobs
are fetched when the base is first needed.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from prewarm.backends import oci, oci_layouts
from prewarm.backends.local import rootfs
from prewarm.document import Node
from prewarm.errors import CaptureFailedError
from prewarm.request import ResolvedBase

KIND: Final = "image"


def resolve(
    reference: str,
    *,
    project: Path,
    platform: str,
    sha256: Callable[[Path], str],
    environment: Mapping[str, str],
) -> ResolvedBase:
    """Answer ``resolve_base`` for an image; ``environment`` says where Docker's credentials for registries are.

    Raises:
        UnkeyableInputError: There is no such image, or none of this platform.
        BackendUnavailableError: The registry cannot be asked.
    """
    if reference.startswith(oci_layouts.PREFIXES):
        path, image = oci_layouts.find(reference, project=project, platform=platform, sha256=sha256)
        digest, where = image.digest, {"path": str(project / path)}
    else:
        from prewarm.backends.local import registry_images

        name, digest = registry_images.resolve(reference, platform, environment)
        where = {"registry": name}
    return ResolvedBase(
        digest=digest,
        description=f"{reference} ({digest[:19]})",
        value={"kind": KIND, **where, "manifest": digest},
    )


def unpack(
    base: ResolvedBase,
    scratch: Path,
    seal: Callable[[Callable[[Path], None]], str],
    environment: Mapping[str, str],
) -> tuple[list[str], Mapping[str, str]]:
    """Turn an image into layers; give them, lowest first, and its variables.

    Args:
        base: As ``resolve`` gave it.
        scratch: Where blobs may be put meanwhile.
        seal: Makes a layer of what it is told to fill a directory with.
        environment: Says where Docker's credentials for registries are.

    Raises:
        CaptureFailedError: A blob is missing, damaged, or no archive.
    """
    node = Node(base.value, "base")
    try:
        with _source(node, environment) as blobs:
            image = oci.read_image(blobs, oci.Descriptor(digest=node.get("manifest").text()))
            layers = []
            for layer in image.layers:
                path = blobs.fetch(layer, scratch)
                layers.append(seal(functools.partial(_unpack_layer, path, layer)))
                if path.is_relative_to(scratch):
                    path.unlink()
    except oci_layouts.BROKEN as error:
        raise CaptureFailedError(f"image {base.description} could not be unpacked: {error}") from error
    return layers, image.environment


def _unpack_layer(path: Path, layer: oci.Descriptor, target: Path) -> None:
    rootfs.unpack(path, target, whiteouts=True, sha256=layer.sha256)


@contextlib.contextmanager
def _source(node: Node, environment: Mapping[str, str]) -> Iterator[oci.Blobs]:
    if "registry" in node.object():
        from prewarm.backends.local import registry_images

        with registry_images.opened(node.get("registry").text(), environment) as repository:
            yield repository
        return
    with oci_layouts.opened(Path(node.get("path").text())) as layout:
        yield layout
