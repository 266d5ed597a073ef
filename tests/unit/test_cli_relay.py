"""Bytes to and from a command: all of them, as they come, until it ends; a terminal given back in any case."""

import os
import pty
import select
import signal
import sys
import termios
import time
from pathlib import Path

import pytest

from prewarm import process
from prewarm.cli import _relay

DRIVER = """
import fcntl, os, pty, signal, struct, sys, termios, time
from prewarm.cli import _relay

class OnTerminal:
    # A command of this machine on a pty of its own, as a backend would start it.
    def __init__(self, argv):
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.execvp(argv[0], argv)
        self.code = None
        self.stdin = os.fdopen(os.dup(self.master), 'wb', buffering=0)
        self.stdout = os.fdopen(self.master, 'rb', buffering=0)
        self.stderr = open(os.devnull, 'rb')
    def resize(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
    def wait(self, timeout=None):
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            elif deadline is not None and time.monotonic() >= deadline:
                return None
            else:
                time.sleep(0.01)
        return self.code
    def kill(self):
        if self.code is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.wait()

sys.exit(_relay.relay(OnTerminal(sys.argv[1:]), terminal=True))
"""


class Piped:
    """A command of this machine as a backend would start it: a child whose size nobody asks for."""

    def __init__(self, *argv):
        self.child = process.start(argv, stdin=process.PIPE)
        self.stdin, self.stdout, self.stderr = self.child.stdin, self.child.stdout, self.child.stderr
        self.killed = False

    def wait(self, timeout=None):
        return self.child.wait(timeout)

    def kill(self):
        self.killed = True
        self.child.kill()

    def resize(self, columns, rows):
        raise AssertionError("without a terminal there is no size")


@pytest.fixture
def feed(monkeypatch, tmp_path):
    opened = []

    def feed(data):
        path = tmp_path / "stdin"
        path.write_bytes(data)
        opened.append(path.open("rb"))
        monkeypatch.setattr(sys, "stdin", opened[-1])

    yield feed
    for stream in opened:
        stream.close()


@pytest.fixture
def piped():
    started = []

    def start(*argv):
        started.append(Piped(*argv))
        return started[-1]

    yield start
    for one in started:
        one.child.kill()
        one.child.close()


def test_streams_stay_apart_and_the_exit_code_is_kept(feed, piped, capfdbinary):
    feed(b"")
    assert _relay.relay(piped("/bin/sh", "-c", "echo out; echo err >&2; exit 42"), terminal=False) == 42
    assert capfdbinary.readouterr() == (b"out\n", b"err\n")


def test_ten_megabytes_of_input_come_back_exactly(feed, piped, capfdbinary):
    data = os.urandom(1 << 20) * 10
    feed(data)
    assert _relay.relay(piped("cat"), terminal=False) == 0
    assert capfdbinary.readouterr().out == data


def test_a_command_that_reads_nothing_does_not_wait_for_its_input(feed, piped):
    feed(b"x" * (8 << 20))
    assert _relay.relay(piped("true"), terminal=False) == 0


def test_what_a_command_leaves_behind_is_not_waited_for(feed, piped, capfdbinary):
    feed(b"")
    began = time.monotonic()
    assert _relay.relay(piped("/bin/sh", "-c", "sleep 300 & echo started"), terminal=False) == 0
    assert time.monotonic() - began < 60
    assert capfdbinary.readouterr().out == b"started\n"


def test_a_reader_that_goes_away_ends_the_command(feed, piped, monkeypatch):
    feed(b"")
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        command = piped("yes")
        with pytest.raises(BrokenPipeError):
            _relay.relay(command, terminal=False)
    assert command.killed


class Terminal:
    """This machine's side of a pty on which the driver runs: 24 rows of 80 columns."""

    def __init__(self, *argv):
        reading, writing = os.pipe()
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.read(reading, 1)
            os.execv(sys.executable, [sys.executable, "-c", DRIVER, *argv])
        self.before = termios.tcgetattr(self.master)
        os.write(writing, b"+")
        os.close(reading)
        os.close(writing)
        self.seen = b""

    def wait_for(self, wanted, timeout=60.0):
        deadline = time.monotonic() + timeout
        while wanted not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"{wanted!r} did not come: {self.seen!r}"
            if select.select([self.master], [], [], min(left, 0.1))[0]:
                try:
                    self.seen += os.read(self.master, 65536)
                except OSError:
                    time.sleep(0.05)

    def send(self, data):
        os.write(self.master, data)

    def end(self):
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    @property
    def is_raw(self):
        return not termios.tcgetattr(self.master)[3] & termios.ICANON


@pytest.fixture
def terminal():
    made = []

    def make(*argv):
        made.append(Terminal(*argv))
        return made[-1]

    yield make
    for one in made:
        os.close(one.master)


def test_a_terminal_is_raw_meanwhile_and_given_back_with_the_exit_code(terminal):
    shell = terminal("/bin/sh", "-c", "echo ready; read answer; echo got $answer; exit 7")
    shell.wait_for(b"ready")
    assert shell.is_raw
    shell.send(b"fine\r")
    shell.wait_for(b"got fine")
    assert shell.end() == 7
    assert termios.tcgetattr(shell.master) == shell.before


def test_control_c_goes_to_the_command_and_not_to_us(terminal):
    shell = terminal("/bin/sh", "-c", "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.1; done")
    shell.wait_for(b"ready")
    shell.send(b"\x03")
    shell.wait_for(b"caught")
    assert shell.end() == 3


def test_the_size_of_the_terminal_is_passed_on_when_it_changes(terminal):
    shell = terminal("/bin/sh", "-c", "trap 'stty size' WINCH; echo ready; while :; do sleep 0.1; done")
    shell.wait_for(b"ready")
    termios.tcsetwinsize(shell.master, (31, 97))
    os.kill(shell.pid, signal.SIGWINCH)
    shell.wait_for(b"31 97")
    os.kill(shell.pid, signal.SIGTERM)
    shell.end()


def test_a_terminal_is_given_back_when_we_are_interrupted(terminal):
    shell = terminal("/bin/sh", "-c", "echo ready $$; sleep 600")
    shell.wait_for(b"ready")
    os.kill(shell.pid, signal.SIGINT)
    shell.end()
    assert termios.tcgetattr(shell.master) == shell.before
    inside = int(shell.seen.split(b"ready ")[1].split()[0])
    assert not Path(f"/proc/{inside}").exists()
