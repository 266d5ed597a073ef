"""What a run hands on to BuildKit, and the backends that have one: asked for with ``isinstance``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

NAME_FIELD: Final = "{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildKitOptions:
    """How BuildKit is to work, in its own words; none of it is in a key.

    Attributes:
        cache_from: Caches to look in (``type=registry,ref=…``). ``{name}`` becomes the sandbox.
        cache_to: Caches to fill, the same.
        provenance: Attestation of how it was built (``mode=max``); ``None`` for the builder's default.
        sbom: Attestation of what is in it (``true``); ``None`` for the builder's default.
        reproducible: Whether the times of files in layers are set back to 1970, so that two captures of the same steps
            give the same image.
    """

    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()
    provenance: str | None = None
    sbom: str | None = None
    reproducible: bool = False


@runtime_checkable
class CapturesWithBuildKit(Protocol):
    """Captures go through BuildKit, and ``CaptureRequest.buildkit`` is honoured."""

    def buildkit_problems(self, options: BuildKitOptions, names: Sequence[str]) -> Sequence[str]:
        """Say what of it this builder cannot honour.

        Args:
            options: As asked for.
            names: The sandboxes of the run.

        Raises:
            BackendUnavailableError: The builder cannot be asked.
        """
