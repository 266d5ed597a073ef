"""Open or find a session, to be awaited or entered."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Generator, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import overload

from prewarm import session as core
from prewarm.aio.sessions import Session
from prewarm.aio.threads import Threads
from prewarm.backends.base import Backend
from prewarm.definition.options import Json, Network


def open_session(  # noqa: PLR0913 - what can be said when opening.
    name: str,
    *,
    key: str | None = None,
    lock: Path | str | None = None,
    home: Path | str | None = None,
    environment: Mapping[str, str] | None = None,
    backend: Backend | None = None,
    platform: str | None = None,
    network: Network | str | None = None,
    memory: int | str | None = None,
    cpus: float | None = None,
    pids: int | None = None,
    disk: int | str | None = None,
    idle_timeout: float | str | None = None,
    max_lifetime: float | str | None = None,
    env: Mapping[str, str] | None = None,
    options: Mapping[str, Json] | None = None,
) -> Opening:
    """Open a session, or attach to the one of this key: to be awaited, or entered with ``async with``.

    Arguments and errors are those of ``prewarm.open_session``.
    """
    return Opening(
        functools.partial(
            core.open_session,
            name,
            key=key,
            lock=lock,
            home=home,
            environment=environment,
            backend=backend,
            platform=platform,
            network=network,
            memory=memory,
            cpus=cpus,
            pids=pids,
            disk=disk,
            idle_timeout=idle_timeout,
            max_lifetime=max_lifetime,
            env=env,
            options=options,
        )
    )


def attach_session(
    state: Mapping[str, Json],
    *,
    home: Path | str | None = None,
    environment: Mapping[str, str] | None = None,
    backend: Backend | None = None,
) -> Opening:
    """Find a session again: to be awaited, or entered with ``async with``.

    Arguments and errors are those of ``prewarm.attach_session``.
    """
    return Opening(functools.partial(core.attach_session, state, home=home, environment=environment, backend=backend))


class Opening(Coroutine[object, None, Session]):
    """A session that is being opened: await it, enter it with ``async with``, or give it to ``asyncio.create_task``.

    It is a coroutine to asyncio (``gather``, ``wait_for``, ``TaskGroup``, ``run``), and like one it is awaited once.

    Args:
        make: Opens it, in a thread.
    """

    def __init__(self, make: Callable[[], core.Session]) -> None:
        self._opened = _open_session(make)
        self.__qualname__ = "prewarm.aio.Opening"  # As asyncio names it.
        self._session: Session | None = None

    def __await__(self) -> Generator[object, None, Session]:
        return self._opened.__await__()

    def send(self, value: None, /) -> object:
        """Go on with it, as asyncio does with any coroutine."""
        return self._opened.send(value)

    @overload
    def throw(
        self,
        kind: type[BaseException],
        error: BaseException | object = None,
        traceback: TracebackType | None = None,
        /,
    ) -> object: ...
    @overload
    def throw(self, kind: BaseException, error: None = None, traceback: TracebackType | None = None, /) -> object: ...
    def throw(
        self,
        kind: type[BaseException] | BaseException,
        error: BaseException | object = None,
        traceback: TracebackType | None = None,
        /,
    ) -> object:
        """Raise in it, as asyncio does to cancel. Only the first form is not deprecated by Python."""
        if isinstance(kind, BaseException):
            return self._opened.throw(kind)
        return self._opened.throw(kind, error, traceback)

    def close(self) -> None:
        """Give it up before it was awaited."""
        self._opened.close()

    async def __aenter__(self) -> Session:
        self._session = await self._opened
        return self._session

    async def __aexit__(self, *exc_info: object) -> None:
        if self._session is not None:
            await self._session.close()


async def _open_session(make: Callable[[], core.Session]) -> Session:
    threads = Threads()
    future = threads.submit(make)
    try:
        return Session(await asyncio.shield(asyncio.wrap_future(future)), threads)
    except BaseException:
        # One that is opened when nobody waits for it any more is let go of, as at the end of ``async with``.
        future.add_done_callback(_close_unwanted)
        threads.close()
        raise


def _close_unwanted(future: Future[core.Session]) -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().close()
