"""What a template may start from, as values. Standard library only. Read through ``model``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class HostBase:
    """This machine's own programs, read-only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBase:
    """A container image: ``debian:bookworm``, ``name@sha256:…``, ``oci:./layout``, ``oci-archive:./image.tar``.

    Attributes:
        reference: As written. The ``oci:`` forms are paths, relative to the project directory.
    """

    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RootfsBase:
    """A root filesystem archive: tar, plain or compressed with gzip or zstd.

    Attributes:
        path: Relative to the project directory.
        sha256: Expected digest of the archive's bytes, 64 lower-case hex digits.
    """

    path: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerfileBase:
    """A Dockerfile of the author's own, built first and started from.

    Attributes:
        dockerfile: Path relative to ``context``.
        context: Build context, relative to the project directory.
        target: Stage to build; ``None`` means the last.
        args: Build arguments.
    """

    dockerfile: str = "Dockerfile"
    context: str = "."
    target: str | None = None
    args: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendsBase:
    """The template of another sandbox of the same project."""

    sandbox: str


Base: TypeAlias = HostBase | ImageBase | RootfsBase | DockerfileBase | ExtendsBase
