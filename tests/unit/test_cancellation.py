"""A cancellation is said once, and reaches all that waits."""

from __future__ import annotations

import threading

import pytest

from prewarm.cancellation import Cancellation
from prewarm.errors import InterruptedBuildError


def test_work_goes_on_until_it_is_cancelled():
    cancellation = Cancellation()
    cancellation.check()
    cancellation.cancel()
    with pytest.raises(InterruptedBuildError, match="interrupted"):
        cancellation.check()


def test_what_is_registered_is_called_once():
    cancellation, called = Cancellation(), []
    with cancellation.calling(lambda: called.append("a")), cancellation.calling(lambda: called.append("b")):
        cancellation.cancel()
        cancellation.cancel()
    assert sorted(called) == ["a", "b"]


def test_what_has_ended_is_not_called():
    cancellation, called = Cancellation(), []
    with cancellation.calling(lambda: called.append("a")):
        pass
    cancellation.cancel()
    assert called == []


def test_what_begins_after_the_cancellation_is_stopped_at_once():
    cancellation, called = Cancellation(), []
    cancellation.cancel()
    with cancellation.calling(lambda: called.append("a")):
        assert called == ["a"]


def test_one_that_cannot_be_stopped_does_not_keep_the_others_running():
    cancellation, called = Cancellation(), []

    def fail() -> None:
        raise OSError("gone")

    def add(name: str):
        return cancellation.calling(lambda: called.append(name))

    with add("a"), cancellation.calling(fail), add("b"), pytest.raises(OSError, match="gone"):
        cancellation.cancel()
    assert sorted(called) == ["a", "b"]


def test_another_thread_is_woken():
    cancellation, ended, began = Cancellation(), threading.Event(), threading.Event()

    def work() -> None:
        with cancellation.calling(ended.set):
            began.set()
            ended.wait(30)

    worker = threading.Thread(target=work)
    worker.start()
    began.wait(30)
    cancellation.cancel()
    worker.join(30)
    assert ended.is_set()


def test_a_second_interrupt_does_not_end_what_the_first_has_begun():
    cancellation, going, release, done = Cancellation(), threading.Event(), threading.Event(), threading.Event()

    def stop() -> None:
        going.set()
        assert release.wait(60)
        done.set()

    with cancellation.calling(stop):
        cancellation.cancel_aside()  # Comes back while it is still stopping: an interrupt now hits nothing of that.
        assert cancellation.cancelled
        assert going.wait(60)
        cancellation.cancel_aside()
        assert not done.is_set()
        release.set()
        assert done.wait(60)
