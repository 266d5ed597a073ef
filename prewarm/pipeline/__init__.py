"""The story of a build: definitions -> keys -> plan -> captures -> lock file -> report. What the command line calls."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from prewarm import capture, lockfile
from prewarm.backends import registry
from prewarm.backends.base import BackendContext
from prewarm.backends.buildkit import BuildKitOptions
from prewarm.cancellation import Cancellation
from prewarm.capture import several
from prewarm.capture.builder import Builder
from prewarm.capture.credentials import read_all
from prewarm.catalog import Catalog, meet_lock_file
from prewarm.catalog.keylock import build_lock
from prewarm.definition.model import Project
from prewarm.home import Home
from prewarm.lockfile import LOCK_NAME
from prewarm.machine import host_platform
from prewarm.pipeline.listening import InTurn, RunListener, Silent
from prewarm.pipeline.locking import enter, read_or_begin
from prewarm.pipeline.preparation import Identified, identify, prepare
from prewarm.pipeline.presence import Choose
from prewarm.pipeline.sources import Offers, Pulls
from prewarm.report import Report, TemplateReport

if TYPE_CHECKING:  # The smaller questions' answers; a build does not pay for them.
    from prewarm.pipeline.answers import Check, Explanation, KeyList

__all__ = ["RunListener", "RunOptions", "build", "check", "explain", "keys", "plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What a run is about, and how it goes.

    Attributes:
        only: Names, or patterns such as ``analyst-*``; what they extend is included. None means all.
        force: Whether to capture what is there already; with ``only``, those alone.
        jobs: Captures or pulls at a time; ``None``: one more than processors for captures, at most four.
        platform: ``os/arch``; ``None`` means this machine's.
        fail_fast: Whether a failure keeps what has not begun from beginning.
        backend: Instead of what the definitions say.
        lock: The lock file; ``None`` means ``prewarm.lock`` in the project's directory.
        registry: Where to look, by key, for what would have to be captured.
        buildkit: What is handed on to BuildKit.
    """

    only: tuple[str, ...] = ()
    force: bool = False
    jobs: int | None = None
    platform: str | None = None
    fail_fast: bool = False
    backend: str | None = None
    lock: Path | None = None
    registry: str | None = None
    buildkit: BuildKitOptions = field(default_factory=BuildKitOptions)


def build(
    project: Project,
    *,
    home: Home,
    environment: Mapping[str, str],
    options: RunOptions | None = None,
    listener: RunListener | None = None,
    choose: Choose | None = None,
    cancellation: Cancellation | None = None,
) -> Report:
    """Make every template of a project be there, write the lock file, and say what came of it.

    A template that fails is reported and does not raise: see ``Report.raise_for_failures``. Ctrl-C in the calling
    thread ends the run early and is reported too.

    Args:
        project: The definitions.
        home: The state directory.
        environment: Where secrets and passed variables come from.
        options: What the run is about.
        listener: Hears how it goes.
        choose: Gives a backend by name, and why it is this one; by default the installed ones.
        cancellation: Stops the run from another thread.

    Raises:
        DefinitionError, UnsupportedOptionError: What is asked for cannot be; nothing has run.
        BackendUnavailableError: A backend does not work here, or the registry refuses; nothing has been captured.
        LockFileError: The lock file cannot be read, or not be written.
        HomeError: The state directory cannot be used.
    """
    began = time.monotonic()
    options = options or RunOptions()
    heard = InTurn(listener or Silent())
    cancellation = cancellation or Cancellation()
    with contextlib.ExitStack() as stack:
        stack.enter_context(home.lock(build_lock(project.namespace), exclusive=False))
        catalog = stack.enter_context(Catalog(home))
        path = options.lock or project.directory / LOCK_NAME
        lock = read_or_begin(path, project.namespace)  # What cannot be read is said before anything runs.
        identified = _identify(project, options, home=home, environment=environment, choose=choose)
        source = None
        if options.registry is not None:
            source = Pulls(
                registry=options.registry,
                home=home,
                note=heard.note,
                cancellation=cancellation,
                jobs=options.jobs or several.AT_A_TIME,
            )
        prepared = prepare(
            identified, catalog=catalog, lock=lock, only=options.only, force=options.force, source=source
        )
        if prepared.to_capture:
            lockfile.require_writable(path)
        credentials = read_all(prepared.to_capture, project=project.directory, environment=environment)
        catalog.add_lock_file(path.absolute(), project.namespace)
        builder = Builder(
            namespace=project.namespace,
            project=project.directory,
            home=home,
            catalog=catalog,
            progress=heard,
            cancellation=cancellation,
            buildkit=options.buildkit,
        )
        finished: dict[str, TemplateReport] = {}

        def finish(outcome: capture.Outcome) -> None:
            finished[outcome.item.name] = prepared.report(outcome)
            heard.template_finished(finished[outcome.item.name])

        for one in identified.keyed:
            if one.template is None:
                heard.template_finished(identified.unkeyed_report(one))
        capture.run(
            prepared.items,
            prepared.works(credentials),
            builder=builder,
            jobs=options.jobs or min(capture.MOST_JOBS, (os.cpu_count() or 1) + 1),
            fail_fast=options.fail_fast,
            finished=finish,
        )
        reports = prepared.reports(finished)
        enter(path, identified, reports, home=home)
        prepared.remember(reports, catalog=catalog)
    return Report(
        namespace=project.namespace,
        platform=identified.platform,
        templates=reports,
        seconds=time.monotonic() - began,
        interrupted=builder.cancellation.cancelled,
        backends=identified.backends,
    )


def plan(
    project: Project,
    *,
    home: Home,
    environment: Mapping[str, str],
    options: RunOptions | None = None,
    choose: Choose | None = None,
) -> Report:
    """Say what ``build`` would do now; raises what it would raise before it captures anything."""
    began = time.monotonic()
    options = options or RunOptions()
    lock = read_or_begin(options.lock or project.directory / LOCK_NAME, project.namespace)
    with Catalog(home) as catalog:
        identified = _identify(project, options, home=home, environment=environment, choose=choose)
        source = Offers(registry=options.registry) if options.registry is not None else None
        prepared = prepare(
            identified, catalog=catalog, lock=lock, only=options.only, force=options.force, source=source
        )
    planned = {item.name: prepared.report(prepared.planned(item)) for item in prepared.items}
    return Report(
        namespace=project.namespace,
        platform=identified.platform,
        templates=prepared.reports(planned),
        seconds=time.monotonic() - began,
        planned=True,
        backends=identified.backends,
    )


def keys(
    project: Project,
    *,
    home: Home,
    environment: Mapping[str, str],
    options: RunOptions | None = None,
    choose: Choose | None = None,
) -> KeyList:
    """Compute the keys; raises as ``plan`` does, and asks no backend for templates."""
    from prewarm.pipeline.answers import KeyList, NamedKey

    options = options or RunOptions()
    identified = _identify(project, options, home=home, environment=environment, choose=choose)
    return KeyList(
        namespace=project.namespace,
        platform=identified.platform,
        templates=tuple(
            NamedKey(
                name=one.definition.name,
                backend=one.backend.name,
                key=None if one.template is None else one.template.key,
                error=one.failure,
            )
            for one in identified.keyed
        ),
    )


def check(
    lock: Path,
    *,
    home: Home,
    environment: Mapping[str, str],
    platform: str | None = None,
    choose: Choose | None = None,
) -> Check:
    """Prove that what a lock file names can be opened on this host, and have ``gc`` leave that there.

    Raises:
        LockFileError: It is missing, or cannot be read.
    """
    from prewarm.pipeline.proof import prove

    read = lockfile.read(lock)
    meet_lock_file(home, lock, read.namespace)
    return prove(read, platform=platform or host_platform(), choose=choose or installed(home, environment))


def explain(
    project: Project,
    name: str,
    *,
    home: Home,
    environment: Mapping[str, str],
    options: RunOptions | None = None,
    choose: Choose | None = None,
) -> Explanation:
    """Say why a sandbox would be reused or captured now, and what made the difference the last time.

    Raises:
        DefinitionError: No sandbox is named so.
    """
    from prewarm.pipeline.hindsight import look_back

    options = replace(options or RunOptions(), only=(name,))
    lock = read_or_begin(options.lock or project.directory / LOCK_NAME, project.namespace)
    with Catalog(home) as catalog:
        identified = _identify(project, options, home=home, environment=environment, choose=choose)
        prepared = prepare(identified, catalog=catalog, lock=lock)
        planned = {item.name: prepared.report(prepared.planned(item)) for item in prepared.items}
        now = next(one for one in prepared.reports(planned) if one.name == name)
        return look_back(catalog, now, namespace=project.namespace)


def installed(home: Home, environment: Mapping[str, str]) -> Choose:
    """Give what chooses among the installed backends."""
    context = BackendContext(home=home.path, environment=environment)
    return lambda name: registry.choose(name, context)


def _identify(
    project: Project, options: RunOptions, *, home: Home, environment: Mapping[str, str], choose: Choose | None
) -> Identified:
    return identify(
        project,
        home=home,
        choose=choose or installed(home, environment),
        platform=options.platform or host_platform(),
        only=options.only,
        override=options.backend,
        from_registry=options.registry is not None,
        buildkit=options.buildkit,
    )
