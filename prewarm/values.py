"""The two values that both halves know: where a template is kept, and what a command did.

Apart from ``request``, which gives these names too, because every start of an application pays for what it imports.
Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from prewarm.definition.options import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateRef:
    """Where a backend keeps a captured template: content addresses, plain data, no path of any machine.

    Attributes:
        backend: Whose it is.
        format: The backend's ``capture_format`` at the time.
        value: JSON that the backend understands.
    """

    backend: str
    format: str
    value: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """What a command did. A non-zero exit is data here.

    Attributes:
        exit_code: 0 to 255; 128 + n for signal n; 124 where it timed out.
        stdout: Text, undecodable bytes as surrogate escapes (``stdout_bytes`` has the bytes).
        stderr: The same.
        timed_out: Its time was up; the whole tree was killed.
        truncated: At least one stream was cut at ``max_output``.
        seconds: From start to end.
    """

    exit_code: int
    stdout_bytes: bytes = field(repr=False)
    stderr_bytes: bytes = field(repr=False)
    timed_out: bool
    truncated: bool
    seconds: float

    @property
    def stdout(self) -> str:
        return self.stdout_bytes.decode("utf-8", "surrogateescape")

    @property
    def stderr(self) -> str:
        return self.stderr_bytes.decode("utf-8", "surrogateescape")

    @property
    def ok(self) -> bool:
        return self.exit_code == 0
