"""Abilities of backends whose templates travel: through a registry, in an archive, in a cache directory.

Each is a protocol of its own, asked for with ``isinstance``; a backend that has none of them keeps its templates where
they are. Called by ``transport``, and by ``pipeline`` where a build may take from a registry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from prewarm.key import TemplateKey
from prewarm.request import TemplateRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Traveller:
    """A template that is to travel: what the lock file says of it."""

    namespace: str
    key: TemplateKey
    ref: TemplateRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What a cache directory was changed by.

    Attributes:
        written: Bytes that were not there before.
        kept: Bytes that were.
        removed: Bytes that nothing in the lock file needs any more.
    """

    written: int
    kept: int
    removed: int


@runtime_checkable
class TravelsByRegistry(Protocol):
    """Templates go to registries and come back, several at a time.

    ``hear`` takes a line on how it goes, an empty one as a sign of life; what it raises ends the matter.
    """

    def push(self, template: Traveller, registry: str, hear: Callable[[str], None]) -> bool:
        """Put a template into a registry under its key; give whether anything had to move.

        Raises:
            TemplateNotFoundError: It is not here.
            BackendUnavailableError: The registry or the engine refuses.
        """

    def pull(self, template: Traveller, registry: str, hear: Callable[[str], None]) -> bool:
        """Get a template from a registry, checked and published; give whether anything had to move.

        Raises:
            TemplateNotFoundError: The registry has none under this key.
            TemplateCorruptError: What it has is not what the lock file names.
            BackendUnavailableError: The registry or the engine refuses.
        """

    def offers(self, namespace: str, key: TemplateKey, registry: str) -> bool:
        """Say whether a registry has something under a key; moves nothing.

        Raises:
            BackendUnavailableError: The registry or the engine refuses.
        """

    def fetch(self, namespace: str, key: TemplateKey, registry: str, hear: Callable[[str], None]) -> TemplateRef | None:
        """Get what a registry has under a key, without any record of it; ``None`` if it has nothing.

        Raises:
            TemplateCorruptError: What it has does not carry the key.
            BackendUnavailableError: The registry or the engine refuses.
        """


@runtime_checkable
class TravelsByArchive(Protocol):
    """Templates go into one archive and come out of it."""

    def export_templates(self, templates: Sequence[Traveller], target: Path) -> None:
        """Write templates to one archive, what they share once. It appears whole or not at all.

        Raises:
            TemplateNotFoundError: One is not here.
        """

    def import_templates(self, source: Path) -> Sequence[TemplateKey]:
        """Take templates in from an archive, each checked against its key; give their keys.

        Raises:
            TemplateCorruptError: It is no such archive, or holds what does not belong in one.
        """


@runtime_checkable
class TravelsByCache(Protocol):
    """Templates are kept in a directory that a CI system saves and restores."""

    def cache_save(self, templates: Sequence[Traveller], directory: Path) -> Stored:
        """Make a directory hold these templates and nothing else; what is there already is not written again.

        Raises:
            TemplateNotFoundError: One is not here.
        """

    def cache_restore(self, templates: Sequence[Traveller], directory: Path) -> Sequence[TemplateKey]:
        """Take in what the directory has of these templates and the backend has not; give the keys of those.

        Raises:
            TemplateCorruptError: What it has is not what the lock file names.
        """
