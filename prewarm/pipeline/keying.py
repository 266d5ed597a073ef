"""Choose a backend for every sandbox and compute every key, parents first. Reads the disk; captures nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from prewarm.backends.base import Backend, Base
from prewarm.backends.registry import AUTO, AUTO_ORDER
from prewarm.catalog.records import Place
from prewarm.definition.model import Definition, ExtendsBase, Project
from prewarm.errors import BackendUnavailableError, DefinitionError, UnkeyableInputError, UnknownBackendError
from prewarm.failure import Failure
from prewarm.inputs import FileDigests, ResolvedTemplate, resolve
from prewarm.key import TemplateKey
from prewarm.pipeline.presence import Choose
from prewarm.pipeline.selection import parent_name
from prewarm.pipeline.support import base_feature
from prewarm.plan import Candidate
from prewarm.request import ResolvedBase


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A definition for one backend.

    Attributes:
        definition: With the backend's name instead of ``auto``, and its options flat.
        backend: Who captures it.
    """

    definition: Definition
    backend: Backend = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyed:
    """A definition with its key, or with why it has none.

    Attributes:
        definition: As in ``Chosen``.
        backend: Who captures it.
        template: What it is made of; ``None`` where it has no key.
        failure: Why it has none; ``None`` too where its parent has none.
    """

    definition: Definition
    backend: Backend = field(repr=False)
    template: ResolvedTemplate | None = field(default=None, repr=False)
    failure: Failure | None = None

    def candidate(self, template: ResolvedTemplate) -> Candidate:
        """Give it as ``plan`` takes it."""
        return Candidate(
            name=self.definition.name,
            place=Place(backend=self.backend.name, key=template.key),
            inputs=template.key_inputs,
            parent=parent_name(self.definition),
        )


def choose_backends(
    definitions: Iterable[Definition], choose: Choose, *, override: str | None = None
) -> tuple[tuple[Chosen, ...], dict[str, str]]:
    """Choose a backend for every definition; each is asked for once.

    Args:
        definitions: Parents first.
        choose: Gives a backend that works here, and why it is this one.
        override: Name of the backend to take instead of what the definitions say.

    Returns:
        The choices, in order, and why each backend was taken, by name.

    Raises:
        UnknownBackendError: No installed package offers what sandboxes ask for; all such sandboxes are named.
        BackendUnavailableError: A backend does not work here.
        DefinitionError: A sandbox extends one of another backend.
    """
    choices = _Choices(choose)
    chosen: dict[str, Chosen] = {}
    unknown: dict[str, tuple[Definition, UnknownBackendError]] = {}
    for definition in definitions:
        parent = chosen.get(parent_name(definition) or "")
        wanted = override or definition.backend
        if wanted == AUTO and parent is not None:
            wanted = parent.backend.name
        if parent_name(definition) in unknown:
            continue
        try:
            backend = choices.automatic(definition) if wanted == AUTO else choices.named(wanted)
        except UnknownBackendError as error:
            if override is not None:
                raise
            unknown[definition.name] = definition, error
            continue
        if parent is not None and parent.backend.name != backend.name:
            raise DefinitionError(
                f"sandbox '{definition.name}' is for backend '{backend.name}' and extends"
                f" '{parent.definition.name}', which is for '{parent.backend.name}'",
                hint="give both the same 'backend', or leave it out here",
            )
        chosen[definition.name] = Chosen(definition=definition.for_backend(backend.name), backend=backend)
    _refuse(unknown.values())
    return tuple(chosen.values()), choices.reasons({one.backend.name for one in chosen.values()})


def _refuse(unknown: Collection[tuple[Definition, UnknownBackendError]]) -> None:
    told = [
        f"{'' if definition.origin is None else f'{definition.origin}: '}sandbox '{definition.name}': {error.message}"
        for definition, error in unknown
    ]
    hint = "; ".join(dict.fromkeys(error.hint for _, error in unknown if error.hint)) or None
    if len(told) == 1:
        raise UnknownBackendError(told[0], hint=hint)
    if told:
        lines = "".join(f"\n  {one}" for one in told)
        raise UnknownBackendError(f"{len(told)} sandboxes have a backend that is not there:{lines}", hint=hint)


class _Choices:
    """The backends of a run; each is asked once whether it works here."""

    def __init__(self, choose: Choose) -> None:
        self._choose = choose
        self._made: dict[str, tuple[Backend, str]] = {}

    def named(self, name: str) -> Backend:
        """Give a backend by its name, or what ``auto`` means on this machine."""
        if name not in self._made:
            self._made[name] = self._choose(name)
            self._made.setdefault(self._made[name][0].name, self._made[name])
        return self._made[name][0]

    def automatic(self, definition: Definition) -> Backend:
        """Give the first backend that works here and can start from the base; if none can, the first that works."""
        first = self.named(AUTO)
        needed = base_feature(definition.template.base)
        if needed is None or needed in first.features:
            return first
        for name in AUTO_ORDER:
            try:
                other = self.named(name)
            except BackendUnavailableError:
                continue
            if needed in other.features:
                self._made[name] = other, f"it works here, and '{first.name}' has no base of this kind: {needed.value}"
                return other
        return first

    def reasons(self, names: Collection[str]) -> dict[str, str]:
        """Say why each of these backends was taken."""
        return {backend.name: why for backend, why in self._made.values() if backend.name in names}


def compute_keys(
    chosen: Iterable[Chosen], *, project: Project, platform: str, digests: FileDigests
) -> tuple[Keyed, ...]:
    """Compute the key of every definition; what cannot be read fails that one and leaves those that extend it keyless.

    Args:
        chosen: Parents first.
        project: Whose definitions they are.
        platform: ``os/arch``.
        digests: Digests of files.

    Raises:
        BackendUnavailableError: A backend that should find a base does not answer.
    """
    bases = _Bases(project.directory, platform, digests)
    keyed: dict[str, Keyed] = {}
    for one in chosen:
        parent = keyed.get(parent_name(one.definition) or "")
        if parent is not None and parent.template is None:
            keyed[one.definition.name] = Keyed(definition=one.definition, backend=one.backend)
            continue
        try:
            template = _resolve(one, parent, bases=bases, project=project)
        except (UnkeyableInputError, DefinitionError) as error:
            failure = Failure.of(error, name=one.definition.name, redact=str)
            keyed[one.definition.name] = Keyed(definition=one.definition, backend=one.backend, failure=failure)
        else:
            keyed[one.definition.name] = Keyed(definition=one.definition, backend=one.backend, template=template)
    return tuple(keyed.values())


def _resolve(one: Chosen, parent: Keyed | None, *, bases: _Bases, project: Project) -> ResolvedTemplate:
    base = one.definition.template.base
    parent_key: TemplateKey | None = None
    if parent is not None and parent.template is not None:
        parent_key = parent.template.key
    return resolve(
        one.definition,
        project=project,
        backend_name=one.backend.name,
        capture_format=one.backend.capture_format,
        base=None if isinstance(base, ExtendsBase) else bases.find(one.backend, base),
        parent_key=parent_key,
        platform=bases.platform,
        digests=bases.digests,
    )


class _Bases:
    """Bases found in this run; each is looked for once."""

    def __init__(self, directory: Path, platform: str, digests: FileDigests) -> None:
        self.platform = platform
        self.digests = digests
        self._directory = directory
        self._found: dict[tuple[str, str], ResolvedBase | UnkeyableInputError] = {}

    def find(self, backend: Backend, base: Base) -> ResolvedBase:
        place = backend.name, repr(base)
        if place not in self._found:
            try:
                self._found[place] = backend.resolve_base(
                    base, project=self._directory, platform=self.platform, sha256=self.digests.sha256
                )
            except UnkeyableInputError as error:
                self._found[place] = error
        found = self._found[place]
        if isinstance(found, UnkeyableInputError):
            raise found
        return found
