"""``prewarm open``."""

from __future__ import annotations

import contextlib

import click

from prewarm.cli import _inside, _names, _output
from prewarm.cli._group import command
from prewarm.cli._inside import inside
from prewarm.cli._interrupts import held_back
from prewarm.cli._options import FILE, HOME, invocation
from prewarm.session import open_session

_EXAMPLE = """\
prewarm open analyst
prewarm open analyst -- python3 -c 'print(6 * 7)'
prewarm open analyst --key user-42 -- sh < script.sh"""


@command("open", example=_EXAMPLE)
@click.argument("name", shell_complete=_names.complete_sandboxes)
@click.option("-k", "--key", help="Your own name for the session; the same key finds the same session again.")
@click.option(
    "--keep/--remove",
    default=None,
    help="Whether the session lives on afterwards, until it expires.  [default: keep if --key is given]",
)
@click.option("--network", type=click.Choice(["all", "none"]), help="Instead of what the definition says.")
@FILE
@HOME
@_inside.options
def _open(  # noqa: PLR0913 - click's way to hand over options.
    *,
    name: str,
    key: str | None,
    keep: bool | None,
    network: str | None,
    argv: tuple[str, ...],
    user: str | None,
    workdir: str | None,
    env: tuple[str, ...],
    tty: bool | None,
    no_stdin: bool,
) -> None:
    """Open a session from the template of sandbox NAME and run a command in it, or a shell.

    The exit code is that of the command. Without --key the session is a new one, removed at the end.
    """
    run = invocation()
    what = inside(argv=argv, user=user, workdir=workdir, env=env, tty=tty, no_stdin=no_stdin)
    kept = key is not None if keep is None else keep
    with contextlib.ExitStack() as stack:
        with held_back():
            session = open_session(
                name, key=key, lock=run.lock_path(), home=run.home.path, environment=run.environment, network=network
            )
            stack.callback(session.close, **({"keep": True} if kept else {"remove": True}))
        run.exit_code = _inside.run(session, what, environment=run.environment)
        if kept and key is None:
            _output.talk(f"kept; find it again with: prewarm exec {session.key} -- COMMAND")


COMMAND: click.Command = _open
