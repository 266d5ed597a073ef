"""Call a hook in a thread of its own, so that no build waits for one that does not come back. Called by ``steps``.

Python cannot stop a function. A hook that still computes, or waits for something of its own, after its time is up or
the run is cancelled is left behind: its sandbox refuses whatever it asks for and is taken away, what becomes of it is
nobody's concern any more, and its thread ends with the process at the latest.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from typing import Final

from prewarm.backends.hook_session import HookSession
from prewarm.cancellation import Cancellation
from prewarm.request import HOOK_THREAD

_GRACE_S: Final = 1.0  # Its commands end first, at the same moment; then it gets this long to clean up.


def call_hook(
    call: Callable[[HookSession], None], session: HookSession, *, until: float, cancellation: Cancellation | None
) -> bool:
    """Call a hook and wait for it as long as it may take.

    Args:
        call: The hook.
        session: What it works on.
        until: ``time.monotonic`` seconds at which its time is up.
        cancellation: Ends the waiting when it comes.

    Returns:
        Whether it came back; otherwise its time is up, and it was left behind.

    Raises:
        InterruptedBuildError: It was cancelled, and did not come back.
        BaseException: What the hook raised.
    """
    raised: list[BaseException] = []
    over = threading.Event()

    def run() -> None:
        try:
            context.run(call, session)
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits.
            raised.append(error)
        finally:
            over.set()

    context = contextvars.copy_context()
    stopping = cancellation or Cancellation()
    thread = threading.Thread(target=run, name=HOOK_THREAD, daemon=True)
    thread.start()
    with stopping.calling(over.set):
        over.wait(min(max(0.0, until - time.monotonic()), threading.TIMEOUT_MAX))
    thread.join(_GRACE_S)
    if thread.is_alive():
        session.leave()
        stopping.check()
        return False
    if raised:
        raise raised[0]
    return True
