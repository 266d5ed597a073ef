"""The contract of commands: exact bytes, exact exit codes, everything killed that is to be killed."""

from __future__ import annotations

import threading
import time
from typing import IO

import pytest

from prewarm.backends.context import Feature
from prewarm.backends.hosting import SessionHandle
from prewarm.errors import SessionFailedError
from prewarm.request import CommandResult
from prewarm.testing.harness import Harness, needs
from prewarm.testing.workplace import PATIENCE_S, USER, Captured, Workplace

EVERY_BYTE = bytes(range(256))
# Two grandchildren that outlive their parent, one in a session of its own; each writes that it lives.
HEARTBEATS = """
beat() { while :; do echo . >> "/workspace/beat-$1"; sleep 0.05; done; }
beat one & setsid sh -c 'while :; do echo . >> /workspace/beat-two; sleep 0.05; done' &
while [ ! -s /workspace/beat-one ] || [ ! -s /workspace/beat-two ]; do sleep 0.02; done
echo beating; wait; sleep 600
"""


class ProcessesContract(Harness):
    """``SessionHandle.start`` and ``ProcessHandle``."""

    @pytest.mark.parametrize("exit_code", [0, 1, 3, 42, 125, 255])
    def test_the_exit_code_is_kept(self, place: Workplace, session: SessionHandle, exit_code: int) -> None:
        assert place.run(session, f"exit {exit_code}").exit_code == exit_code

    def test_standard_output_and_error_come_apart(self, place: Workplace, session: SessionHandle) -> None:
        result = place.run(session, "echo out; echo err >&2; echo out again")
        assert (result.stdout, result.stderr) == ("out\nout again\n", "err\n")

    def test_bytes_pass_unchanged(self, place: Workplace, session: SessionHandle) -> None:
        result = place.run(session, ["cat"], stdin=EVERY_BYTE)
        assert (result.exit_code, result.stdout_bytes) == (0, EVERY_BYTE)

    def test_megabytes_pass_unchanged_both_ways_at_once(self, place: Workplace, session: SessionHandle) -> None:
        data = EVERY_BYTE * 16_384
        assert place.run(session, ["cat"], stdin=data).stdout_bytes == data

    def test_without_standard_input_there_is_an_empty_one(self, place: Workplace, session: SessionHandle) -> None:
        result = place.run(session, ["cat"])
        assert (result.exit_code, result.stdout_bytes) == (0, b"")

    def test_a_command_that_does_not_read_its_standard_input_is_fine(
        self, place: Workplace, session: SessionHandle
    ) -> None:
        assert place.run(session, ["true"], stdin=b"x" * 4_000_000).exit_code == 0

    def test_an_argv_is_run_as_it_is(self, place: Workplace, session: SessionHandle) -> None:
        result = place.run(session, ["echo", "a  b", "$HOME", "*", "", "'\"", "ü\n;"])
        assert result.stdout == "a  b $HOME *  '\" ü\n;\n"

    def test_variables_are_given_per_command(self, place: Workplace, session: SessionHandle) -> None:
        one = place.run(session, 'echo "[$COLOUR]"', env={"COLOUR": "dark 'red' $x"})
        two = place.run(session, 'echo "[$COLOUR]"')
        assert (one.stdout, two.stdout) == ("[dark 'red' $x]\n", "[]\n")

    def test_a_command_has_a_path_a_home_and_a_user(self, place: Workplace, session: SessionHandle) -> None:
        home, user, path = place.text(session, 'echo "$HOME"; echo "$USER"; echo "$PATH"').split("\n")
        assert (home, user) == (f"/home/{USER}", USER)
        assert "/usr/bin" in path.split(":")

    def test_this_machines_environment_is_not_there(
        self, place: Workplace, session: SessionHandle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PREWARM_CONTRACT_LEAK", "leaked")
        assert "leaked" not in place.text(session, "env")

    def test_the_working_directory_is_given_per_command(self, place: Workplace, session: SessionHandle) -> None:
        session.files.mkdir("/workspace/sub dir")
        assert place.run(session, "pwd", cwd="/workspace/sub dir").stdout == "/workspace/sub dir\n"
        assert place.run(session, "pwd", cwd="/").stdout == "/\n"

    @needs(Feature.PROCESSES)
    def test_a_user_that_the_session_does_not_know_is_an_error_and_no_output(
        self, place: Workplace, session: SessionHandle
    ) -> None:
        with pytest.raises(SessionFailedError, match="no user 'stranger'"):
            place.run(session, "true", user="stranger")

    @needs(Feature.PROCESSES)
    def test_the_user_is_given_per_command(self, place: Workplace, session: SessionHandle) -> None:
        assert place.run(session, "id -un; id -u").stdout == f"{USER}\n1000\n"
        assert place.run(session, "id -un; echo $HOME", user="root").stdout == "root\n/root\n"
        assert place.run(session, "id -u; id -g", user="1234:2345").stdout == "1234\n2345\n"

    def test_an_unknown_command_is_127(self, place: Workplace, session: SessionHandle) -> None:
        result = place.run(session, ["no-such-program-here", "x"])
        assert result.exit_code == 127
        assert b"no-such-program-here" in result.stderr_bytes
        assert place.run(session, "no-such-program-here").exit_code == 127
        assert place.run(session, ["/no/such/program"]).exit_code == 127

    def test_a_file_that_is_not_executable_is_126(self, place: Workplace, session: SessionHandle) -> None:
        session.files.write("/workspace/plain", b"#!/bin/sh\n", mode=0o644)
        assert place.run(session, ["/workspace/plain"]).exit_code == 126

    def test_a_script_in_the_session_is_run(self, place: Workplace, session: SessionHandle) -> None:
        session.files.write("/workspace/hello", b'#!/bin/sh\necho "hello"\n', mode=0o755)
        assert place.run(session, ["/workspace/hello"]).stdout == "hello\n"

    @needs(Feature.PROCESSES)
    @pytest.mark.parametrize(("signal", "exit_code"), [("TERM", 143), ("KILL", 137), ("SEGV", 139)])
    def test_death_by_signal_is_128_and_its_number(
        self, place: Workplace, session: SessionHandle, signal: str, exit_code: int
    ) -> None:
        assert place.run(session, f"kill -{signal} $$").exit_code == exit_code

    def test_time_up_ends_a_command(self, place: Workplace, session: SessionHandle) -> None:
        began = time.monotonic()
        result = _until_it_speaks(place, session, "echo begun; sleep 600")
        assert time.monotonic() - began < 2 * PATIENCE_S
        assert (result.exit_code, result.timed_out, result.stdout) == (124, True, "begun\n")
        assert place.text(session, "echo alive") == "alive"

    @needs(Feature.PROCESSES)
    def test_time_up_ends_all_descendants(self, place: Workplace, session: SessionHandle) -> None:
        result = _until_it_speaks(place, session, HEARTBEATS)
        assert (result.timed_out, result.stdout) == (True, "beating\n")
        assert _is_silent(session)

    @needs(Feature.PROCESSES)
    def test_a_kill_ends_all_descendants_and_nothing_else(self, place: Workplace, session: SessionHandle) -> None:
        bystander = place.start(session, "echo up; sleep 600")
        process = place.start(session, HEARTBEATS)
        assert _read(bystander.stdout, 3) == b"up\n"
        assert _read(process.stdout, 8) == b"beating\n"
        process.kill()
        assert process.wait(PATIENCE_S) == 137
        assert _is_silent(session)
        assert bystander.wait(0) is None
        for one in (process, bystander):
            one.kill()
            one.close()

    def test_output_beyond_the_cap_is_dropped(self, place: Workplace, session: SessionHandle) -> None:
        result = place.run(session, ["cat"], stdin=b"x" * 300_000, max_output=1000)
        assert (result.exit_code, result.truncated, result.stdout_bytes) == (0, True, b"x" * 1000)

    def test_waiting_twice_gives_the_same(self, place: Workplace, session: SessionHandle) -> None:
        process = place.start(session, "exit 5")
        assert (process.wait(PATIENCE_S), process.wait(PATIENCE_S), process.wait(0), process.wait()) == (5, 5, 5, 5)
        process.close()

    def test_waiting_gives_none_when_time_is_up(self, place: Workplace, session: SessionHandle) -> None:
        process = place.start(session, "sleep 600")
        assert process.wait(0) is None
        assert process.wait(0.2) is None
        process.kill()
        assert process.wait(PATIENCE_S) == 137
        process.close()

    def test_killing_twice_and_closing_twice_is_fine(self, place: Workplace, session: SessionHandle) -> None:
        process = place.start(session, "sleep 600", stdin=True)
        process.kill()
        process.kill()
        process.close()
        process.close()
        process.kill()
        assert process.wait(PATIENCE_S) == 137

    def test_killing_what_has_ended_does_not_change_its_exit_code(
        self, place: Workplace, session: SessionHandle
    ) -> None:
        process = place.start(session, "exit 5")
        assert process.wait(PATIENCE_S) == 5
        process.kill()
        assert process.wait(0) == 5
        process.close()

    def test_a_command_is_talked_to_while_it_runs(self, place: Workplace, session: SessionHandle) -> None:
        if Feature.PROCESSES not in place.backend.features:
            pytest.skip(f"{place.backend.name} has no processes")
        process = place.start(session, "while read line; do echo got $line; done; echo end", stdin=True)
        assert process.stdin is not None
        for word in (b"one", b"two"):
            process.stdin.write(word + b"\n")
            process.stdin.flush()
            assert _read(process.stdout, 8) == b"got " + word + b"\n"
        process.stdin.close()
        assert _read(process.stdout, 4) == b"end\n"
        assert process.wait(PATIENCE_S) == 0
        process.close()

    def test_concurrent_commands_do_not_mix(self, place: Workplace, session: SessionHandle) -> None:
        got: dict[int, tuple[str, str, int]] = {}

        def work(number: int) -> None:
            text = "; ".join(f"echo out {number}; echo err {number} >&2" for _ in range(20))
            result = place.run(session, f"{text}; exit {number}")
            got[number] = (result.stdout, result.stderr, result.exit_code)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert got == {n: (f"out {n}\n" * 20, f"err {n}\n" * 20, n) for n in range(8)}

    @needs(Feature.PROCESSES)
    def test_what_runs_in_the_background_lives_on_between_commands(
        self, place: Workplace, session: SessionHandle
    ) -> None:
        began = time.monotonic()
        place.text(session, "sleep 600 > /dev/null 2>&1 & echo $! > /workspace/pid")
        assert time.monotonic() - began < PATIENCE_S
        assert place.text(session, "kill -0 $(cat /workspace/pid) && echo alive") == "alive"

    @needs(Feature.PROCESSES)
    def test_a_background_command_that_holds_the_output_is_not_waited_for(
        self, place: Workplace, session: SessionHandle
    ) -> None:
        began = time.monotonic()
        result = place.run(session, "sleep 600 & echo done")
        assert time.monotonic() - began < PATIENCE_S
        assert (result.exit_code, result.stdout, result.timed_out) == (0, "done\n", False)

    @needs(Feature.PROCESSES)
    def test_a_background_command_that_writes_for_ever_is_not_waited_for(
        self, place: Workplace, session: SessionHandle
    ) -> None:
        result = place.run(session, "yes & echo $! > /workspace/pid; exit 5", max_output=1000)
        place.run(session, "kill $(cat /workspace/pid)")
        assert (result.exit_code, result.timed_out) == (5, False)

    @needs(Feature.PROCESSES)
    def test_nothing_of_a_command_is_left_as_a_zombie(self, place: Workplace, session: SessionHandle) -> None:
        for _ in range(5):
            place.text(session, "(sleep 0.01 &) ; true")
        place.await_line(session, "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c 'sleep 0[.]01'", "0")
        place.await_line(session, "cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z '", "0")

    @needs(Feature.TERMINAL)
    def test_a_terminal_has_its_size_and_can_change_it(self, place: Workplace, session: SessionHandle) -> None:
        process = place.start(session, "test -t 0 && test -t 1 && stty size; read x; stty size", terminal=(91, 37))
        assert _read_line(process.stdout) == b"37 91"
        process.resize(111, 55)
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
        assert _read_line(process.stdout) == b"go"
        assert _read_line(process.stdout) == b"55 111"
        assert process.wait(PATIENCE_S) == 0
        process.close()

    @needs(Feature.PROCESSES)
    def test_a_command_has_no_capability_and_can_gain_none(self, place: Workplace, template: Captured) -> None:
        session = place.open(template)
        text = place.text(session, "grep -E '^(CapEff|NoNewPrivs)' /proc/self/status")
        assert text.split() == ["CapEff:", "0000000000000000", "NoNewPrivs:", "1"]


def _until_it_speaks(place: Workplace, session: SessionHandle, command: str) -> CommandResult:
    """Run a command until its time is up: a short one, or a longer one where this machine is too slow for its first word."""
    for timeout in (1.0, 8.0, 50.0):
        result = place.run(session, command, timeout=timeout)
        if result.stdout:
            break
    return result


def _is_silent(session: SessionHandle) -> bool:
    def sizes() -> list[int]:
        return [session.files.stat(f"/workspace/beat-{name}").size for name in ("one", "two")]

    time.sleep(0.2)
    before = sizes()
    time.sleep(0.6)
    return sizes() == before


def _read_line(stream: IO[bytes]) -> bytes:
    line = b""
    while not line.endswith(b"\n") and (byte := stream.read(1)):
        line += byte
    return line.rstrip(b"\r\n")


def _read(stream: IO[bytes], count: int) -> bytes:
    data = b""
    while len(data) < count and (more := stream.read(count - len(data))):
        data += more
    return data
