"""Root filesystem archives that bases name, known by their bytes. What is in them, whoever unpacks or imports them finds out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from prewarm.definition.model import RootfsBase
from prewarm.errors import UnkeyableInputError


def digest(base: RootfsBase, *, project: Path, sha256: Callable[[Path], str]) -> str:
    """Give the sha256 of an archive, for the key; the one that the definition says, if it says one.

    Raises:
        UnkeyableInputError: It does not exist, cannot be read, or is another one.
    """
    path = project / base.path
    if not path.exists():
        raise UnkeyableInputError(
            f"root filesystem '{base.path}' does not exist", hint="paths start at the project directory"
        )
    try:
        found = sha256(path)
    except OSError as error:
        raise UnkeyableInputError(
            f"root filesystem '{base.path}' cannot be read: {error.strerror or error}", hint="it has to be a file"
        ) from error
    if base.sha256 is not None and found != base.sha256:
        raise UnkeyableInputError(
            f"root filesystem '{base.path}' is not the archive expected: sha256 {found}, not {base.sha256}",
            hint="put the right archive there, or correct 'sha256' in the definition",
        )
    return found
