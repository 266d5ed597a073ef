"""A command or a shell inside a session, joined to this process's streams: what ``open`` and ``exec`` have in common."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import click

from prewarm.cli import _options, _relay
from prewarm.session import Session

_SHELL: Final = ("/bin/sh", "-c", "if command -v bash >/dev/null 2>&1; then exec bash; else exec sh; fi")
_PLAIN_SHELL: Final = ("/bin/sh",)
_TERMINAL_KIND: Final = "TERM"
_KILLED: Final = 128 + signal.SIGKILL

_Decorated = TypeVar("_Decorated", bound=Callable[..., object])


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """How a command runs inside.

    Attributes:
        argv: The command; empty for a shell.
        user: Instead of the definition's.
        cwd: Where it starts; ``None``: where the definition says.
        env: Over the definition's.
        terminal: Whether it gets a terminal; ``None``: if this process has one.
        with_input: Whether this process's standard input is passed on.
    """

    argv: tuple[str, ...]
    user: str | None
    cwd: str | None
    env: Mapping[str, str]
    terminal: bool | None
    with_input: bool


def options(function: _Decorated) -> _Decorated:
    """Add the options that say how a command runs inside, and the command itself."""
    for option in reversed(
        (
            click.option("-u", "--user", help="Who runs it.  [default: as the definition says]"),
            click.option("-w", "--workdir", help="Where it starts.  [default: as the definition says]"),
            click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="Over the definition's environment."),
            click.option(
                "-t/-T", "--tty/--no-tty", "tty", default=None, help="With a terminal.  [default: if this is one]"
            ),
            click.option("-n", "--no-stdin", is_flag=True, help="Do not pass standard input on."),
            click.argument("argv", nargs=-1, metavar="[-- COMMAND...]", type=click.UNPROCESSED),
        )
    ):
        function = option(function)
    return function


def inside(
    *,
    argv: tuple[str, ...],
    user: str | None,
    workdir: str | None,
    env: tuple[str, ...],
    tty: bool | None,
    no_stdin: bool,
) -> Inside:
    """Read those options."""
    return Inside(
        argv=argv,
        user=user,
        cwd=workdir,
        env=_options.variables(env, option="--env"),
        terminal=tty,
        with_input=not no_stdin,
    )


def run(session: Session, what: Inside, *, environment: Mapping[str, str]) -> int:
    """Run it to its end; give its exit code.

    Raises:
        SessionGoneError: The session ended and took the command with it: somebody removed it, or its time was up.
    """
    both = sys.stdin.isatty() and sys.stdout.isatty()
    terminal = both if what.terminal is None else what.terminal
    if terminal and not both:
        raise click.UsageError("standard input and output are no terminal; leave --tty out")
    passed = {_TERMINAL_KIND: environment[_TERMINAL_KIND]} if terminal and _TERMINAL_KIND in environment else {}
    process = session.spawn(
        what.argv or (_SHELL if terminal else _PLAIN_SHELL),
        cwd=what.cwd,
        env={**passed, **what.env},
        user=what.user,
        stdin=what.with_input,
        terminal=_relay.terminal_size() if terminal else None,
    )
    try:
        code = _relay.relay(process, terminal=terminal)
    finally:
        process.close()  # What the command left running in the session lives on.
    if code == _KILLED:
        session.files.stat("/")  # Of a session that has ended there is nothing to see.
    return code
