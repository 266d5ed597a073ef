"""A Dockerfile of the author's own as base: which files it reads, and their digest for the key.

Counted are the Dockerfile, its arguments and target, the digests of the images it starts from, and those files of its
context that a COPY, an ADD or a bind mount names and ``.dockerignore`` lets through. A name that only a build can
know (it holds a variable) counts the whole context.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prewarm.definition.model import DockerfileBase
from prewarm.errors import UnkeyableInputError

_CONTINUED: Final = re.compile(r"\\[ \t]*\n")
_HEREDOC: Final = re.compile(r"<<-?[\"']?(\w+)[\"']?")
_FROM: Final = re.compile(r"(?i)(?:--\S+\s+)*(\S+)(?:\s+as\s+(\S+))?$")
_BIND_SOURCE: Final = re.compile(r"--mount=(\S+)")
_REMOTE: Final = re.compile(r"https?://|git@|git://")
_EXECUTABLE: Final = 0o111


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerfileInputs:
    """What a Dockerfile reads.

    Attributes:
        digest: Over all of it; 64 hex digits.
        files: Of the context, relative, sorted.
        images: That it starts from: name to digest.
    """

    digest: str
    files: tuple[str, ...]
    images: Mapping[str, str]


def read(
    base: DockerfileBase, *, project: Path, sha256: Callable[[Path], str], image: Callable[[str], str]
) -> DockerfileInputs:
    """Find out what a Dockerfile reads.

    Args:
        base: As the definition says.
        project: Where its context starts.
        sha256: Digest of a file.
        image: Digest of an image by name.

    Raises:
        UnkeyableInputError: Something of it cannot be read.
    """
    context = project / base.context
    path = context / base.dockerfile
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UnkeyableInputError(
            f"cannot read {path}: {error.strerror}", hint="check 'context' and 'dockerfile' of the base"
        ) from error
    except UnicodeDecodeError as error:
        raise UnkeyableInputError(f"cannot read {path}: it is not UTF-8", hint="save it as UTF-8") from error
    instructions = list(parse(text))
    sources = _sources(instructions)
    names = [name for name in _context_files(context, base.dockerfile) if sources is None or _is_read(name, sources)]
    files = {name: _entry(context / name, sha256) for name in names}
    images = {name: image(name) for name in _images(instructions, dict(base.args))}
    inputs = {
        "dockerfile": hashlib.sha256(text.encode()).hexdigest(),
        "target": base.target,
        "args": dict(sorted(base.args.items())),
        "images": images,
        "files": files,
    }
    data = json.dumps(inputs, sort_keys=True).encode("utf-8", "surrogateescape")
    return DockerfileInputs(digest=hashlib.sha256(data).hexdigest(), files=tuple(sorted(files)), images=images)


def parse(text: str) -> Iterator[tuple[str, str]]:
    """Give instructions (upper case) with their arguments; comments, continuations and here-documents taken out."""
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    lines = iter(_CONTINUED.sub(" ", kept).splitlines())
    for line in lines:
        word, _, rest = line.strip().partition(" ")
        if not word:
            continue
        if word.upper() in {"RUN", "COPY", "ADD"}:
            for end in _HEREDOC.findall(rest):
                for inner in lines:
                    if inner.strip() == end:
                        break
        yield word.upper(), rest.strip()


def _sources(instructions: list[tuple[str, str]]) -> list[str] | None:
    """Give what is read of the context; ``None`` for all of it."""
    found: list[str] = []
    for word, rest in instructions:
        if word in {"COPY", "ADD"}:
            words = _words(rest)
            flags = [one for one in words if one.startswith("--")]
            if any(one.startswith("--from=") for one in flags):
                continue
            found += [one for one in words[len(flags) : -1] if not _REMOTE.match(one) and not one.startswith("<<")]
        elif word == "RUN":
            for mount in _BIND_SOURCE.findall(rest):
                options = dict(part.partition("=")[::2] for part in mount.split(","))
                if options.get("type", "bind") == "bind" and "from" not in options:
                    found.append(options.get("source") or options.get("src") or ".")
    if any("$" in one for one in found):
        return None
    return [os.path.normpath(one.lstrip("/") or ".") for one in found]


def _words(text: str) -> list[str]:
    flags = re.match(r"(?:--\S+\s+)*", text)
    head = flags.group(0) if flags else ""
    rest = text[len(head) :]
    if rest.startswith("["):
        try:
            words = json.loads(rest)
        except ValueError:
            words = rest.split()
        return [*head.split(), *map(str, words)]
    try:
        return [*head.split(), *shlex.split(rest)]
    except ValueError:
        return [*head.split(), *rest.split()]


def _images(instructions: list[tuple[str, str]], arguments: dict[str, str]) -> list[str]:
    stages: set[str] = set()
    images: list[str] = []
    defaults: dict[str, str] = {}
    for word, rest in instructions:
        if word == "ARG" and not stages and "=" in rest:
            name, _, value = rest.partition("=")
            defaults[name] = value.strip("\"'")
        if word != "FROM" or (found := _FROM.match(rest)) is None:
            continue
        name = re.sub(r"\$\{?(\w+)\}?", lambda m: {**defaults, **arguments}.get(m.group(1), m.group(0)), found.group(1))
        if name != "scratch" and name.lower() not in stages:
            images.append(name)
        stages.add((found.group(2) or f"stage {len(stages)}").lower())
    return sorted(set(images))


def _context_files(context: Path, dockerfile: str) -> Iterator[str]:
    import pathspec

    ignore = context / f"{dockerfile}.dockerignore"
    if not ignore.exists():
        ignore = context / ".dockerignore"
    lines: list[str] = []
    if ignore.exists():
        try:
            lines = ignore.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UnkeyableInputError(f"cannot read {ignore}: {error}") from error
    # Docker's patterns start at the context's root, as git's do with a slash in front.
    patterns = pathspec.PathSpec.from_lines("gitignore", [_anchored(line.strip()) for line in lines])
    for directory, subdirectories, names in os.walk(context, onerror=_unreadable):
        subdirectories.sort()
        prefix = os.path.relpath(directory, context)
        links = [name for name in subdirectories if os.path.islink(os.path.join(directory, name))]
        for name in (*names, *links):
            relative = os.path.normpath(os.path.join(prefix, name))
            if not patterns.match_file(relative):
                yield relative


def _anchored(line: str) -> str:
    if not line or line.startswith("#"):
        return ""
    negated, pattern = (True, line[1:].strip()) if line.startswith("!") else (False, line)
    return f"{'!' if negated else ''}/{os.path.normpath(pattern).lstrip('/')}"


def _unreadable(error: OSError) -> None:
    raise UnkeyableInputError(f"cannot read {error.filename}: {error.strerror}") from error


def _is_read(name: str, sources: list[str]) -> bool:
    import fnmatch

    for source in sources:
        if source in (".", name) or name.startswith(f"{source}/"):
            return True
        parts, wanted = name.split("/"), source.split("/")
        # A pattern names a file, or a directory with all that is in it.
        if len(parts) >= len(wanted) and all(fnmatch.fnmatchcase(p, w) for p, w in zip(parts, wanted, strict=False)):
            return True
    return False


def _entry(path: Path, sha256: Callable[[Path], str]) -> list[str]:
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            return ["link", os.readlink(path)]
        if stat.S_ISREG(found.st_mode):
            return ["file", "x" if found.st_mode & _EXECUTABLE else "-", sha256(path)]
    except OSError as error:
        raise UnkeyableInputError(f"cannot read {path}: {error.strerror}") from error
    raise UnkeyableInputError(f"cannot key {path}: it is neither a file, a directory nor a link")
