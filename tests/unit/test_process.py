"""Child processes: how they end is data, what they wrote is exact, what they started dies with them."""

import os
import signal
import time

from prewarm import process
from prewarm.process import Command, Redactor, run


def test_both_streams_and_the_exit_code_come_back():
    outcome = run(Command(argv=("sh", "-c", "echo out; echo err >&2; exit 3")))
    assert (outcome.exit_code, outcome.stdout, outcome.stderr, outcome.ok) == (3, b"out\n", b"err\n", False)


def test_large_input_and_output_do_not_deadlock():
    data = os.urandom(1 << 20)
    assert run(Command(argv=("cat",), stdin=data)).stdout == data


def test_a_program_that_does_not_read_its_input_is_no_failure():
    assert run(Command(argv=("true",), stdin=b"x" * (1 << 20))).ok


def test_a_timeout_kills_the_group():
    for timeout_s in (0.5, 5, 60):  # The shell has to have begun.
        outcome = run(Command(argv=("sh", "-c", "sleep 300 & echo $!; sleep 300"), timeout_s=timeout_s))
        if outcome.stdout:
            break
    assert outcome.timed_out
    grandchild = int(outcome.stdout)
    deadline = time.monotonic() + 60
    while _alive(grandchild) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _alive(grandchild)


def test_a_background_child_that_holds_the_stream_does_not_hold_the_caller():
    outcome = run(Command(argv=("sh", "-c", "sleep 300 & echo $!"), timeout_s=120))
    os.kill(int(outcome.stdout), signal.SIGKILL)
    assert outcome.ok
    assert outcome.seconds < 60


def test_output_past_the_cap_is_dropped_and_said():
    outcome = run(Command(argv=("sh", "-c", "head -c 5000 /dev/zero"), output_cap=100))
    assert (len(outcome.stdout), outcome.truncated, outcome.exit_code) == (100, True, 0)


def test_an_unknown_program_is_127_and_no_exception():
    assert run(Command(argv=("no-such-program-here",))).exit_code == 127


def test_a_program_that_is_not_executable_is_126(tmp_path):
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    assert run(Command(argv=(str(tmp_path / "plain"),))).exit_code == 126


def test_death_by_signal_is_128_and_the_number_and_has_its_name():
    outcome = run(Command(argv=("sh", "-c", "kill -KILL $$")))
    assert outcome.exit_code == 137
    assert "killed by SIGKILL" in outcome.describe()


def test_a_description_hides_secrets():
    outcome = run(Command(argv=("sh", "-c", "echo pa55word >&2; exit 1"), secrets=frozenset({"pa55word"})))
    assert outcome.describe() == "sh exited 1: ***"


def test_each_line_of_a_secret_is_hidden_and_short_values_are_not():
    redact = Redactor(["first-line\nsecond-line", "ab"])
    assert redact("x second-line ab first-line") == "x *** ab ***"


def test_closing_a_child_that_runs_kills_it():
    with process.start(("sleep", "300")) as child:
        pid = child.pid
    assert not _alive(pid)
    child.kill()
    child.close()


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_program_is_found_where_it_is_searched_first(tmp_path):
    program = tmp_path / "sh"
    program.write_text("#!/bin/true\n")
    assert process.find_program("sh", str(tmp_path)) != str(program)
    program.chmod(0o755)
    assert process.find_program("sh", str(tmp_path)) == str(program)


def test_a_program_is_found_on_this_processs_own_path():
    assert process.find_program("sh").endswith("/sh")
    assert process.find_program("sh", "").endswith("/sh")


def test_a_program_that_is_nowhere_is_not_found():
    assert process.find_program("no-such-program-anywhere") is None
