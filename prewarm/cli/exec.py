"""``prewarm exec``."""

from __future__ import annotations

import json

import click

from prewarm.cli import _inside, _names
from prewarm.cli._group import command
from prewarm.cli._inside import inside
from prewarm.cli._options import HOME, Invocation, invocation
from prewarm.errors import SessionFailedError, SessionGoneError
from prewarm.session import Session, attach_session
from prewarm.session.ledger import Lease, Ledger

_EXAMPLE = """\
prewarm open analyst --key user-42 -- touch notes.txt
prewarm exec user-42 -- ls -l
prewarm exec user-42"""


@command("exec", example=_EXAMPLE)
@click.argument("session_key", metavar="SESSION-KEY", shell_complete=_names.complete_sessions)
@click.option("--name", help="The sandbox, where sessions of several have this key.")
@HOME
@_inside.options
def _exec(
    *,
    session_key: str,
    name: str | None,
    argv: tuple[str, ...],
    user: str | None,
    workdir: str | None,
    env: tuple[str, ...],
    tty: bool | None,
    no_stdin: bool,
) -> None:
    """Run a command, or a shell, in a session that is open: named by its key, or by its id in 'prewarm sessions'.

    The exit code is that of the command. The session lives on.
    """
    run = invocation()
    what = inside(argv=argv, user=user, workdir=workdir, env=env, tty=tty, no_stdin=no_stdin)
    session = _attach(_find(session_key, name, run), run)
    try:
        run.exit_code = _inside.run(session, what, environment=run.environment)
    finally:
        session.close(keep=True)


def _find(session_key: str, name: str | None, run: Invocation) -> Lease:
    leases = {
        (lease.namespace, lease.name): lease  # The newest of each: those before it have ended.
        for lease in Ledger(run.home).leases()
        if session_key in {lease.session_key, lease.id} and name in {None, lease.name}
    }
    if not leases:
        raise SessionGoneError(
            f"no session with the key '{session_key}' was opened from here",
            hint="'prewarm sessions' lists those that live; 'prewarm open NAME --key KEY' opens one",
        )
    if len(leases) > 1:
        told = ", ".join(f"{lease.namespace}/{lease.name} ({lease.id})" for lease in leases.values())
        raise SessionFailedError(
            f"{len(leases)} sessions have the key '{session_key}': {told}",
            hint="say which with --name, or give the id instead of the key",
        )
    return next(iter(leases.values()))


def _attach(lease: Lease, run: Invocation) -> Session:
    try:
        return attach_session(json.loads(lease.state), home=run.home.path, environment=run.environment)
    except SessionGoneError:
        Ledger(run.home).forget(lease.backend, lease.id)
        raise


COMMAND: click.Command = _exec
