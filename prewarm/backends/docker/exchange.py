"""How images get to the builder, and what it built into the engine.

The engine's own builder sees the engine's images and leaves its own there. Every other one is given what it starts from
as an OCI layout, and sends back an archive. Times in layers can be rewritten only on the way into an archive.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from prewarm.backends.docker import layout, loading
from prewarm.backends.docker.engine import Engine, translated
from prewarm.errors import CaptureFailedError

_CONTAINERD: Final = "io.containerd.snapshotter"
_REWRITE: Final = "rewrite-timestamp=true"
_PARTED: Final = frozenset(':@,"')  # What buildx takes for the end of a path.


def has_containerd_store(engine: Engine) -> bool:
    """Say whether the engine keeps images in containerd's store, which holds whatever OCI can say.

    Raises:
        BackendUnavailableError: The engine does not answer.
    """
    with translated():
        status = engine.api.info().get("DriverStatus") or ()
    return any(_CONTAINERD in str(value) for _, value in status)


def can_rewrite(engine: Engine) -> bool:
    """Say whether times in layers can be rewritten on the way from this builder into this engine.

    Raises:
        BackendUnavailableError: The engine or its builder cannot be asked.
    """
    return not engine.builder.is_engines_own or has_containerd_store(engine)


@contextlib.contextmanager
def handed(
    engine: Engine,
    place: Path,
    images: Mapping[str, str],
    *,
    platform: str,
    reproducible: bool,
    check: Callable[[], None],
) -> Iterator[list[str]]:
    """Lend buildx's arguments by which a build finds its images; on leaving, what it built is in the engine.

    Args:
        engine: Whose images.
        place: Directory of this build.
        images: Name in the Dockerfile to image of the engine.
        platform: Of them.
        reproducible: Whether times in layers are rewritten.
        check: Called now and then; raises to stop.

    Raises:
        CaptureFailedError: An image cannot be written for the builder, or what it built cannot be loaded.
        BackendUnavailableError: The engine or its builder cannot be asked.
    """
    is_own = engine.builder.is_engines_own
    if is_own and not reproducible:
        yield ["--load"]
        return
    if _PARTED & set(str(place)):
        raise CaptureFailedError(
            f"buildx cannot read or write in {place}: it takes ':', '@', ',' and '\"' for the end of the path",
            hint="choose another PREWARM_HOME",
        )
    if is_own:
        archive = place / "built.tar"
        yield [f"--output=type=oci,{_REWRITE},dest={archive}"]
        _load(engine, archive)
        return
    with contextlib.ExitStack() as layouts:
        arguments = [f"--output=type=docker,{_REWRITE}" if reproducible else "--load"]
        for number, (name, image) in enumerate(images.items()):
            directory = place / f"base-{number}"
            layouts.callback(shutil.rmtree, directory, ignore_errors=True)
            digest = layout.write(engine, image, directory, platform=platform, check=check)
            arguments.append(f"--build-context={name}=oci-layout://{directory}@{digest}")
        yield arguments


def _load(engine: Engine, archive: Path) -> None:
    try:
        with archive.open("rb") as file:
            loading.load(
                engine, file, lambda why: CaptureFailedError(f"the engine does not take in what was built: {why}")
            )
    finally:
        archive.unlink(missing_ok=True)
