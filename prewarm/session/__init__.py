"""Sessions: the runtime half. Open one from the lock file, use it, find it again, end it.

``opening`` finds and opens, ``live`` is the session, ``files`` and ``processes`` are its parts, ``ledger`` is what this
machine remembers of sessions. Standard library only (and the backend that is opened); nothing here computes a key.
Names are loaded when they are asked for: who opens and runs pays for nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # What ``__getattr__`` loads.
    from prewarm.session.files import SessionFiles
    from prewarm.session.live import Session
    from prewarm.session.opening import attach_session, find_lock_file, open_session
    from prewarm.session.processes import Output, Process, Stream

__all__ = [
    "Output",
    "Process",
    "Session",
    "SessionFiles",
    "Stream",
    "attach_session",
    "find_lock_file",
    "open_session",
]

_HOMES: Final = {
    "Output": "processes",
    "Process": "processes",
    "Session": "live",
    "SessionFiles": "files",
    "Stream": "processes",
    "attach_session": "opening",
    "find_lock_file": "opening",
    "open_session": "opening",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(__import__(f"{__name__}.{_HOMES[name]}", fromlist=["_"]), name)
