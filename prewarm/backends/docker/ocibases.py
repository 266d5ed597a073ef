"""Images of OCI layouts as bases: found for the key, and loaded into the engine as what they were then.

Everything is compared with its digest before the engine sees any of it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from prewarm.backends import oci, oci_layouts
from prewarm.backends.docker import loading
from prewarm.backends.docker.engine import Engine
from prewarm.errors import CaptureFailedError
from prewarm.request import ResolvedBase

_SHOWN: Final = 19


def resolve(reference: str, *, project: Path, platform: str, sha256: Callable[[Path], str]) -> ResolvedBase:
    """Find the image of a platform in a layout, for the key.

    Raises:
        UnkeyableInputError: There is no such layout, or no such image in it.
    """
    path, image = oci_layouts.find(reference, project=project, platform=platform, sha256=sha256)
    return ResolvedBase(
        digest=image.digest,
        description=f"{reference} ({image.digest[:_SHOWN]}…)",
        value={"oci": path, "manifest": image.digest},
    )


def load(engine: Engine, path: Path, digest: str, tag: str) -> tuple[str, ...]:
    """Load the image of a manifest into the engine under a tag; give the digests of its layers' contents.

    Raises:
        CaptureFailedError: It is not there any more, damaged, or the engine refuses it.
        BackendUnavailableError: The engine does not answer.
    """

    def refusal(why: str) -> CaptureFailedError:
        return CaptureFailedError(f"base '{path}' cannot be loaded: {why}")

    try:
        with oci_layouts.opened(path) as layout:
            image = oci.read_image(layout, oci.Descriptor(digest=digest))
            blobs = {one.sha256: one for one in (image.config, *image.layers)}
            for layer in image.layers:
                layout.prove(layer)
            sent = loading.Sent(
                tag=tag, config=image.config.sha256, layers=tuple(layer.sha256 for layer in image.layers)
            )
            loading.load(engine, loading.archive([sent], lambda one: layout.blob(blobs[one])), refusal)
    except oci_layouts.BROKEN as error:
        raise refusal(str(error)) from error
    return image.contents
