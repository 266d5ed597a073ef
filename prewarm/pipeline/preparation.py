"""What a run knows before it does anything: backends, keys, what is there, what is to be done. Captures nothing.

``pipeline.plan`` shows it, ``pipeline.build`` carries it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from prewarm.backends.buildkit import BuildKitOptions
from prewarm.capture import Outcome
from prewarm.capture.builder import Work
from prewarm.capture.credentials import Credentials
from prewarm.catalog import Catalog
from prewarm.catalog.records import Place, Record
from prewarm.definition.model import Definition, Project
from prewarm.home import Home
from prewarm.inputs import FileDigests
from prewarm.lockfile import LockFile
from prewarm.pipeline.keying import Keyed, choose_backends, compute_keys
from prewarm.pipeline.presence import Choose, ask
from prewarm.pipeline.selection import matching, parent_name, select
from prewarm.pipeline.sources import Source, askable, refuse_without_registry
from prewarm.pipeline.support import refuse_buildkit, refuse_platform, refuse_unsupported
from prewarm.plan import Action, Found, PlanItem, Previous, Reason, Status, decide
from prewarm.report import TemplateReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """The sandboxes of a run with their backends and keys.

    Attributes:
        project: Whose they are.
        platform: ``os/arch``.
        keyed: Parents first, else in the order asked.
        backends: Why each backend was chosen, by name.
    """

    project: Project
    platform: str
    keyed: tuple[Keyed, ...]
    backends: Mapping[str, str] = field(default_factory=dict)

    def unkeyed_report(self, one: Keyed) -> TemplateReport:
        """Report a sandbox that has no key."""
        parent = parent_name(one.definition)
        return TemplateReport(
            name=one.definition.name,
            platform=self.platform,
            status=Status.SKIPPED if one.failure is None else Status.FAILED,
            reason=Reason.PARENT_FAILED if one.failure is None else Reason.UNKEYABLE,
            backend=one.backend.name,
            detail=f"'{parent}' has no key" if one.failure is None else "",
            error=one.failure,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A run, decided.

    Attributes:
        identified: Its sandboxes.
        found: What is known of each key.
        items: What to do for each that has a key; parents first.
    """

    identified: Identified
    found: Mapping[Place, Found]
    items: tuple[PlanItem, ...]

    @property
    def to_capture(self) -> tuple[Definition, ...]:
        """What is to be captured in this run."""
        names = {item.name for item in self.items if item.action is Action.CAPTURE}
        return tuple(one.definition for one in self.identified.keyed if one.definition.name in names)

    def works(self, credentials: Mapping[str, Credentials]) -> dict[str, Work]:
        """Give what ``capture`` needs of what is to be captured."""
        items = {item.name: item for item in self.items if item.action is Action.CAPTURE}
        return {
            name: Work(
                item=items[name],
                template=one.template,
                backend=one.backend,
                credentials=credentials[name],
                record=self.record(items[name].place),
            )
            for one in self.identified.keyed
            if (name := one.definition.name) in items and one.template is not None
        }

    def record(self, place: Place) -> Record | None:
        """Give the record of a key, if there is one."""
        return self.found.get(place, Found()).record

    def planned(self, item: PlanItem) -> Outcome:
        """Give what it comes to if all goes well."""
        return Outcome(
            item=item,
            status=item.status,
            reason=item.reason,
            detail=item.detail,
            ref=item.ref,
            size=item.size,
            saved_s=item.saved_s,
        )

    def report(self, outcome: Outcome) -> TemplateReport:
        """Report what became of a sandbox."""
        item = outcome.item
        return TemplateReport(
            name=item.name,
            platform=self.identified.platform,
            status=outcome.status,
            reason=outcome.reason,
            key=item.place.key,
            backend=item.place.backend,
            ref=outcome.ref,
            changes=item.changes if outcome.reason is item.reason else (),
            detail=outcome.detail or (item.detail if outcome.reason is item.reason else ""),
            seconds=outcome.seconds,
            size=outcome.size,
            saved_s=outcome.saved_s,
            error=outcome.failure,
        )

    def reports(self, finished: Mapping[str, TemplateReport]) -> tuple[TemplateReport, ...]:
        """Give the reports of all sandboxes in order, those without a key among them."""
        return tuple(
            finished[one.definition.name] if one.template is not None else self.identified.unkeyed_report(one)
            for one in self.identified.keyed
        )

    def remember(self, reports: Iterable[TemplateReport], *, catalog: Catalog) -> None:
        """Record what was found without a record, and what each sandbox came to."""
        namespace, built = self.identified.project.namespace, {}
        templates = {one.definition.name: one.template for one in self.identified.keyed}
        for report in reports:
            template = templates[report.name]
            if report.ref is None or template is None:
                continue
            place = built[report.name] = Place(backend=report.backend, key=template.key)
            if report.reason in {Reason.FOUND, Reason.FOUND_IN_REGISTRY}:
                record = Record(namespace=namespace, place=place, name=report.name, ref=report.ref)
                catalog.add(record, template.key_inputs)
        catalog.remember(namespace, self.identified.platform, built)


def identify(
    project: Project,
    *,
    home: Home,
    choose: Choose,
    platform: str,
    only: Sequence[str] = (),
    override: str | None = None,
    from_registry: bool = False,
    buildkit: BuildKitOptions | None = None,
) -> Identified:
    """Choose the backends and compute the keys.

    Raises:
        DefinitionError, UnsupportedOptionError: What is asked for cannot be; everything is listed.
        BackendUnavailableError: A backend does not work here.
    """
    refuse_platform(platform)
    chosen, backends = choose_backends(select(project, only), choose, override=override)
    refuse_unsupported((one.definition, one.backend) for one in chosen)
    if from_registry:
        refuse_without_registry(one.backend for one in chosen)
    refuse_buildkit(((one.definition.name, one.backend) for one in chosen), buildkit or BuildKitOptions())
    with FileDigests(home) as digests:
        keyed = compute_keys(chosen, project=project, platform=platform, digests=digests)
    return Identified(project=project, platform=platform, keyed=keyed, backends=backends)


def prepare(
    identified: Identified,
    *,
    catalog: Catalog,
    lock: LockFile,
    only: Sequence[str] = (),
    force: bool = False,
    source: Source | None = None,
) -> Prepared:
    """Ask what is there and decide what to do.

    Args:
        identified: The sandboxes of the run.
        catalog: What was captured on this machine.
        lock: As it stands before the run.
        only: As the run's.
        force: As the run's.
        source: Where to look for what would have to be captured.

    Raises:
        BackendUnavailableError: A backend does not answer.
        HomeError: The catalog cannot be read.
    """
    namespace, platform = identified.project.namespace, identified.platform
    candidates = [one.candidate(one.template) for one in identified.keyed if one.template is not None]
    records = catalog.records(namespace, [candidate.place.key for candidate in candidates])
    backends = {one.backend.name: one.backend for one in identified.keyed}
    places = ((backends[candidate.place.backend], candidate.place) for candidate in candidates)
    found = ask(namespace, places, records, lock)
    names = [candidate.name for candidate in candidates]
    previous: dict[str, Previous] = {}
    for name, built in catalog.latest(namespace, platform).items():
        place = next((candidate.place for candidate in candidates if candidate.name == name), None)
        if place is not None:
            lost = place != built.place and not found[place].usable
            inputs = catalog.inputs(namespace, built.place) if lost else None
            previous[name] = Previous(place=built.place, inputs=inputs)
    forced = frozenset(matching(names, only) if only else names) if force else frozenset()
    items = decide(candidates, found=found, previous=previous, forced=forced)
    if source is not None:
        asked: set[Place] = set()
        # Children after their parents: what stands on a parent that is captured is captured too.
        while wanted := askable(items, asked):
            asked.update(item.place for item in wanted)
            found |= source.look(namespace, [(backends[item.place.backend], item) for item in wanted])
            items = decide(candidates, found=found, previous=previous, forced=forced)
    return Prepared(identified=identified, found=found, items=items)
