"""From a definition to what its key covers and what a backend captures: reads the disk once, renders nothing.

Called by the pipeline, parents first, because a parent's key is part of its children's.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypedDict, assert_never

from prewarm.definition.model import (
    Definition,
    ExtendsBase,
    InlineSeed,
    Network,
    Project,
    PythonAction,
    RunAction,
    ScriptAction,
    Step,
    TreeSeed,
)
from prewarm.errors import DefinitionError
from prewarm.inputs.closure import Closure, check_function, find_closure
from prewarm.inputs.digests import FileDigests
from prewarm.inputs.entries import EntryKind, SeedEntry, facts
from prewarm.inputs.hashing import shown
from prewarm.inputs.hooks import run_hook
from prewarm.inputs.trees import Tree
from prewarm.key import TemplateKey
from prewarm.key.canonical import template_key
from prewarm.key.values import FileFact, KeyInputs, StepFact, StepKind
from prewarm.request import BootstrapSession, CaptureStep, HookStep, ResolvedBase, RunStep, ScriptStep

_SHELL: Final = ("/bin/sh", "-e", "-c")
_SCRIPT_MODE: Final = 0o755  # A script is run whatever its own bits say, so they do not count.


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedTemplate:
    """A definition with everything that was read for it.

    Attributes:
        definition: For one backend: its name instead of ``auto``, its options flat.
        platform: ``os/arch``.
        backend: The backend's name.
        base: What it starts from; ``None`` where it extends another, whose ref is known once that is captured.
        parent_key: Key of what it extends.
        seeds: Sorted by target, parents first, no two at one target.
        inputs: Further files that count.
        steps: Bootstrap, ready to run.
        verify: The same for a session opened from the capture.
        key: The template key.
        key_inputs: What it was made of.
    """

    definition: Definition
    platform: str
    backend: str
    base: ResolvedBase | None
    parent_key: TemplateKey | None
    seeds: tuple[SeedEntry, ...] = field(repr=False)
    inputs: tuple[FileFact, ...] = field(repr=False)
    steps: tuple[CaptureStep, ...]
    verify: tuple[CaptureStep, ...]
    key: TemplateKey
    key_inputs: KeyInputs = field(repr=False)


def resolve(  # noqa: PLR0913 - everything that a key is made of.
    definition: Definition,
    *,
    project: Project,
    backend_name: str,
    capture_format: str,
    base: ResolvedBase | None,
    parent_key: TemplateKey | None,
    platform: str,
    digests: FileDigests,
    recipe: str | None = None,
) -> ResolvedTemplate:
    """Read what a definition names, and compute its key.

    Args:
        definition: As ``Definition.for_backend`` gives it.
        project: Whose definition it is.
        backend_name: Who will capture it.
        capture_format: That backend's.
        base: Found by content; ``None`` where it extends another sandbox.
        parent_key: Of the sandbox that it extends; ``None`` where it has a base.
        platform: ``os/arch``.
        digests: The run's view of the disk.
        recipe: Rendered, for backends whose ``capture_format`` does not stand for it.

    Raises:
        UnkeyableInputError: Something that it names cannot be read.
        DefinitionError: Something that it names leaves the project, collides, or is no hook.
    """
    template = definition.template
    is_child = isinstance(template.base, ExtendsBase)
    if (parent_key is None) == is_child or (base is None) != is_child:
        raise ValueError(f"'{definition.name}' needs a base by content, or the key of the sandbox that it extends")
    tree = Tree(project.directory, digests)
    seeds = _seeds(tree, template.seeds, digests)
    inputs = _inputs(tree, template.inputs)
    bootstrap = _Steps(definition, "root", project.directory, tree, digests).make(template.bootstrap)
    verify = _Steps(definition, template.user, project.directory, tree, digests).make(template.verify)
    key_inputs = KeyInputs(
        backend=backend_name,
        capture_format=capture_format,
        platform=platform,
        base=None if base is None else base.digest,
        parent=None if parent_key is None else str(parent_key),
        user=template.user,
        workdir=template.workdir,
        options=template.options,
        env=template.env,
        seeds=facts(seeds),
        inputs=inputs,
        bootstrap=tuple(fact for _, fact in bootstrap),
        verify=tuple(fact for _, fact in verify),
        revalidate=template.revalidate,
        recipe=recipe,
    )
    return ResolvedTemplate(
        definition=definition,
        platform=platform,
        backend=backend_name,
        base=base,
        parent_key=parent_key,
        seeds=tuple(seeds),
        inputs=inputs,
        steps=tuple(step for step, _ in bootstrap),
        verify=tuple(step for step, _ in verify),
        key=template_key(key_inputs),
        key_inputs=key_inputs,
    )


def _seeds(tree: Tree, seeds: Sequence[TreeSeed | InlineSeed], digests: FileDigests) -> list[SeedEntry]:
    if len(seeds) == 1:
        return sorted(_seed(tree, seeds[0], digests))
    merged: dict[bytes, SeedEntry] = {}
    for seed in seeds:
        merged.update((entry.target, entry) for entry in _seed(tree, seed, digests))
    for target in merged:
        above = os.path.dirname(target)
        while above not in {b"/", b""}:
            found = merged.get(above)
            if found is not None and found.kind is not EntryKind.DIRECTORY:
                what = f"is a {found.kind.value}, which another seed puts there"
                raise DefinitionError(f"seeds collide: {shown(target)} lies below {shown(above)}, and that {what}")
            above = os.path.dirname(above)
    return sorted(merged.values())


def _seed(tree: Tree, seed: TreeSeed | InlineSeed, digests: FileDigests) -> list[SeedEntry]:
    match seed:
        case TreeSeed(source=source, target=target, ignore=ignore):
            read = functools.partial(tree.entries, source, target, ignore)
            return digests.once((tree.root, source, target, ignore), read)
        case InlineSeed(path=path, content=content, mode=mode):
            sha256 = hashlib.sha256(content).hexdigest()
            return [SeedEntry(os.fsencode(path), EntryKind.FILE, mode, len(content), sha256, b"", content)]
        case _:
            assert_never(seed)


def _inputs(tree: Tree, paths: Sequence[str]) -> tuple[FileFact, ...]:
    found = {entry.target: entry for path in paths for entry in tree.entries(path, "")}
    return facts(sorted(found.values()))


class _Steps:
    """Makes steps ready to run, with what counts of each.

    Args:
        definition: Whose steps they are.
        user: Who runs them unless they say otherwise.
        project: Its directory.
        tree: Its files.
        digests: The run's view of the disk.
    """

    def __init__(self, definition: Definition, user: str, project: Path, tree: Tree, digests: FileDigests) -> None:
        self._definition = definition
        self._user = user
        self._project = project
        self._tree = tree
        self._digests = digests

    def make(self, steps: Sequence[Step]) -> list[tuple[CaptureStep, StepFact]]:
        """Give the steps in order."""
        return [self._step(number, step) for number, step in enumerate(steps, 1)]

    def _step(self, number: int, step: Step) -> tuple[CaptureStep, StepFact]:
        common = _Common(
            text=step.text,
            user=step.user or self._user,
            timeout_s=step.limits.timeout_s,
            network=step.limits.network or self._definition.build.network,
            secrets=step.secrets,
        )
        match step.action:
            case RunAction(command=command):
                is_shell = isinstance(command, str)
                words = (command,) if isinstance(command, str) else command
                run = RunStep(argv=(*_SHELL, *words) if is_shell else words, **common)
                return run, _fact(run, StepKind.SHELL if is_shell else StepKind.ARGV, words)
            case ScriptAction(path=path, arguments=arguments):
                content = self._tree.read(path)
                script = ScriptStep(content=content, arguments=arguments, **common)
                file = FileFact(
                    os.fsencode(path), EntryKind.FILE, _SCRIPT_MODE, hashlib.sha256(content).hexdigest(), b""
                )
                return script, _fact(script, StepKind.SCRIPT, (path, *arguments), (file,))
            case PythonAction(module=module, function=function):
                read = functools.partial(find_closure, self._project, module)
                closure = self._digests.once((self._project, module), read)
                check_function(closure.modules[module], function)
                call = functools.partial(_call_hook, closure, function, number, step.text)
                hook = HookStep(source_digest=closure.digest(), call=call, **common)
                return hook, _fact(hook, StepKind.PYTHON, (module, function), closure.facts())
        assert_never(step.action)


class _Common(TypedDict):
    """What all kinds of steps have."""

    text: str
    user: str
    timeout_s: float
    network: Network
    secrets: tuple[str, ...]


def _fact(step: CaptureStep, kind: StepKind, words: tuple[str, ...], files: tuple[FileFact, ...] = ()) -> StepFact:
    return StepFact(kind=kind, words=words, user=step.user, secrets=step.secrets, files=files)


def _call_hook(closure: Closure, function: str, number: int, text: str, sandbox: BootstrapSession) -> None:
    run_hook(closure, function, sandbox, step=number, text=text)
