"""``prewarm doctor``."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

import click

from prewarm.backends import registry
from prewarm.backends.base import Feature, Finding, Health
from prewarm.cli import _installed, _output
from prewarm.cli._group import command
from prewarm.cli._options import BACKEND, BUILDER, HOME, JSON, Invocation, invocation
from prewarm.cli.version import version
from prewarm.errors import BackendUnavailableError, PrewarmError
from prewarm.home import Home
from prewarm.machine import host_platform


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """A backend, and what its check found.

    Attributes:
        hosts: Whether it runs real programs in sessions that outlive this process; the in-memory one does not.
    """

    name: str
    health: Health
    features: tuple[str, ...]
    hosts: bool

    @property
    def word(self) -> str:
        """Say in a word or two how it is."""
        if not self.health.ok:
            return "does not work"
        return "works" if self.hosts else "works, for tests"


@command("doctor", example="prewarm doctor\nprewarm doctor --backend local --json")
@HOME
@BACKEND
@BUILDER
@JSON
def _doctor() -> None:
    """Find out what works on this machine, which limits hold, and how to let the rest work.

    Exit code 4 if no backend that runs real programs works.
    """
    run = invocation()
    chosen = registry.names() if run.backend is None else (run.backend,)
    examined = [_examine(name, run) for name in chosen]
    home = _examine_home(run.home)
    if run.as_json:
        _output.json_object(_as_json(examined, home, run))
    else:
        _print(examined, home)
    if not home.ok or not any(one.health.ok and (one.hosts or run.backend is not None) for one in examined):
        run.exit_code = BackendUnavailableError.exit_code


def _examine(name: str, run: Invocation) -> Examined:
    try:
        backend = registry.load(name, _installed.context(run))
    except PrewarmError as error:
        if run.backend is not None:
            raise
        finding = Finding(subject="import", ok=False, detail=error.message, hint=error.hint)
        return Examined(name=name, health=Health(findings=(finding,)), features=(), hosts=False)
    features = tuple(sorted(feature.value for feature in backend.features))
    hosts = {Feature.PROCESSES, Feature.CROSS_PROCESS} <= backend.features
    return Examined(name=name, health=backend.check(), features=features, hosts=hosts)


def _examine_home(home: Home) -> Finding:
    there = home.path
    while not there.exists() and there != there.parent:
        there = there.parent
    usable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    if not usable:
        detail, hint = f"{home.path} cannot be written", "set PREWARM_HOME to a directory that this user can write"
        return Finding(subject="state directory", ok=False, detail=detail, hint=hint)
    detail = f"{home.path}{'' if there == home.path else ' (not made yet)'}"
    return Finding(subject="state directory", ok=True, detail=detail)


def _print(examined: list[Examined], home: Finding) -> None:
    _output.data(f"prewarm {version()}, Python {platform.python_version()}, {platform.release()} {host_platform()}\n")
    rows = [("", home.subject, _mark(home), home.detail)]
    for one in examined:
        rows.append((one.name, one.word, "", ""))
        rows += [("", finding.subject, _mark(finding), finding.detail) for finding in one.health.findings]
        if one.features:
            rows.append(("", "features", "", ", ".join(one.features)))
    _output.table(("BACKEND", "CHECK", "", "FOUND"), rows)
    hints = [
        (one.name, finding) for one in examined for finding in one.health.findings if finding.hint and not finding.ok
    ]
    if home.hint:
        hints.insert(0, ("prewarm", home))
    if hints:
        _output.data("")
    for name, finding in hints:
        _output.data(f"{name}, {finding.subject}: {finding.hint}")


def _mark(finding: Finding) -> str:
    if finding.ok:
        return "ok"
    return "no" if finding.required else "warning"


def _as_json(examined: list[Examined], home: Finding, run: Invocation) -> _output.JsonObject:
    return {
        "schema": "prewarm.doctor/1",
        "version": version(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "platform": host_platform(),
        "home": {"path": str(run.home.path), **_finding(home)},
        "backends": [
            {
                "name": one.name,
                "ok": one.health.ok,
                "hosts_sessions": one.hosts,
                "features": list(one.features),
                "findings": [_finding(finding) for finding in one.health.findings],
            }
            for one in examined
        ],
    }


def _finding(finding: Finding) -> dict[str, str | bool | None]:
    return {
        "subject": finding.subject,
        "ok": finding.ok,
        "required": finding.required,
        "detail": finding.detail,
        "hint": finding.hint,
    }


COMMAND: click.Command = _doctor
