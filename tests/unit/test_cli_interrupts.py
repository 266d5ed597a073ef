"""Ctrl-C counts every time, a terminal closes once, and neither hurts what is being made or printed."""

import signal
import subprocess
import sys

import pytest

_BEGIN = """
import os, signal, sys
from prewarm.cli import _interrupts

def send(*numbers):
    for number in numbers:
        os.kill(os.getpid(), number)

_interrupts.listen()
"""


def _run(code):
    done = subprocess.run(
        [sys.executable, "-c", _BEGIN + code],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_each_ends_the_command_as_ctrl_c_does(number):
    assert _run(f"try: send(signal.{number})\nexcept KeyboardInterrupt: print('ended')") == "ended\n"


def test_a_terminal_that_closes_is_said_to_have_closed_once():
    code = "try: send(signal.SIGHUP)\nexcept KeyboardInterrupt: send(signal.SIGHUP, signal.SIGHUP); print('let go')"
    assert _run(code) == "let go\n"


def test_a_second_ctrl_c_counts_too():
    code = """
try:
    try: send(signal.SIGINT)
    except KeyboardInterrupt: send(signal.SIGINT)
except KeyboardInterrupt: print('twice')
"""
    assert _run(code) == "twice\n"


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("signal.SIGINT", "made ended "),
        ("signal.SIGINT, signal.SIGINT", "ended "),
        ("signal.SIGHUP, signal.SIGHUP", "made ended quiet "),
    ],
)
def test_what_is_held_back_counts_when_it_is_made(sent, told):
    code = f"""
try:
    with _interrupts.held_back():
        send({sent})
        print("made", end=" ")
    print("never", end=" ")
except KeyboardInterrupt:
    print("ended", end=" ")
if signal.SIGHUP in ({sent},):
    send(signal.SIGHUP)
    print("quiet", end=" ")
"""
    assert _run(code) == told


def test_what_is_ignored_stays_ignored():
    code = """
signal.signal(signal.SIGHUP, signal.SIG_IGN)
_interrupts.listen()
with _interrupts.held_back():
    send(signal.SIGHUP)
_interrupts.hear_no_more()
send(signal.SIGHUP)
print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)
"""
    assert _run(code) == "True\n"


def test_ctrl_c_at_the_very_end_changes_nothing():
    code = "import atexit; _interrupts.hear_no_more_at_all(); atexit.register(send, signal.SIGINT); sys.exit('decided')"
    assert _run(code) == "decided\n"
