r"""What an exec is given to run, so that a shell, a kill and the engine's JSON each find what they need. Pure text.

- A shell tells an unknown command (127) from one that cannot run (126); the engine does not.
- The engine's own init stands over the command as subreaper where the container has one: what the command starts stays
  its descendant when parents die, so that a kill finds also what has emptied its environment.
- The API is JSON: bytes that are no text arrive as octal digits, which ``printf '%b'`` of any shell undoes.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Final

_INIT: Final = "/sbin/docker-init"
# gVisor knows no subreapers; its version, unlike Linux's, names no compiler in parentheses.
_UNDER_INIT: Final = f"""
[ -x {_INIT} ] && read -r kernel < /proc/version && case $kernel in *'('*) exec {_INIT} -s -- "$@";; esac
exec "$@\""""
_THROUGH_SHELL: Final = ("/bin/sh", "-c", 'exec "$@"', "sh")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./-+:,@=")


def is_text(value: str) -> bool:
    """Say whether a value can be sent as it is."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def launch(argv: Sequence[str], env: Mapping[str, str], cwd: str) -> tuple[list[str], dict[str, str]]:
    """Give what the engine is told to run, and the variables that it sets itself.

    Args:
        argv: The command; what is not UTF-8 as surrogates, as ``os.fsdecode`` gives it.
        env: Its variables. One that is not UTF-8 is set by the shell if its name is a shell's.
        cwd: Where it starts; the shell goes there if it is not UTF-8.
    """
    wanted = list(argv) if argv[0] == "/bin/sh" else [*_THROUGH_SHELL, *argv]
    own = {name: value for name, value in env.items() if not is_text(value) and _NAME.fullmatch(name)}
    lines = [f'{_decoded(value)}; export {name}="${{bytes%_}}"' for name, value in own.items()]
    if not is_text(cwd):
        lines.append(f'{_decoded(cwd)}; cd -- "${{bytes%_}}" || exit')
    if not all(is_text(one) for one in wanted):
        lines.append("set --")
        for one in wanted:
            word = shlex.quote(one) if is_text(one) else '"${bytes%_}"'
            lines.append(f'{_decoded(one)}; set -- "$@" {word}')
        wanted = []
    if lines:
        lines.append("unset bytes")
    script = "\n".join([*lines, _UNDER_INIT])
    return ["/bin/sh", "-c", script, "sh", *wanted], {name: value for name, value in env.items() if name not in own}


def _decoded(value: str) -> str:
    """Give shell text that sets ``bytes`` to the value and an underscore: a substitution loses line ends at the end."""
    digits = "".join(chr(byte) if byte in _PLAIN else f"\\0{byte:03o}" for byte in os.fsencode(value))
    return f"bytes=$(printf '%b_' '{digits}')"
