"""The contract of captures that fail: with the step, its exit code and its last lines, and without a trace."""

from __future__ import annotations

import time

import pytest

from prewarm.backends.base import Backend
from prewarm.backends.context import Feature
from prewarm.errors import StepFailedError
from prewarm.request import BootstrapSession, CaptureStep
from prewarm.testing.builders import hook, script, shell
from prewarm.testing.fakes import RecordingObserver
from prewarm.testing.harness import Harness, needs
from prewarm.testing.workplace import USER, Workplace

SECRET = "swordfish-9b1c"  # noqa: S105 - what the tests look for.
_TIMES = (1.0, 5.0, 25.0)  # A machine under load may need some of it to get as far as the step's first word.
_NOT_TO_ITS_END_S = 200.0


class FailingContract(Harness):
    """Any exit but 0 fails the capture."""

    @pytest.mark.parametrize("exit_code", [1, 2, 100, 126, 127])
    def test_a_step_that_does_not_exit_with_0_fails_the_capture(self, place: Workplace, exit_code: int) -> None:
        error = _failure(place, shell("echo first"), shell(f"echo last words; exit {exit_code}"))
        assert error.step == 2
        assert error.command_exit_code == exit_code
        assert error.reason == f"exited {exit_code}"
        assert error.text == f"echo last words; exit {exit_code}"
        assert error.tail == ("last words",)
        assert "subject" in error.message

    def test_an_unknown_command_fails_the_capture(self, place: Workplace) -> None:
        error = _failure(place, shell("no-such-program-here"))
        assert error.command_exit_code == 127
        assert any("not found" in line for line in error.tail)

    def test_a_failing_script_fails_the_capture(self, place: Workplace) -> None:
        error = _failure(place, script("echo in a script; exit 9\n"))
        assert (error.command_exit_code, error.tail) == (9, ("in a script",))

    def test_a_failing_command_of_a_hook_fails_the_capture(self, place: Workplace) -> None:
        def warm(sandbox: BootstrapSession) -> None:
            sandbox.run("echo in a hook; exit 8")

        error = _failure(place, hook(warm))
        assert (error.command_exit_code, error.tail) == (8, ("in a hook",))

    def test_the_first_failing_line_of_a_step_ends_it(self, place: Workplace) -> None:
        error = _failure(place, shell("false\necho went on"))
        assert "went on" not in error.tail

    def test_no_step_runs_after_one_that_failed(self, place: Workplace) -> None:
        observer = RecordingObserver()
        request = place.request(shell("exit 1"), shell("echo went on"))
        with pytest.raises(StepFailedError), place.backend.capture(request, observer):
            pytest.fail("the capture went on")
        assert [number for number, _, _ in observer.steps] == [1]

    def test_the_last_40_lines_are_kept(self, place: Workplace) -> None:
        lines = "; ".join(f"echo line {number}" for number in range(60))
        error = _failure(place, shell(f"{lines}; exit 1"))
        assert error.tail == tuple(f"line {number}" for number in range(20, 60))

    def test_a_secret_is_hidden_in_the_failure(self, place: Workplace) -> None:
        if Feature.SECRETS not in place.backend.features:
            pytest.skip(f"{place.backend.name} has no secrets")
        error = _failure(
            place, shell("cat /run/secrets/token; echo; exit 1", secrets=("token",)), secrets={"token": SECRET.encode()}
        )
        assert SECRET not in f"{error} {error.tail} {error.text} {error.hint}"
        assert error.tail == ("***",)

    def test_a_failed_capture_leaves_nothing(self, place: Workplace, backend: Backend) -> None:
        before = set(self.leftovers(backend, place.namespace))
        request = place.request(shell("echo x > /workspace/x; exit 1"))
        with pytest.raises(StepFailedError), backend.capture(request, RecordingObserver()):
            pytest.fail("the capture went on")
        assert backend.find(place.namespace, request.key) is None
        assert not self.litter(backend, place.namespace)
        assert set(self.leftovers(backend, place.namespace)) <= before

    def test_a_step_that_takes_too_long_fails_the_capture(self, place: Workplace) -> None:
        for timeout_s in _TIMES:
            began = time.monotonic()
            error = _failure(place, shell("echo begun; sleep 600", timeout_s=timeout_s))
            assert time.monotonic() - began < _NOT_TO_ITS_END_S
            if error.tail:
                break
        assert error.command_exit_code is None
        assert "timed out" in error.reason
        assert error.tail == ("begun",)
        assert error.hint

    def test_a_capture_that_takes_too_long_fails(self, place: Workplace) -> None:
        began = time.monotonic()
        error = _failure(place, shell("sleep 600"), timeout_s=1.0)
        assert time.monotonic() - began < _NOT_TO_ITS_END_S
        assert "timed out" in error.reason

    @needs(Feature.PROCESSES)
    def test_death_by_signal_fails_the_capture(self, place: Workplace) -> None:
        error = _failure(place, shell("echo dying; kill -9 $$"))
        assert error.command_exit_code == 137
        assert error.reason == "killed by SIGKILL"
        assert error.tail == ("dying",)

    @needs(Feature.PROCESSES)
    def test_a_step_may_not_do_what_its_user_may_not(self, place: Workplace) -> None:
        error = _failure(place, shell("echo x > /usr/x", user=USER))
        assert error.command_exit_code in {1, 2}


def _failure(
    place: Workplace, *steps: CaptureStep, secrets: dict[str, bytes] | None = None, timeout_s: float = 120.0
) -> StepFailedError:
    request = place.request(*steps, secrets=secrets, timeout_s=timeout_s)
    with pytest.raises(StepFailedError) as caught, place.backend.capture(request, RecordingObserver()):
        pytest.fail("the capture went on")
    return caught.value
