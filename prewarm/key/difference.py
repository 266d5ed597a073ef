"""Say how two ``KeyInputs`` differ: sentences that name the input, old -> new.

Pure. Called by ``plan`` for the changes of an item and by ``prewarm explain``. File contents are never shown, only their
digests, shortened; step texts and values of the definition are cut to a line.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Final

from prewarm.definition.model import Json
from prewarm.key.values import EntryKind, FileFact, KeyInputs, StepFact

PER_GROUP: Final = 12
_SHOWN: Final = 72
_DIGITS: Final = 12


def diff(old: KeyInputs, new: KeyInputs) -> tuple[str, ...]:
    """Name every input that differs; at most a dozen of a group, then ``and 37 more seed files``. Equal gives ``()``."""
    return (
        *_plain("backend", old.backend, new.backend),
        *_plain("capture format", old.capture_format, new.capture_format),
        *_plain("platform", old.platform, new.platform),
        *_digest("base", old.base, new.base),
        *_digest("extends: key", old.parent, new.parent),
        *_bounded(_values("option", old.options, new.options), "options"),
        *_plain("user", old.user, new.user),
        *_plain("workdir", old.workdir, new.workdir),
        *_bounded(_values("env", old.env, new.env), "env entries"),
        *_plain("revalidate", old.revalidate, new.revalidate),
        *_plain("recipe", old.recipe, new.recipe),
        *_bounded(_steps("bootstrap", old.bootstrap, new.bootstrap), "changes of bootstrap"),
        *_bounded(_steps("verify", old.verify, new.verify), "changes of verify"),
        *_bounded(_files("seed", old.seeds, new.seeds), "seed files"),
        *_bounded(_files("input", old.inputs, new.inputs), "input files"),
    )


def _bounded(sentences: Iterable[str], rest: str) -> Iterator[str]:
    told = list(sentences)
    yield from told[:PER_GROUP]
    if len(told) > PER_GROUP:
        yield f"and {len(told) - PER_GROUP} more {rest}"


def _plain(name: str, old: str | None, new: str | None) -> Iterator[str]:
    if old != new:
        yield f"{name}: {_show(old)} -> {_show(new)}"


def _digest(name: str, old: str | None, new: str | None) -> Iterator[str]:
    if old != new:
        yield f"{name} {_short(old)} -> {_short(new)}"


def _values(name: str, old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[str]:
    for key in sorted({*old, *new}):
        if key not in old:
            yield f"{name} {key} added: {_show(new[key])}"
        elif key not in new:
            yield f"{name} {key} removed: {_show(old[key])}"
        elif _typed(old[key]) != _typed(new[key]):
            yield f"{name} {key}: {_show(old[key])} -> {_show(new[key])}"


def _typed(value: Json) -> str:
    """JSON text: tells 1, 1.0 and true apart, which ``==`` does not."""
    return json.dumps(value, sort_keys=True)


def _files(name: str, old: Sequence[FileFact], new: Sequence[FileFact]) -> Iterator[str]:
    before, after = {fact.path: fact for fact in old}, {fact.path: fact for fact in new}
    for path in sorted({*before, *after}):
        was, now = before.get(path), after.get(path)
        if was is not None and now is not None:
            if was != now:
                yield f"{name} {_path(path)}: {', '.join(_fact_changes(was, now))}"
        else:
            yield f"{name} {_path(path)} {'added' if was is None else 'removed'}"


def _fact_changes(was: FileFact, now: FileFact) -> Iterator[str]:
    if was.kind is not now.kind:
        yield f"{was.kind.value} -> {now.kind.value}"
        return
    if was.sha256 != now.sha256:
        yield f"content {_short(was.sha256)} -> {_short(now.sha256)}"
    if was.link != now.link:
        yield f"link {_path(was.link)} -> {_path(now.link)}"
    if was.mode != now.mode and now.kind is not EntryKind.SYMLINK:
        yield f"mode {was.mode:04o} -> {now.mode:04o}"


def _steps(name: str, old: Sequence[StepFact], new: Sequence[StepFact]) -> Iterator[str]:
    """Match steps by what they say, so that one put in between does not make all that follow look changed."""
    matcher = difflib.SequenceMatcher(
        a=[(step.kind, step.words) for step in old], b=[(step.kind, step.words) for step in new], autojunk=False
    )
    for _, old_from, old_to, new_from, new_to in matcher.get_opcodes():
        pairs = zip_longest(range(old_from, old_to), range(new_from, new_to))
        for was, now in pairs:
            if now is None and was is not None:
                yield f"{name} step {was + 1} removed: {_show(old[was].text)}"
            elif was is None and now is not None:
                yield f"{name} step {now + 1} added: {_show(new[now].text)}"
            elif was is not None and now is not None:
                yield from _step_changes(f"{name} step {now + 1}", old[was], new[now])


def _step_changes(name: str, was: StepFact, now: StepFact) -> Iterator[str]:
    if (was.kind, was.words) != (now.kind, now.words):
        yield f"{name}: {_show(was.text)} -> {_show(now.text)}"
    if was.user != now.user:
        yield f"{name}: user {was.user} -> {now.user}"
    if was.secrets != now.secrets:
        yield f"{name}: secrets {_show(list(was.secrets))} -> {_show(list(now.secrets))}"
    for sentence in _files("file", was.files, now.files):
        yield f"{name}: {sentence}"


def _show(value: Json) -> str:
    if value is None:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _short(digest: str | None) -> str:
    """Shorten a digest, keeping an ``algorithm:`` in front."""
    if not digest:
        return "nothing"
    head, _, digits = digest.rpartition(":")
    cut = f"{digits[:_DIGITS]}…" if len(digits) > _DIGITS else digits
    return f"{head}:{cut}" if head else cut


def _path(path: bytes) -> str:
    text = path.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else json.dumps(text)
