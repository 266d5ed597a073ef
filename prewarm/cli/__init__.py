"""The command line: ``prewarm``. One command a file; ``_output`` is the only printer.

A command parses, calls one function of the library, prints its value. ``main`` is the one place that turns an error
into an exit code. Nothing here is imported by the library.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; give its exit code (see ``prewarm.errors``)."""
    try:
        from prewarm.cli import _run

        return _run.main(arguments)
    except KeyboardInterrupt:  # Nothing has begun, or all has ended; a traceback would help nobody.
        return 130
