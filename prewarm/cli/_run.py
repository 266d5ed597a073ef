"""Run one command line: signals, errors and exit codes, in one place.

Every failure ends here: an error of the tree prints itself and gives its exit code, Ctrl-C and SIGTERM give 130, a
reader that went away ends the command quietly, and anything else is a bug, whose traceback goes to a file.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from typing import Final

import click

from prewarm import process
from prewarm.cli import _group, _interrupts, _output
from prewarm.cli._options import Invocation
from prewarm.errors import DefinitionError, InterruptedBuildError, PrewarmError
from prewarm.failure import Failure

EXIT_INTERRUPTED: Final = InterruptedBuildError.exit_code
EXIT_PIPE: Final = 141  # What a shell reports for a program that SIGPIPE ended.


class UsageError(PrewarmError):
    """Say that a command line cannot be read; as wrong as a definition that cannot."""

    exit_code = DefinitionError.exit_code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; give its exit code."""
    if arguments is None:
        try:
            return _main(sys.argv[1:])
        finally:
            _interrupts.hear_no_more_at_all()
    with _interrupts.given_back():
        return _main(arguments)


def _main(given: Sequence[str]) -> int:
    options = itertools.takewhile(lambda argument: argument != "--", given)
    invocation = Invocation(environment=process.environment(), as_json="--json" in options)
    _output.prepare()
    _interrupts.listen()
    try:
        code = _invoke(given, invocation)
        _interrupts.hear_no_more()
        _output.finish()
    except BrokenPipeError:
        _output.forget(sys.stdout)
        return EXIT_PIPE
    except _output.UnwritableError as error:
        _output.forget(sys.stdout)
        _output.failure(Failure.of(error, name="", redact=str))
        return error.exit_code
    return code


def _invoke(arguments: Sequence[str], invocation: Invocation) -> int:
    try:
        completing = invocation.environment.get(_group.COMPLETION_VARIABLE)
        completed = _group.run(arguments, invocation, completing=completing)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        return _misused(error, invocation)
    except (KeyboardInterrupt, click.Abort):  # click's own prompts turn the one into the other.
        _interrupts.hear_no_more()
        return _failed(InterruptedBuildError("interrupted"), invocation)
    except (BrokenPipeError, _output.UnwritableError):
        raise
    except PrewarmError as error:
        return _failed(error, invocation)
    except Exception as error:  # noqa: BLE001 - the last resort: nothing is swallowed, the traceback is kept.
        return _bug(error, invocation)
    return completed or invocation.exit_code


def _is_somewhere() -> bool:
    try:
        return bool(os.getcwd())
    except FileNotFoundError:
        return False


def _failed(error: PrewarmError, invocation: Invocation) -> int:
    failure = Failure.of(error, name="", redact=str)
    _output.failure(failure)
    if invocation.as_json:
        _output.json_object(_output.error_object(failure))
    return error.exit_code


def _misused(error: click.ClickException, invocation: Invocation) -> int:
    message = " ".join(error.format_message().split()).rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context is not None else "prewarm"
    hint = f"'{command} --help' shows what it takes"
    return _failed(UsageError(message[:1].lower() + message[1:], hint=hint), invocation)


def _bug(error: Exception, invocation: Invocation) -> int:
    if isinstance(error, FileNotFoundError) and not _is_somewhere():
        hint = "go to one that is there; 'cd .' will do if it was made again"
        return _failed(UsageError("the current directory was removed", hint=hint), invocation)
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="prewarm-traceback-", suffix=".txt", delete=False) as file:
            file.write(text)
    except OSError:
        _output.talk(text)
        hint = "please report it with the traceback above"
    else:
        hint = f"please report it with the traceback, which is in {file.name}"
    return _failed(PrewarmError(f"this is a bug in prewarm: {type(error).__name__}: {error}", hint=hint), invocation)
