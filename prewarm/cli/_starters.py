"""Ready-made definitions: where they are, and copying one. In the wheel ``prewarm/_templates``, in a checkout ``templates``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prewarm.errors import DefinitionError

DEFINITION_NAME: Final = "prewarm.yaml"
_NAMESPACE: Final = re.compile(rb"^namespace: .*$", re.MULTILINE)
_EXAMPLE: Final = re.compile(r"^#   (prewarm open .*)$", re.MULTILINE)
_LONGEST_NAMESPACE: Final = 40
_LEFT_OUT: Final = frozenset({"__pycache__", "node_modules"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A project that was begun.

    Attributes:
        directory: Where.
        files: What was written, relative to it.
        example: A command line to try after the build.
    """

    directory: Path
    files: tuple[Path, ...]
    example: str


def names() -> tuple[str, ...]:
    """Give the names of all ready-made definitions."""
    return tuple(sorted(path.parent.name for path in _root().glob(f"*/{DEFINITION_NAME}")))


def start(name: str, directory: Path, *, namespace: str | None = None, overwrite: bool = False) -> Started:
    """Copy a ready-made definition.

    Args:
        name: One of ``names()``.
        directory: Where to; made if missing.
        namespace: Of the new project; ``None``: the directory's name, as far as it can be one.
        overwrite: Whether files that are there may be replaced.

    Raises:
        DefinitionError: A file is there and differs (nothing was written then), or cannot be written.
    """
    source = _root() / name
    if not (source / DEFINITION_NAME).is_file():
        raise DefinitionError(f"no ready-made definition '{name}'", hint=f"there are: {', '.join(names())}")
    content = {path.relative_to(source): path for path in sorted(source.rglob("*")) if _is_wanted(path, source)}
    written = namespace or namespace_for(directory)
    data = {relative: _with_namespace(path, written) for relative, path in content.items()}
    try:
        if not overwrite and (
            taken := [relative for relative in data if _differs(directory / relative, data[relative])]
        ):
            raise DefinitionError(
                f"{', '.join(str(directory / relative) for relative in taken)} already there, with other content",
                hint="choose another directory, or overwrite with --force",
            )
        for relative, text in data.items():
            target = directory / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text)
            target.chmod(0o755 if content[relative].stat().st_mode & 0o100 else 0o644)
    except OSError as error:
        raise DefinitionError(f"cannot write to {error.filename or directory}: {error.strerror}") from error
    example = _EXAMPLE.search(data[Path(DEFINITION_NAME)].decode("utf-8"))
    return Started(directory=directory, files=tuple(data), example=example[1] if example else "prewarm open")


def namespace_for(directory: Path) -> str:
    """Make a namespace of a directory's name: ``My Bot`` gives ``my-bot``."""
    text = re.sub(r"[^a-z0-9]+", "-", directory.absolute().name.lower()).strip("-")
    return text[:_LONGEST_NAMESPACE].strip("-") or "prewarm"


def _root() -> Path:
    package = Path(__file__).parent.parent
    shipped = package / "_templates"
    return shipped if shipped.is_dir() else package.parent / "templates"


def _is_wanted(path: Path, source: Path) -> bool:
    return path.is_file() and path.suffix != ".pyc" and not _LEFT_OUT & set(path.relative_to(source).parts)


def _with_namespace(path: Path, namespace: str) -> bytes:
    data = path.read_bytes()
    return _NAMESPACE.sub(f"namespace: {namespace}".encode(), data, count=1) if path.name == DEFINITION_NAME else data


def _differs(path: Path, data: bytes) -> bool:
    return path.is_symlink() or (path.exists() and (not path.is_file() or path.read_bytes() != data))
