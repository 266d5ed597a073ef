"""Sessions: the runtime half. Open one from the lock file, use it, find it again, end it.

``opening`` finds and opens, ``live`` is the session, ``files`` and ``processes`` are its parts, ``ledger`` is what this
machine remembers of sessions. Standard library only (and the backend that is opened); nothing here computes a key.
"""

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
