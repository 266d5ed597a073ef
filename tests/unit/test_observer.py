"""Observing one capture: whose lines, which seconds, no secrets."""

from __future__ import annotations

from building import Listener

from prewarm.backends.base import Phase
from prewarm.capture.observer import PhaseClock


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_each_phase_has_its_seconds_up_to_now():
    clock = Clock()
    observed = PhaseClock("a", progress=Listener(), redact=str, clock=clock)
    for phase, seconds in [(Phase.SEED, 2.0), (Phase.BOOTSTRAP, 3.0), (Phase.SEED, 1.0)]:
        observed.phase(phase)
        clock.now += seconds
    assert observed.seconds == {"seed": 3.0, "bootstrap": 3.0}


def test_time_before_the_first_phase_is_nobodys():
    clock = Clock()
    observed = PhaseClock("a", progress=Listener(), redact=str, clock=clock)
    clock.now = 5.0
    assert observed.seconds == {}


def test_steps_and_lines_are_passed_on_redacted_under_the_sandboxs_name():
    listener = Listener()
    observed = PhaseClock("a", progress=listener, redact=lambda text: text.replace("hunter22", "***"))
    observed.step(1, 2, "login hunter22")
    observed.line("said hunter22")
    assert (listener.steps, listener.lines) == ([("a", "login ***")], [("a", "said ***")])
