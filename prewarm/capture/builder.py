"""Make one template: wait for its key, adopt what another build made meanwhile, or capture, verify, publish, record.

All or nothing: an exception anywhere leaves no template, no session and no record. Called by ``capture``, which decides
what is made when, and by which thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from prewarm.backends.base import (
    Backend,
    CaptureRequest,
    OpenRequest,
    Phase,
    Presence,
    SessionHandle,
    SessionOptions,
    StagedTemplate,
)
from prewarm.backends.buildkit import BuildKitOptions
from prewarm.cancellation import Cancellation
from prewarm.capture.credentials import Credentials
from prewarm.capture.observer import PhaseClock, Progress
from prewarm.catalog import Catalog
from prewarm.catalog.keylock import holding, key_lock
from prewarm.catalog.records import Record
from prewarm.definition.model import Network
from prewarm.errors import (
    CaptureFailedError,
    OtherPlatformError,
    SessionFailedError,
    TemplateCorruptError,
    TemplateNotFoundError,
)
from prewarm.home import Home
from prewarm.inputs import ResolvedTemplate
from prewarm.plan import Found, PlanItem, Reason, stands_on
from prewarm.request import ResolvedBase, TemplateRef

_VERIFY_SLACK_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A template to make.

    Attributes:
        item: What was decided, and why.
        template: What it is made of.
        backend: Who makes it.
        credentials: What its steps may use.
        record: The record that the decision was made from.
    """

    item: PlanItem
    template: ResolvedTemplate = field(repr=False)
    backend: Backend = field(repr=False)
    credentials: Credentials = field(default_factory=Credentials, repr=False)
    record: Record | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A template that is there.

    Attributes:
        ref: Where it is.
        adopted: Why it was not captured after all; ``None`` if it was.
        seconds: By phase; of a former capture where it was adopted.
        size: Bytes that it adds; ``None`` if unknown.
    """

    ref: TemplateRef
    adopted: Reason | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """Makes templates of one project; any thread may use it.

    Attributes:
        namespace: Of the project.
        project: Its directory.
        home: Where locks are.
        catalog: Where captures are recorded.
        progress: Who hears how it goes.
        cancellation: Stops it.
        buildkit: What is handed on to BuildKit.
    """

    namespace: str
    project: Path
    home: Home
    catalog: Catalog
    progress: Progress
    cancellation: Cancellation
    buildkit: BuildKitOptions | None = None
    _clocks: dict[str, PhaseClock] = field(default_factory=dict, init=False, repr=False)

    def seconds(self, name: str) -> Mapping[str, float]:
        """Say what the phases of a capture have taken, also of one that failed; nothing where there was none."""
        clock = self._clocks.get(name)
        return {} if clock is None else clock.seconds

    def make(self, work: Work, parent: TemplateRef | None) -> Made:
        """Make a template.

        Args:
            work: What to make.
            parent: Ref of the template that it extends.

        Raises:
            CaptureFailedError, StepFailedError: It could not be made, or did not pass its verify steps.
            InterruptedBuildError: The run was cancelled.
            HomeError: It could not be recorded; the next run finds it by its key.
        """
        item = work.item
        self.progress.template_started(item.name, item.place.key, item.reason.value)

        def waiting(holder: str) -> None:
            self.progress.note(f"'{item.name}' waits for {holder}, which is capturing {item.place.key.short}")

        lock = key_lock(self.namespace, item.place)
        with holding(self.home, lock, cancellation=self.cancellation, waiting=waiting):
            there = self._look(work)
            if item.reason is not Reason.FORCED:
                adopted = self._adopt(work, parent, there)
                if adopted is not None:
                    return adopted
            return self._capture(work, parent, replaces=bool(there))

    def _look(self, work: Work) -> list[Found]:
        """Ask again, under the lock, what is kept under this key."""
        place = work.item.place
        record = self.catalog.records(self.namespace, [place.key]).get(place)
        refs = [record.ref] if record is not None else []
        # Of another than was captured here, its labels are not word enough: a foreign image may carry them.
        known = work.backend.find(self.namespace, place.key) if work.item.reason is not Reason.CORRUPT else None
        if known is not None and known not in refs:
            refs.append(known)
        probes = work.backend.probe([(place.key, ref) for ref in refs]) if refs else ()
        return [
            Found(ref=ref, probe=probe, record=record if record is not None and ref == record.ref else None)
            for ref, probe in zip(refs, probes, strict=True)
            if probe.presence is not Presence.MISSING
        ]

    def _adopt(self, work: Work, parent: TemplateRef | None, there: Iterable[Found]) -> Made | None:
        """Give a template that is there by now and stands on this one of its parent."""
        for found in there:
            if found.usable and found.ref is not None and stands_on(found.record, parent):
                return Made(
                    ref=found.ref,
                    adopted=_adoption(work, found.record),
                    seconds={} if found.record is None else found.record.seconds,
                    size=None if found.record is None else found.record.size,
                )
        return None

    def _capture(self, work: Work, parent: TemplateRef | None, *, replaces: bool) -> Made:
        began = time.monotonic()
        clock = PhaseClock(work.item.name, progress=self.progress, redact=work.credentials.redact)
        self._clocks[work.item.name] = clock
        request = self._request(work, parent, replaces=replaces)
        with work.backend.capture(request, clock) as staged:
            clock.phase(Phase.VERIFY)
            self._verify(work, staged, clock, deadline=began + request.timeout_s)
            self.cancellation.check()
            clock.phase(Phase.PUBLISH)
            staged.publish()
            ref, size = staged.ref, staged.size
        made = Made(ref=ref, seconds=clock.seconds, size=size)
        record = Record(
            namespace=self.namespace,
            place=work.item.place,
            name=work.item.name,
            ref=ref,
            parent=parent,
            seconds=made.seconds,
            size=size,
        )
        self.catalog.add(record, work.template.key_inputs)
        return made

    def _request(self, work: Work, parent: TemplateRef | None, *, replaces: bool) -> CaptureRequest:
        template, definition = work.template, work.template.definition
        return CaptureRequest(
            namespace=self.namespace,
            name=definition.name,
            key=template.key,
            base=_base(template, parent),
            platform=template.platform,
            user=definition.template.user,
            workdir=definition.template.workdir,
            env=definition.template.env,
            seeds=template.seeds,
            steps=template.steps,
            options=definition.template.options,
            pass_env=work.credentials.pass_env,
            secrets=work.credentials.secrets,
            timeout_s=definition.build.timeout_s,
            project=self.project,
            replaces=replaces,
            anew=work.item.reason is Reason.FORCED,
            revalidate=definition.template.revalidate,
            buildkit=self.buildkit,
            cancellation=self.cancellation,
        )

    def _verify(self, work: Work, staged: StagedTemplate, clock: PhaseClock, *, deadline: float) -> None:
        """Open a session from what was captured and run the verify steps in it; it is removed in any case.

        What is for another platform and has no verify steps is proven where it can run, by ``prewarm check`` and its opening.
        """
        from prewarm.backends.steps import run_step  # The same.

        template, definition = work.template, work.template.definition
        try:
            handle = self._open(work, staged)
        except (SessionFailedError, TemplateNotFoundError, TemplateCorruptError) as error:
            if isinstance(error, OtherPlatformError) and not template.verify:
                return
            raise CaptureFailedError(
                f"capture of '{definition.name}' ({template.key.short}) failed: no session opens from it: {error.message}",
                hint=error.hint,
            ) from error
        try:
            for number, step in enumerate(template.verify, start=1):
                self.cancellation.check()
                run_step(
                    handle,
                    step,
                    number=number,
                    total=len(template.verify),
                    phase=Phase.VERIFY,
                    name=definition.name,
                    key=template.key,
                    env=definition.template.env,
                    workdir=definition.template.workdir,
                    observer=clock,
                    redact=work.credentials.redact,
                    deadline=deadline,
                    project=self.project,
                    cancellation=self.cancellation,
                )
        finally:
            handle.remove()

    def _open(self, work: Work, staged: StagedTemplate) -> SessionHandle:
        import secrets  # Brings in OpenSSL, which a build that captures nothing has no use for.

        template, definition = work.template, work.template.definition
        request = OpenRequest(
            namespace=self.namespace,
            name=definition.name,
            key=template.key,
            ref=staged.ref,
            session_key=f"verify-{secrets.token_hex(8)}",
            user=definition.template.user,
            workdir=definition.template.workdir,
            env=definition.template.env,
            options=_verify_options(template),
        )
        return work.backend.open(request)


def _adoption(work: Work, record: Record | None) -> Reason:
    if work.item.reason is Reason.PARENT_CAPTURED_AGAIN and record == work.record:
        return Reason.FOUND if record is None else Reason.UNCHANGED  # The parent came out as it was.
    return Reason.CAPTURED_MEANWHILE


def _base(template: ResolvedTemplate, parent: TemplateRef | None) -> ResolvedBase:
    if template.base is not None:
        return template.base
    key = template.parent_key or template.key
    return ResolvedBase(digest=key, description=f"the template {key.short}", parent=parent)


def _verify_options(template: ResolvedTemplate) -> SessionOptions:
    """Open as sessions are opened, with a network if a verify step asks for one; it ends by itself soon after a crash."""
    options = template.definition.session
    asked = any(step.limits.network is Network.ALL for step in template.definition.template.verify)
    longest = template.definition.build.timeout_s + _VERIFY_SLACK_S
    return replace(
        options,
        network=Network.ALL if asked else options.network,
        idle_timeout_s=max(options.idle_timeout_s, longest),
        max_lifetime_s=longest,
    )
