"""On a terminal: rows that neither tear nor stay, a shell that has the terminal. Elsewhere: plain lines and a heartbeat."""

import os
import re
import signal
import termios
from pathlib import Path

import pytest
from screen import Screen
from stories import COMMAND

HELD = ("sleep", "1002")
NOISE_HELD = ("sleep", "1003")


def _hold(story):
    """Have the steps go on only when they are let go: the noisy one after its third line."""
    story.edit("prewarm.yaml", "sleep 2", f"{' '.join(HELD)} || true")
    story.edit("prewarm.yaml", "sleep 0.3", f"test $n != 3 || {' '.join(NOISE_HELD)} || true; sleep 0.1")


def _rows(screen):
    """Count the rows of the noisy one and of the slow one."""
    return tuple(sum(f"{name}  bootstrap 1/1" in line for line in screen.lines) for name in ("noisy", "slow"))


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (40, 24)])
def test_rows_while_it_builds_and_one_line_each_when_it_is_done(story, columns, rows):
    _hold(story)
    screen = story.screen("build", "--jobs", "2", columns=columns, rows=rows)
    screen.wait_for("line 3")
    screen.wait_for("working on it")
    screen.wait_until(lambda: _rows(screen) == (1, 1), "one row each")
    assert all(len(line) <= columns for line in screen.lines)
    story.let_go(*HELD)
    story.let_go(*NOISE_HELD)
    assert screen.end() == 0
    text = " ".join(screen.lines)
    assert "bootstrap" not in text
    assert text.count("fresh    noisy") == text.count("fresh    slow") == 1
    assert "prepared 2 templates (0 reused, 2 fresh)" in text
    assert screen.screen.title == ""
    assert not screen.screen.cursor.hidden


def test_nothing_to_do_draws_no_rows(story):
    story.build()
    screen = story.screen("build")
    assert screen.end() == 0
    assert b"\x1b[?25l" not in screen.sent or _reads_for_long(screen)
    assert [line.split()[0] for line in screen.lines[:2]] == ["reused", "reused"]


def _reads_for_long(screen):
    """Whether the machine was so slow that reading had a row, which it has from the third second on."""
    return re.search(rb"the inputs  reading  ([2-9]|\d\d)", screen.sent)


def test_colour_only_where_it_is_wanted(story):
    story.build()
    coloured = story.screen("build")
    coloured.end()
    assert b"\x1b[36mreused" in coloured.sent
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        plain = story.screen("build", **environment)
        plain.end()
        assert b"\x1b[" not in plain.sent or ("TERM" not in environment and _reads_for_long(plain))
        assert not plain.colours


def test_control_c_takes_the_rows_away_and_gives_the_terminal_back(story):
    story.edit("prewarm.yaml", "sleep 2", "sleep 100")
    screen = story.screen("build")
    screen.wait_for("working on it")
    screen.type("\x03")
    assert screen.end() == 130
    assert not screen.screen.cursor.hidden
    assert _rows(screen) == (0, 0)


def test_a_shell_in_a_session_has_the_terminal(story):
    story.build("--only", "slow")
    screen = story.screen("open", "slow", "--env", "PS1=in> ", columns=97, rows=31)
    screen.type("stty size; tty | cut -c1-5; echo $TERM; echo done-$((6*7))\r")
    screen.wait_for("done-42")
    assert "31 97" in screen.lines
    assert "/dev/" in screen.lines
    assert "xterm" in screen.lines
    termios.tcsetwinsize(screen.master, (20, 66))
    os.kill(screen.pid, signal.SIGWINCH)
    screen.type("until [ \"$(stty size)\" = '20 66' ]; do sleep 0.05; done; echo sized-$((6*7))\r")
    screen.wait_for("sized-42")
    screen.type("echo reads-$((6*7)); cat\r")
    screen.wait_for("reads-42")  # Until then the shell's line editor has the terminal.
    screen.type("echoed by cat\r")
    screen.wait_for("echoed by cat\nechoed by cat")
    screen.type("\x03")
    screen.wait_for("^C")
    screen.type("exit 7\r")
    assert screen.end() == 7
    assert story.prewarm("sessions", "--json").stdout.count('"id"') == 0


def test_a_command_gets_a_terminal_where_there_is_one_and_none_where_not(story):
    story.build("--only", "slow")
    on_terminal = story.screen("open", "slow", "--", "sh", "-c", "test -t 1 && echo yes || echo no")
    assert on_terminal.end() == 0
    assert on_terminal.lines == ["yes"]
    off = story.screen("open", "slow", "--no-tty", "--", "sh", "-c", "test -t 1 && echo yes || echo no")
    assert off.end() == 0
    assert off.lines == ["no"]
    assert story.inside("slow", "sh", "-c", "test -t 1 && echo yes || echo no") == "no\n"
    assert "leave --tty out" in story.prewarm("open", "slow", "--tty", "--", "true", code=2).stderr


def test_without_a_terminal_there_is_a_sign_of_life_every_ten_seconds(story):
    _hold(story)
    builder = story.start("build", "--only", "slow")
    life = next(line for line in builder.stderr if "so far" in line)
    seconds = re.fullmatch(r"slow: bootstrap 1/1, (\d+)\.\ds so far: working on it\n", life)[1]
    assert 9 <= int(seconds) < 20
    story.let_go(*HELD)
    builder.communicate()
    assert builder.returncode == 0


def test_hostile_output_reaches_a_log_as_text(story):
    story.edit("prewarm.yaml", "sleep 0.3\n", "sleep 0.01\n")
    story.edit("prewarm.yaml", "          done\n", "          done; exit 3\n")
    failed = story.prewarm("build", "--only", "noisy", code=5)
    assert "line 6" in failed.stderr
    assert "\x1b" not in failed.stdout + failed.stderr


def test_progress_can_be_left_out(story):
    assert story.prewarm("build", "--only", "slow", "--progress", "none").stderr == ""


def _echoes(screen):
    return bool(termios.tcgetattr(screen.master)[3] & termios.ECHO)


def test_keys_pressed_meanwhile_leave_no_line_behind(story):
    _hold(story)
    screen = story.screen("build", "--jobs", "2")
    screen.wait_for("noisy  bootstrap 1/1")
    screen.type("\r\rtyped ahead\r")
    screen.wait_for("line 3")
    screen.wait_for("working on it")
    assert not _echoes(screen)
    screen.wait_until(lambda: _rows(screen) == (1, 1), "one row each")
    story.let_go(*HELD)
    story.let_go(*NOISE_HELD)
    screen.wait_for("prepared 2 templates")
    assert screen.end() == 0
    assert "bootstrap" not in screen.text
    assert "typed ahead" not in screen.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
def test_the_terminal_echoes_again_however_it_ends(story, number):
    story.edit("prewarm.yaml", "sleep 2", "sleep 100")
    shell = _shell(story)
    shell.type(f"{COMMAND} build --only slow; echo ended-$?\r")
    shell.wait_for("working on it")
    (builder,) = Path(f"/proc/{shell.pid}/task/{shell.pid}/children").read_text().split()
    os.kill(int(builder), number)
    shell.wait_for(f"ended-{131 if number == signal.SIGQUIT else 130}")
    shell.type("stty -a | grep -o '[-]*echo '\r")
    shell.wait_for("\necho\n")
    assert not shell.screen.cursor.hidden
    shell.type("exit\r")
    assert shell.end() == 0


@pytest.mark.parametrize("columns", [80, 40])
def test_control_z_gives_the_terminal_to_the_shell_until_it_goes_on(story, columns):
    _hold(story)
    shell = _shell(story, columns=columns)
    shell.type(f"{COMMAND} build --only slow\r")
    shell.wait_for("working on it")
    shell.type("\x1a")
    shell.wait_for("Stopped")
    shell.type("stty -a | grep -o '[-]*echo '\r")
    shell.wait_for("\necho\n")
    assert not shell.screen.cursor.hidden
    assert "bootstrap 1/1" not in shell.text
    shell.type("fg\r")
    shell.wait_for("slow  bootstrap 1/1")
    story.let_go(*HELD)
    shell.wait_for("prepared 1 template")
    assert "bootstrap 1/1" not in shell.text
    assert shell.text.count("fresh    slow") == 1
    shell.type("exit\r")
    assert shell.end() == 0


def test_control_z_does_nothing_where_nobody_could_make_it_go_on(story):
    screen = story.screen("build", "--only", "slow")
    screen.wait_for("working on it")
    screen.type("\x1a")
    assert screen.end() == 0
    assert "fresh    slow" in screen.text


def test_a_build_in_the_background_leaves_the_terminal_to_the_shell(story):
    _hold(story)
    shell = _shell(story)
    shell.type(f"{COMMAND} build --only slow &\r")
    story.await_running(*HELD)
    shell.type("echo typed-$((6*7))\r")
    shell.wait_for("typed-42")
    story.let_go(*HELD)
    shell.wait_for("prepared 1 template")
    assert b"\x1b[?25l" not in shell.sent
    shell.type("exit\r")
    assert shell.end() == 0


def _shell(story, columns=80):
    environment = {**story.environment, "PS1": "in> ", "HISTFILE": "/dev/null"}
    shell = Screen(["/bin/bash", "--norc", "-i"], environment, columns=columns, directory=story.project)
    shell.wait_for("in>")
    return shell
