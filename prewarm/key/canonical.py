"""Canonical bytes: one way, and only one, to write ``KeyInputs`` down before it is hashed.

Every value carries its type and its length, so that no two different values give the same bytes, whatever they hold:

    n                nothing            s4:text          text, as UTF-8 (lone surrogates pass)
    t f              true, false        b4:….            bytes
    i-12;            a whole number     l2:……            a list and its items
    d3:0.5           a fraction         m2:…………          a mapping: keys and values, sorted by the keys' bytes

A change here changes every key: raise ``KEY_SCHEMA`` and say so in the changelog. The golden vectors hold it still.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from prewarm.key import KEY_SCHEMA, TemplateKey
from prewarm.key.values import EntryKind, FileFact, KeyInputs, StepFact

Plain: TypeAlias = "bool | int | float | str | bytes | Sequence[Plain] | Mapping[str, Plain] | None"

_FILE: Final = EntryKind.FILE
_DIGITS: Final = 64


def template_key(inputs: KeyInputs) -> TemplateKey:
    """Compute the template key: sha256 of the canonical bytes."""
    return TemplateKey(hashlib.sha256(canonical_bytes(inputs)).hexdigest())


def canonical_bytes(inputs: KeyInputs) -> bytes:
    """Write key inputs down: the schema's tag, then a mapping of every field."""
    fields = {
        "backend": encode(inputs.backend),
        "base": encode(inputs.base),
        "bootstrap": _steps(inputs.bootstrap),
        "capture_format": encode(inputs.capture_format),
        "env": encode(inputs.env),
        "inputs": _facts(inputs.inputs),
        "options": encode(inputs.options),
        "parent": encode(inputs.parent),
        "platform": encode(inputs.platform),
        "recipe": encode(inputs.recipe),
        "revalidate": encode(inputs.revalidate),
        "seeds": _facts(inputs.seeds),
        "user": encode(inputs.user),
        "verify": _steps(inputs.verify),
        "workdir": encode(inputs.workdir),
    }
    return encode(KEY_SCHEMA) + _mapping(fields)


def encode(value: Plain) -> bytes:  # noqa: PLR0911 - one form a type.
    """Write one value down.

    Raises:
        TypeError: It is of a type that has no canonical form.
    """
    match value:
        case None:
            return b"n"
        case bool():
            return b"t" if value else b"f"
        case int():
            return b"i%d;" % value
        case str():
            return _text(value)
        case bytes():
            return b"b%d:%b" % (len(value), value)
        case float():
            digits = repr(value).encode("ascii")
            return b"d%d:%b" % (len(digits), digits)
        case Mapping():
            return _mapping({key: encode(item) for key, item in value.items()})
        case Sequence():
            return b"l%d:%b" % (len(value), b"".join(map(encode, value)))
    raise TypeError(f"no canonical form for {type(value).__name__}")


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"s%d:%b" % (len(data), data)


def _mapping(encoded: Mapping[str, bytes]) -> bytes:
    pairs = sorted((key.encode("utf-8", "surrogatepass"), item) for key, item in encoded.items())
    return b"m%d:%b" % (len(pairs), b"".join([b"s%d:%b%b" % (len(key), key, item) for key, item in pairs]))


def _steps(steps: Iterable[StepFact]) -> bytes:
    encoded = [
        _mapping(
            {
                "files": _facts(step.files),
                "kind": encode(step.kind.value),
                "secrets": encode(step.secrets),
                "user": encode(step.user),
                "words": encode(step.words),
            }
        )
        for step in steps
    ]
    return b"l%d:%b" % (len(encoded), b"".join(encoded))


def _facts(facts: Sequence[FileFact]) -> bytes:
    """Write facts down as ``encode`` would write ``[path, kind, mode, sha256, link]``, many times as fast."""
    parts = [
        b"l5:b%d:%bs4:filei%d;s64:%bb0:" % (len(path), path, mode, sha256.encode("ascii"))
        if kind is _FILE and len(sha256) == _DIGITS and not link
        else _fact(path, kind.value.encode("ascii"), mode, sha256.encode("ascii"), link)
        for path, kind, mode, sha256, link in facts
    ]
    return b"l%d:%b" % (len(parts), b"".join(parts))


def _fact(path: bytes, kind: bytes, mode: int, sha256: bytes, link: bytes) -> bytes:
    form = b"l5:b%d:%bs%d:%bi%d;s%d:%bb%d:%b"
    return form % (len(path), path, len(kind), kind, mode, len(sha256), sha256, len(link), link)
