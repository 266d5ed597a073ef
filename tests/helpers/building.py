"""A project, a state directory and a memory backend for tests of whole runs; and a listener that remembers."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

from prewarm import pipeline
from prewarm.backends.base import BackendContext
from prewarm.backends.memory import MemoryBackend
from prewarm.cancellation import Cancellation
from prewarm.definition.model import (
    Definition,
    ExtendsBase,
    HostBase,
    InlineSeed,
    Project,
    RunAction,
    Step,
    StepLimits,
    Template,
    TreeSeed,
)
from prewarm.home import Home
from prewarm.pipeline import RunOptions


def steps(*commands, **limits) -> tuple[Step, ...]:
    return tuple(
        command if isinstance(command, Step) else Step(action=RunAction(command=command), limits=StepLimits(**limits))
        for command in commands
    )


def define(name, *commands, extends=None, seeds=(), verify=(), inline=None, **changes) -> Definition:
    """Make a definition for the memory backend; ``inline`` is a text to seed, ``changes`` are fields of either half."""
    template = {
        field: changes.pop(field) for field in ("env", "user", "workdir", "revalidate", "inputs") if field in changes
    }
    if inline is not None:
        seeds = (*seeds, InlineSeed(path="/workspace/inline.txt", content=inline.encode()))
    return Definition(
        name=name,
        template=Template(
            base=HostBase() if extends is None else ExtendsBase(sandbox=extends),
            seeds=tuple(
                TreeSeed(source=seed, target="/workspace") if isinstance(seed, str) else seed for seed in seeds
            ),
            bootstrap=steps(*commands),
            verify=steps(*verify),
            **template,
        ),
        **({"backend": "memory"} | changes),
    )


class Listener:
    """Remembers all that it hears, and how many called at once."""

    def __init__(self, on_step=None):
        self.started: list[tuple[str, str]] = []
        self.phases: list[tuple[str, str]] = []
        self.steps: list[tuple[str, str]] = []
        self.lines: list[tuple[str, str]] = []
        self.finished: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self._on_step = on_step
        self._busy = threading.Lock()

    def _alone(self):
        assert self._busy.acquire(blocking=False), "two calls at once"
        self._busy.release()

    def template_started(self, name, key, reason):
        self._alone()
        self.started.append((name, reason))

    def phase(self, name, phase):
        self._alone()
        self.phases.append((name, phase.value))

    def step(self, name, number, total, text):
        self._alone()
        self.steps.append((name, text))
        if self._on_step is not None:
            self._on_step(name, text)

    def line(self, name, text):
        self._alone()
        self.lines.append((name, text))

    def note(self, text):
        self.notes.append(text)

    def template_finished(self, report):
        self._alone()
        self.finished.append((report.name, report.status.value))


class Workshop:
    """A project that can be built over and over.

    Args:
        path: Where the project and the state directory are.
        definitions: Of the project.
        commands: Of the memory backend, by name.
    """

    def __init__(self, path: Path, *definitions: Definition, commands=None, namespace="acme", environment=None):
        self.home = Home(path / "home")
        self.directory = path / "project"
        self.directory.mkdir(parents=True, exist_ok=True)
        self.definitions = definitions
        self.namespace = namespace
        self.environment = dict(environment or {})
        self.ran: list[str] = []
        self._ran_lock = threading.Lock()
        self.commands = {"mark": self._mark, **(commands or {})}
        self.backend = MemoryBackend(BackendContext(home=self.home.path, environment={}), commands=self.commands)
        self.chosen: list[str] = []

    def _mark(self, call):
        with self._ran_lock:
            self.ran.append(" ".join(call.argv[1:]))
        return 0

    @property
    def project(self) -> Project:
        return Project(namespace=self.namespace, directory=self.directory, definitions=self.definitions)

    @property
    def lock(self) -> Path:
        return self.directory / "prewarm.lock"

    def choose(self, name):
        self.chosen.append(name)
        return self.backend, "the test says so"

    def build(self, *only, listener=None, cancellation: Cancellation | None = None, **options):
        self.ran.clear()
        return pipeline.build(
            self.project,
            home=self.home,
            environment=self.environment,
            options=RunOptions(**({"jobs": 4} | options), only=only),
            listener=listener,
            choose=self.choose,
            cancellation=cancellation,
        )

    def plan(self, *only, **options):
        return pipeline.plan(
            self.project,
            home=self.home,
            environment=self.environment,
            options=RunOptions(**options, only=only),
            choose=self.choose,
        )

    def change(self, name, definition=None, **template):
        """Put another definition in place of one, or change fields of its template half."""
        new = {
            one.name: definition if definition is not None else replace(one, template=replace(one.template, **template))
            for one in self.definitions
            if one.name == name
        }
        self.definitions = tuple(new.get(one.name, one) for one in self.definitions)

    def ref(self, name):
        return {one.name: one for one in self.plan().templates}[name].ref

    def identity(self, name):
        return self.ref(name).value["id"]


def statuses(report) -> dict[str, str]:
    return {one.name: one.status.value for one in report.templates}


def reasons(report) -> dict[str, str]:
    return {one.name: one.reason.value for one in report.templates}
