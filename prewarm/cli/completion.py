"""``prewarm completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from prewarm.cli import _group, _output
from prewarm.cli._group import command

_EXAMPLE = """\
eval "$(prewarm completion bash)"                                   # in ~/.bashrc
eval "$(prewarm completion zsh)"                                    # in ~/.zshrc, after compinit
prewarm completion fish > ~/.config/fish/completions/prewarm.fish"""


@command("completion", example=_EXAMPLE)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def _completion(shell: str) -> None:
    """Print the script that lets a shell complete commands, options, and the names of sandboxes and backends."""
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}")
    _output.data(found(_group.ROOT, {}, _group.NAME, _group.COMPLETION_VARIABLE).source())


COMMAND: click.Command = _completion
