import os
import select
import threading
import time

from prewarm.streams import collect


class Pipes:
    """A process that is two pipes and an exit code; a test writes and ends it."""

    def __init__(self):
        out, self.out = os.pipe()
        err, self.err = os.pipe()
        self.stdout, self.stderr, self.stdin = os.fdopen(out, "rb"), os.fdopen(err, "rb"), None
        self.exit_code = None

    def wait(self, timeout=None):
        return self.exit_code

    def close_writers(self):
        for descriptor in (self.out, self.err):
            os.close(descriptor)

    def close(self):
        self.stdout.close()
        self.stderr.close()


def collected(writing, **keywords):
    """Collect from pipes while a thread writes to them; give what was collected, and how long it took."""
    pipes = Pipes()
    thread = threading.Thread(target=writing, args=(pipes,))
    thread.start()
    began = time.monotonic()
    try:
        return collect(pipes, **keywords), time.monotonic() - began
    finally:
        pipes.close()
        thread.join()


def test_both_streams_are_read_to_their_ends():
    def writing(pipes):
        os.write(pipes.out, b"out")
        os.write(pipes.err, b"err")
        pipes.close_writers()

    got, _ = collected(writing)
    assert (got.stdout, got.stderr, got.timed_out, got.truncated) == (b"out", b"err", False, False)


def test_each_stream_has_its_own_hearer():
    heard = []

    def writing(pipes):
        os.write(pipes.out, b"out")
        os.write(pipes.err, b"err")
        pipes.close_writers()

    collected(writing, on_output=lambda c: heard.append(("out", c)), on_error=lambda c: heard.append(("err", c)))
    assert sorted(heard) == [("err", b"err"), ("out", b"out")]


def test_one_hearer_hears_both():
    heard = []

    def writing(pipes):
        os.write(pipes.out, b"out")
        os.write(pipes.err, b"err")
        pipes.close_writers()

    collected(writing, on_output=heard.append)
    assert sorted(heard) == [b"err", b"out"]


def test_streams_held_open_in_silence_are_not_waited_for():
    def writing(pipes):
        os.write(pipes.out, b"out")
        pipes.exit_code = 0

    got, took = collected(writing)
    assert (got.stdout, got.timed_out) == (b"out", False)
    assert took < 30


def test_output_that_is_late_is_waited_for_while_it_comes():
    def writing(pipes):
        pipes.exit_code = 0
        for _ in range(10):
            os.write(pipes.out, b"x")
            time.sleep(0.1)
        pipes.close_writers()

    got, _ = collected(writing)
    assert got.stdout == b"x" * 10


def test_output_that_never_ends_is_not_waited_for_for_ever():
    def writing(pipes):
        pipes.exit_code = 0
        try:
            while True:
                os.write(pipes.out, b"x" * 1000)
                time.sleep(0.001)
        except BrokenPipeError:
            pipes.close_writers()

    got, took = collected(writing, cap=10)
    assert (got.stdout, got.timed_out, got.truncated) == (b"x" * 10, False, True)
    assert took < 60


def test_time_up_is_told_with_what_came_until_then():
    def writing(pipes):
        os.write(pipes.out, b"out")
        reader = select.poll()
        reader.register(pipes.out, 0)
        reader.poll()  # Until nobody reads any more.
        pipes.close_writers()

    got, _ = collected(writing, deadline=time.monotonic() + 1)
    assert (got.stdout, got.timed_out) == (b"out", True)
