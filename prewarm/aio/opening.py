"""Open or find a session, to be awaited or entered."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from pathlib import Path

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


class Opening:
    """A session that is being opened: await it, or enter it with ``async with``.

    Args:
        make: Opens it, in a thread.
    """

    def __init__(self, make: Callable[[], core.Session]) -> None:
        self._make = make
        self._session: Session | None = None

    def __await__(self) -> Generator[object, None, Session]:
        return self._open().__await__()

    async def __aenter__(self) -> Session:
        self._session = await self._open()
        return self._session

    async def __aexit__(self, *exc_info: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def _open(self) -> Session:
        threads = Threads()
        future = threads.submit(self._make)
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
