"""One thing for several at a time: order, bounds, failures, and stopping."""

import signal
import threading
import time

import pytest

from prewarm.cancellation import Cancellation
from prewarm.capture.several import each
from prewarm.errors import InterruptedBuildError


def test_results_come_in_the_order_of_the_items():
    def work(item):
        time.sleep(0.02 * (4 - item))
        return item * 10

    done = each([1, 2, 3, 4], work, jobs=4, cancellation=Cancellation())

    assert [one.value for one in done] == [10, 20, 30, 40]
    assert all(one.seconds > 0 for one in done)


@pytest.mark.parametrize(("jobs", "expected"), [(1, 1), (2, 2), (9, 4)])
def test_no_more_than_asked_for_run_at_a_time(jobs, expected):
    running, most, guard, together = 0, 0, threading.Lock(), threading.Barrier(expected, timeout=60)

    def work(_item):
        nonlocal running, most
        with guard:
            running += 1
            most = max(most, running)
        together.wait()
        time.sleep(0.01)
        with guard:
            running -= 1

    each(range(4), work, jobs=jobs, cancellation=Cancellation())

    assert most == expected


def test_a_failure_does_not_stop_the_others():
    def work(item):
        if item == 1:
            raise ValueError("no")
        return item

    done = each([0, 1, 2], work, jobs=1, cancellation=Cancellation())

    assert [one.value for one in done] == [0, None, 2]
    assert isinstance(done[1].error, ValueError)


def test_nothing_is_done_for_nobody():
    assert each([], str, jobs=4, cancellation=Cancellation()) == []


def test_ctrl_c_stops_what_runs_and_what_has_not_begun():
    cancellation, begun, together = Cancellation(), [], threading.Barrier(2, timeout=60)

    def work(item):
        begun.append(item)
        together.wait()
        if item == 0:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        while True:
            cancellation.check()
            time.sleep(0.01)

    done = each([0, 1, 2, 3], work, jobs=2, cancellation=cancellation)

    assert cancellation.cancelled
    assert sorted(begun) == [0, 1]
    assert all(isinstance(one.error, InterruptedBuildError) for one in done)


def test_ctrl_c_pressed_over_and_over_is_not_raised_either():
    cancellation = Cancellation()

    def work(_item):
        for _ in range(100):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            time.sleep(0.001)
        cancellation.check()

    done = each([0, 1], work, jobs=1, cancellation=cancellation)

    assert cancellation.cancelled
    assert all(isinstance(one.error, InterruptedBuildError) for one in done)


def test_ctrl_c_between_two_results_is_not_raised_either():
    class Pressed(Cancellation):
        """Ctrl-C comes as it is asked."""

        asked = 0

        @property
        def cancelled(self):
            self.asked += 1
            if self.asked == 1:
                raise KeyboardInterrupt
            return super().cancelled

    cancellation = Pressed()

    def work(_item):
        while True:
            cancellation.check()
            time.sleep(0.01)

    (done,) = each([0], work, jobs=1, cancellation=cancellation)

    assert isinstance(done.error, InterruptedBuildError)


def test_what_does_not_hear_is_left_behind(monkeypatch):
    monkeypatch.setattr("prewarm.capture.several._GRACE_S", 0.3)
    cancellation, never = Cancellation(), threading.Event()
    threading.Timer(0.1, cancellation.cancel).start()

    (done,) = each([0], lambda _: never.wait(30), jobs=1, cancellation=cancellation)
    never.set()

    assert isinstance(done.error, InterruptedBuildError)
