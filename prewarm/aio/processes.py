"""A running command, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import IO, Final, Self

from prewarm import session as core
from prewarm.aio.threads import Threads
from prewarm.session.processes import Lines, Output

_SLICE_S: Final = 0.25


class Process:
    """As ``prewarm.Process``, awaited. One task reads; any may write, wait, kill and close.

    Args:
        process: The synchronous one.
        threads: Where its calls run.
    """

    def __init__(self, process: core.Process, threads: Threads) -> None:
        self._process = process
        self._threads = threads
        self._reader = process.reader()
        self._reading: Future[Output | None] | None = None

    @property
    def stdin(self) -> IO[bytes] | None:
        """The raw stream; writing to it may block the loop, which ``write`` does not."""
        return self._process.stdin

    async def write(self, data: bytes | str) -> None:
        """Write all of it to the command's standard input; errors are those of ``prewarm.Process.write``."""
        await self._threads.run(self._process.write, data)

    async def close_stdin(self) -> None:
        """Let the command read the end of its standard input."""
        await self._threads.run(self._process.close_stdin)

    async def chunks(self) -> AsyncIterator[Output]:
        """Give both streams' output as it comes, until both have ended, or the command has and is silent.

        Cancelling loses nothing: the next call goes on from there.
        """
        while self._reading is not None or not self._reader.is_over:
            if self._reading is None:
                self._reading = self._threads.submit(self._reader.next, _SLICE_S)
            output = await asyncio.shield(asyncio.wrap_future(self._reading))
            self._reading = None
            if output is not None:
                yield output

    async def lines(self) -> AsyncIterator[Output]:
        """Give both streams' output line by line, each with its line end; the last of a stream may lack it."""
        splitter = Lines()
        async for chunk in self.chunks():
            for line in splitter.take(chunk):
                yield line
        for line in splitter.rest():
            yield line

    async def wait(self) -> int:
        """Wait for the end; give the exit code. Use ``asyncio.timeout`` to wait less."""
        while True:
            exit_code = await self._threads.run(self._process.wait, _SLICE_S)
            if exit_code is not None:
                return exit_code

    async def kill(self) -> None:
        """End the command and all its descendants. Twice is fine."""
        await self._threads.finish(self._process.kill)

    async def resize(self, columns: int, rows: int) -> None:
        """Tell the command's terminal its size."""
        await self._threads.run(self._process.resize, columns, rows)

    async def close(self) -> None:
        """Let go of the streams; the command goes on. Twice is fine."""
        if self._reading is not None:
            await asyncio.wait({asyncio.wrap_future(self._reading)})  # A read that nobody wants; a moment at most.
        self._reader.close()
        await self._threads.finish(self._process.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        try:
            await self.kill()
        finally:
            await self.close()
