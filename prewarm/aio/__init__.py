"""Sessions for asyncio: the surface of ``prewarm.session``, awaited.

    async with prewarm.aio.open_session("analyst", key="user-42") as session:
        result = await session.run("python3 -c 'print(6*7)'", timeout=30)
        async with await session.spawn("tail -f log") as process:
            async for line in process.lines():
                ...

The work is the synchronous core's, in threads of the session's own, so that the application's own pool is left alone.
A cancelled ``run`` has killed its command's whole tree by the time the cancellation goes on; a file operation that was
begun is finished in the background.
"""

from prewarm.aio.opening import Opening, attach_session, open_session
from prewarm.aio.processes import Process
from prewarm.aio.sessions import Session, SessionFiles

__all__ = ["Opening", "Process", "Session", "SessionFiles", "attach_session", "open_session"]
