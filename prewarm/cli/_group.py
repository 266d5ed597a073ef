"""The ``prewarm`` command: a table of commands, each imported when it is called and not before.

A build with nothing to do is a fraction of a second, so no command pays for another one's imports; the table has the
one line about each that ``--help`` and completion show.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import CompletionItem, shell_complete

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME: Final = "prewarm"
COMPLETION_VARIABLE: Final = "_PREWARM_COMPLETE"
COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "init": "Start a project from a ready-made definition.",
        "build": "Capture what is not there yet and write the lock file.",
        "plan": "Say what a build would do, and why.",
        "keys": "Print the template key of every sandbox.",
        "explain": "Say what changed since a template was captured.",
        "check": "Prove that everything in the lock file can be opened.",
        "open": "Open a session: a shell, or one command.",
        "exec": "Run a command in a session that is open.",
        "sessions": "List live sessions, or end some.",
        "templates": "List the templates that this machine holds.",
        "push": "Put the templates of the lock file into a registry.",
        "pull": "Get the templates of the lock file from a registry.",
        "export": "Write the templates of the lock file to one archive.",
        "import": "Take templates in from an archive.",
        "cache": "Keep templates in a directory that CI saves and restores.",
        "gc": "Remove what no lock file and no session needs.",
        "doctor": "Find out what works on this machine, and how to let the rest work.",
        "schema": "Print the JSON Schema of prewarm.yaml.",
        "completion": "Print the completion script of a shell.",
        "version": "Print the version.",
    }
)

_SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def command(name: str, *, example: str) -> Callable[[Callable[..., None]], click.Command]:
    """Make a click command that stands in the table.

    Args:
        name: As in ``COMMANDS``.
        example: Command lines shown at the end of ``--help``.
    """
    lines = "\n".join(f"  {line}" for line in example.strip().splitlines())
    return click.command(
        name, cls=_Command, short_help=COMMANDS[name], epilog=f"\b\nExamples:\n{lines}", context_settings=_SETTINGS
    )


class _Command(click.Command):
    """A command whose misuse is its own, also where click does not say whose: an option that lacks its value."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise


class LazyGroup(click.Group):
    """Find commands by the table, importing only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature.
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature.
        if cmd_name not in COMMANDS:
            return None
        found: object = importlib.import_module(f"prewarm.cli.{cmd_name}").COMMAND
        return found if isinstance(found, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            meant = f"; did you mean '{near[0]}'?" if near else ""
            raise click.UsageError(f"no command '{args[0]}'{meant}", ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]


def _show_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's.
    if value and not ctx.resilient_parsing:
        ctx.invoke(importlib.import_module("prewarm.cli.version").COMMAND)
        ctx.exit()


ROOT: Final = LazyGroup(
    NAME,
    help=(
        "Build-time templates for sandboxes.\n\n"
        "'prewarm build' captures the sandboxes of prewarm.yaml once; applications open sessions from them in "
        "milliseconds."
    ),
    epilog=(
        "\b\nStart here:\n  prewarm init --template python demo\n  cd demo && prewarm build\n"
        "  prewarm open python -- python -V"
    ),
    context_settings=_SETTINGS,
    no_args_is_help=True,
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_version,
            help="Show the version and exit.",
        )
    ],
)


def run(arguments: Sequence[str], invocation: object, *, completing: str | None = None) -> int:
    """Run one command line; click's own exceptions and everybody's errors come through.

    Not ``ROOT.main``: that takes a reader who went away for a failure of ours.

    Args:
        arguments: Without the program's name; none at all ask for help.
        invocation: What commands find as the context's object.
        completing: What a completion script asks for (``$_PREWARM_COMPLETE``); everything else is then left alone.

    Returns:
        0, or what answering the completion script came to.
    """
    if completing:
        return shell_complete(ROOT, {"obj": invocation}, NAME, COMPLETION_VARIABLE, completing)
    with ROOT.make_context(NAME, list(arguments) or ["--help"], obj=invocation) as context:
        ROOT.invoke(context)
    return 0
