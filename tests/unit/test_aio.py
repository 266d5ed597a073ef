import asyncio
import threading

import pytest

import prewarm
from prewarm import aio
from prewarm.backends.context import BackendContext
from prewarm.backends.memory import MemoryBackend
from prewarm.definition.model import HostBase
from prewarm.errors import CommandFailedError, SessionGoneError, TemplateNotFoundError
from prewarm.machine import host_platform
from prewarm.session import Stream
from prewarm.testing.builders import seed_file
from prewarm.testing.locks import lock_entry, write_lock
from prewarm.testing.workplace import Workplace


class Bench:
    def __init__(self, root):
        self.home = root / "home"
        self.project = root
        self.killed = []
        self.begun = threading.Semaphore(0)
        self.released = threading.Event()
        commands = {"stubborn": self.stubborn, "held": self.held}
        self.backend = MemoryBackend(BackendContext(home=self.home, environment={}), commands=commands)
        base = self.backend.resolve_base(HostBase(), project=root, platform=host_platform(), sha256=str)
        place = Workplace(self.backend, base, "contract")
        captured = place.publish(place.request(name="analyst", seeds=(seed_file("/workspace/seeded", b"a seed"),)))
        write_lock(root, lock_entry(captured))

    def stubborn(self, call):
        """Run until it is killed, and remember that."""
        self.begun.release()
        try:
            call.sleep(600)
        finally:
            self.killed.append(call.argv)
        return 0

    def held(self, call):
        """Run until it is released."""
        self.begun.release()
        assert self.released.wait(60)
        return 0

    def open(self, **keywords):
        return aio.open_session("analyst", lock=self.project, home=self.home, backend=self.backend, **keywords)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


async def until(fact):
    """Wait until something holds."""
    while not fact():  # noqa: ASYNC110 - what is waited for happens in threads.
        await asyncio.sleep(0.01)


def running(test):
    """Run a test that is a coroutine."""

    def run(bench, tmp_path):
        asyncio.run(asyncio.wait_for(test(bench, tmp_path), 120))

    run.__name__ = test.__name__
    return run


def test_prewarm_offers_it_by_name():
    assert prewarm.aio is aio


@running
async def test_a_session_is_entered_and_removed(bench, tmp_path):
    async with bench.open() as session:
        assert (session.name, session.backend, session.workdir) == ("analyst", "memory", "/workspace")
        assert (await session.run("cat seeded")).stdout == "a seed"
        assert [record.id for record in bench.backend.sessions()] == [session.id]
    assert not bench.backend.sessions()


@running
async def test_a_session_is_awaited_and_closed(bench, tmp_path):
    session = await bench.open(key="k")
    await session.close()
    await session.close()
    assert len(bench.backend.sessions()) == 1
    await session.close(remove=True)
    assert not bench.backend.sessions()


@running
async def test_a_closed_session_cannot_be_used(bench, tmp_path):
    session = await bench.open(key="k")
    await session.close()
    with pytest.raises(SessionGoneError, match="was closed here"):
        await session.run("true")
    with pytest.raises(SessionGoneError, match="was closed here"):
        await session.files.read("seeded")


@running
async def test_a_session_is_found_again(bench, tmp_path):
    async with bench.open(key="k") as session:
        state = session.state()
    async with aio.attach_session(state, home=bench.home, backend=bench.backend) as again:
        assert (again.id, again.key, again.template_key) == (session.id, "k", session.template_key)


@running
async def test_errors_are_those_of_the_core(bench, tmp_path):
    with pytest.raises(TemplateNotFoundError):
        await aio.open_session("nobody", lock=bench.project, home=bench.home)
    async with bench.open() as session:
        with pytest.raises(CommandFailedError):
            await session.run("exit 3", check=True)
        assert (await session.run("sleep 30", timeout=0.1)).timed_out


@running
async def test_commands_run_side_by_side_and_the_loop_goes_on(bench, tmp_path):
    async with bench.open() as session:
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticking = asyncio.create_task(tick())
        running = [asyncio.create_task(session.run(f"held; echo {n}")) for n in range(20)]
        for _ in running:
            await until(lambda: bench.begun.acquire(blocking=False))
        before = ticks
        await until(lambda: ticks > before + 5)
        bench.released.set()
        results = await asyncio.gather(*running)
        ticking.cancel()
        assert [result.stdout for result in results] == [f"{n}\n" for n in range(20)]


@running
async def test_cancelling_a_command_kills_it_before_the_cancellation_goes_on(bench, tmp_path):
    async with bench.open() as session:
        task = asyncio.create_task(session.run("stubborn"))
        await until(lambda: bench.begun.acquire(blocking=False))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: bench.killed)  # The memory backend's command notices by itself; its handle is dead already.
        assert (await session.run("echo alive")).stdout == "alive\n"


@running
async def test_a_timeout_of_asyncio_kills_the_command(bench, tmp_path):
    async with bench.open() as session:

        async def run_until_time_is_up():
            async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as others:
                others.create_task(session.run("stubborn"))
                await until(lambda: bench.begun.acquire(blocking=False))
                limit.reschedule(asyncio.get_running_loop().time())

        with pytest.raises(TimeoutError):
            await run_until_time_is_up()
        await until(lambda: bench.killed)


@running
async def test_a_command_that_waits_for_a_thread_is_cancelled_without_being_run(bench, tmp_path):
    async with bench.open() as session:
        busy = [asyncio.create_task(session.run("held")) for _ in range(64)]
        await until(lambda: bench.begun.acquire(blocking=False))
        waiting = asyncio.create_task(session.run("echo x > /workspace/ran"))
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        bench.released.set()
        await asyncio.gather(*busy)
        assert not await session.files.exists("ran")


@running
async def test_cancelling_an_opening_leaves_no_session_of_nobody(bench, tmp_path):
    entered, cancelled, opened = threading.Event(), threading.Event(), threading.Event()
    opening = bench.backend.open

    def slow(request):
        entered.set()
        assert cancelled.wait(60)
        try:
            return opening(request)
        finally:
            opened.set()

    bench.backend.open = slow
    task = asyncio.create_task(bench.open())
    await until(entered.is_set)
    task.cancel()
    threading.Timer(0.1, cancelled.set).start()  # Whether it waits for the opening or not.
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(opened.is_set)
    await until(lambda: not bench.backend.sessions())


@running
async def test_an_opening_is_a_coroutine_to_asyncio(bench, tmp_path):
    first = asyncio.create_task(bench.open(key="first"))
    second, third = await asyncio.gather(bench.open(key="second"), bench.open(key="third"))
    fourth = await asyncio.wait_for(bench.open(key="fourth"), 60)
    async with asyncio.TaskGroup() as group:
        fifth = group.create_task(aio.attach_session(second.state(), home=bench.home, backend=bench.backend))
    (done,), _ = await asyncio.wait({asyncio.ensure_future(bench.open(key="sixth"))})

    sessions = [await first, second, third, fourth, fifth.result(), done.result()]

    assert [session.key for session in sessions] == ["first", "second", "third", "fourth", "second", "sixth"]
    for session in sessions:
        await session.close(remove=True)
    assert not bench.backend.sessions()


def test_an_opening_runs_as_a_programs_only_task(bench):
    session = asyncio.run(bench.open(key="alone"))

    assert session.key == "alone"
    asyncio.run(session.close(remove=True))


@running
async def test_errors_of_an_opening_come_out_of_its_task(bench, tmp_path):
    task = asyncio.create_task(aio.open_session("nobody", lock=bench.project, home=bench.home, backend=bench.backend))

    with pytest.raises(TemplateNotFoundError, match="nobody"):
        await task


@running
async def test_an_opening_is_awaited_once(bench, tmp_path):
    opening = bench.open()
    session = await opening

    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        await opening
    await session.close(remove=True)


def test_an_opening_that_is_given_up_opens_nothing(bench):
    opening = bench.open()

    opening.close()

    assert not bench.backend.sessions()


@running
async def test_the_files_are_all_there(bench, tmp_path):
    async with bench.open() as session:
        files = session.files
        await files.write("a", "one")
        await files.append("a", b" two")
        assert await files.read("a") == b"one two"
        assert await files.read_text("a") == "one two"
        await files.mkdir("d", mode=0o700)
        await files.rename("a", "d/b")
        assert [info.path for info in await files.list("d")] == ["/workspace/d/b"]
        assert (await files.stat("d")).mode == 0o700
        await files.download("d", tmp_path / "down")
        assert (tmp_path / "down" / "b").read_text() == "one two"
        await files.upload(tmp_path / "down", "up")
        assert await files.exists("up/b")
        await files.remove("up", recursive=True)
        assert not await files.exists("up/b")


@running
async def test_a_spawned_commands_lines_are_iterated(bench, tmp_path):
    async with bench.open() as session, await session.spawn("echo one; echo two >&2; sleep 0.1; echo three") as process:
        lines = [(line.stream, line.text) async for line in process.lines()]
        assert sorted(lines, key=lambda line: line[1]) == [
            (Stream.STDOUT, "one"),
            (Stream.STDOUT, "three"),
            (Stream.STDERR, "two"),
        ]
        assert await process.wait() == 0


@running
async def test_a_spawned_command_is_talked_to(bench, tmp_path):
    async with bench.open() as session, await session.spawn("cat", stdin=True) as process:
        await process.write("hello")
        await process.close_stdin()
        assert b"".join([chunk.data async for chunk in process.chunks()]) == b"hello"
        await process.resize(80, 24)


@running
async def test_a_cancelled_read_loses_nothing(bench, tmp_path):
    async with bench.open() as session, await session.spawn("held; echo late") as process:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await anext(process.chunks())
        bench.released.set()
        assert [line.text async for line in process.lines()] == ["late"]


@running
async def test_leaving_a_spawned_commands_block_kills_it(bench, tmp_path):
    async with bench.open() as session:
        async with await session.spawn("stubborn") as process:
            await until(lambda: bench.begun.acquire(blocking=False))
        assert await process.wait() == 137
        await process.kill()
        await process.close()


@running
async def test_waiting_can_be_given_up(bench, tmp_path):
    async with bench.open() as session, await session.spawn("sleep 30") as process:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await process.wait()
