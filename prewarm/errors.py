"""The error tree: every failure prewarm raises, with its exit code and its remedy.

    PrewarmError                      1   a bug, or a failure no leaf names
    ├── DefinitionError               2   the definition is wrong (all problems at once)
    │   ├── InvalidNameError          2   a name or key from outside is not one
    │   └── UnsupportedOptionError    2   a backend cannot honour what a definition asks for
    ├── UnkeyableInputError           3   an input of a key cannot be read
    ├── BackendUnavailableError       4   a backend cannot work here
    │   └── UnknownBackendError       4   no backend of that name is installed
    ├── CaptureFailedError            5   making a template failed
    │   ├── StepFailedError           5   … at a step of bootstrap or verify
    │   └── BuildFailedError          5   … for at least one template of a run
    ├── SessionFailedError            6   a session cannot be opened or used
    │   ├── SessionGoneError          6   it expired, was removed, or never was
    │   ├── OtherPlatformError        6   the template's programs are of another platform than this host's
    │   ├── SessionStateError         6   a state from another backend or version
    │   ├── CommandFailedError        6   a command did not exit with 0, and the caller had asked to be told
    │   └── SessionFileError          6   a file operation inside a session failed
    │       ├── SessionFileNotFoundError
    │       └── PathEscapesError          a path or archive member leaves its root
    ├── TemplateNotFoundError         7   the template is not there; capture it again
    │   └── LockFileError             7   no lock file, or one that cannot be read
    ├── TemplateInUseError            7   a session or another template stands on it
    ├── TemplateCorruptError          8   what is there is not what was captured
    ├── HomeError                     9   the state directory cannot be used
    └── InterruptedBuildError       130   Ctrl-C or SIGTERM

A message says what failed, with its name, then why: lower case, no full stop. The way out is the
``hint``, which the command line prints on a line of its own. Imported by everything, imports nothing.
"""

from __future__ import annotations

from typing import ClassVar


class PrewarmError(Exception):
    """Report a failure by name, with a way out.

    Args:
        message: What failed and why, in one sentence without a full stop.
        hint: What the reader can do about it.
    """

    exit_code: ClassVar[int] = 1
    default_hint: ClassVar[str | None] = None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint if hint is not None else self.default_hint

    def __str__(self) -> str:
        return self.message


class DefinitionError(PrewarmError):
    """Say everything that is wrong with a definition, at once.

    Args:
        message: One problem with its place, or how many there are and a line for each.
        problems: Each of them on its own, with its place; the message alone where it was not found in a file.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str | None = None, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.problems = problems or (message,)


class InvalidNameError(DefinitionError):
    """Refuse a name or session key that must not become a path or a label."""


class UnsupportedOptionError(DefinitionError):
    """Refuse an option that the chosen backend cannot honour, before anything runs."""


class UnkeyableInputError(PrewarmError):
    """Refuse to compute a key from an input that cannot be read."""

    exit_code = 3


class BackendUnavailableError(PrewarmError):
    """Say that a backend cannot work on this machine, and how to let it."""

    exit_code = 4


class UnknownBackendError(BackendUnavailableError):
    """Say that no installed package offers a backend of this name."""


class CaptureFailedError(PrewarmError):
    """Say that a template could not be captured; nothing of it is left behind."""

    exit_code = 5


class StepFailedError(CaptureFailedError):
    """Say which step failed, how, and what it wrote last.

    Args:
        step: One-based number of the step within its phase.
        text: The step's own text, as its author wrote it.
        exit_code: Of the command; ``None`` where it did not run to an end (timeout, exception).
        tail: The last lines that it wrote, both streams, secrets redacted.
        reason: What happened, e.g. ``exited 100``, ``killed by SIGKILL``, ``timed out after 600s``.
    """

    def __init__(
        self,
        message: str,
        *,
        step: int,
        text: str,
        reason: str,
        command_exit_code: int | None,
        tail: tuple[str, ...] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.step = step
        self.text = text
        self.reason = reason
        self.command_exit_code = command_exit_code
        self.tail = tail


class BuildFailedError(CaptureFailedError):
    """Say that a run ended with failures; each has been reported by name."""


class SessionFailedError(PrewarmError):
    """Say that a session could not be opened or used."""

    exit_code = 6


class SessionGoneError(SessionFailedError):
    """Say that a session has expired, was removed, or never existed."""


class OtherPlatformError(SessionFailedError):
    """Say that the programs of a template cannot run on this host: they are of another platform."""


class SessionStateError(SessionFailedError):
    """Refuse a session state written by another backend or an unknown version."""


class CommandFailedError(SessionFailedError):
    """Say how a command of a session ended, where ``check`` asked for it.

    Args:
        command_exit_code: Of the command; ``None`` where its time was up.
        stdout: What it wrote, up to the caller's limit.
        stderr: The same.
    """

    def __init__(
        self, message: str, *, command_exit_code: int | None, stdout: bytes, stderr: bytes, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.command_exit_code = command_exit_code
        self.stdout = stdout
        self.stderr = stderr


class SessionFileError(SessionFailedError):
    """Say that an operation on a session's files failed."""


class SessionFileNotFoundError(SessionFileError):
    """Say that a path does not exist in the session."""


class PathEscapesError(SessionFileError):
    """Refuse a path, link or archive member that leaves the place it belongs to."""


class TemplateNotFoundError(PrewarmError):
    """Say that a template is not there; never answered with the bare base."""

    exit_code = 7
    default_hint = "run 'prewarm build' on this machine"


class TemplateInUseError(PrewarmError):
    """Refuse to take away a template that something alive stands on."""

    exit_code = 7


class LockFileError(TemplateNotFoundError):
    """Say that the lock file is missing, unreadable, or of an unknown version."""


class TemplateCorruptError(PrewarmError):
    """Say that what a ref names is not what was captured."""

    exit_code = 8
    default_hint = "run 'prewarm build'; the template is captured again"


class HomeError(PrewarmError):
    """Say that the state directory ($PREWARM_HOME) cannot be used."""

    exit_code = 9


class InterruptedBuildError(PrewarmError):
    """Say that a run was stopped from outside; finished templates stay published."""

    exit_code = 130
