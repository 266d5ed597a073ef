"""What a build shows while it runs: rows that never tear on a terminal, plain lines and signs of life elsewhere."""

import os
import re
import sys
import threading
import time

import pytest
from screen import Screen
from screen import __file__ as screen_module

from prewarm.backends.base import Phase
from prewarm.cli import _progress
from prewarm.cli._board import Board, Row
from prewarm.cli._progress import LineWriter, PlainProgress, sign_of_life
from prewarm.cli._screen import lines
from prewarm.failure import Failure  # noqa: F401 - the driver takes it from here.
from prewarm.key import TemplateKey
from prewarm.plan import Reason, Status
from prewarm.report import TemplateReport

KEY = TemplateKey("3f2a9c1b7d04" + "0" * 52)
HOSTILE = [
    "\x1b[2J\x1b[H\x1b[31mcleared",
    "\x1b]0;title\x07titled",
    "\x1b[1000Aup\x1b[1000Bdown",
    "\r\r\roverwritten",
    "x" * 500,
    "日本語" * 60,
    "\x1b[?1049halternate",
    "\x1b[6n",
    "\x00\x07\x08" * 20,
    "\u202e\u2066rtl",
    "\x1b[",
]


def _finished(name="analyst", status=Status.FRESH, **changes):
    values = {"platform": "linux/amd64", "reason": Reason.FIRST_CAPTURE, "key": KEY, "seconds": {"bootstrap": 12.3}}
    return TemplateReport(name=name, status=status, **{**values, **changes})


# plain


def test_plain_lines_say_what_begins_and_what_came_of_it():
    said = []
    with PlainProgress(talk=said.append) as progress:
        progress.template_started("analyst", KEY, "first capture")
        progress.phase("analyst", Phase.BOOTSTRAP)
        progress.step("analyst", 2, 5, "set -e\npip install pandas")
        progress.line("analyst", "Collecting pandas")
        progress.template_finished(_finished())
        progress.template_finished(_finished("other", Status.REUSED, reason=Reason.UNCHANGED))
    assert said == [
        "analyst: capturing 3f2a9c1b7d04 (first capture)",
        "analyst: bootstrap 2/5: set -e …",
        "analyst: fresh after 12.3s",
    ]


def test_a_run_that_reads_for_long_before_it_captures_gives_signs_of_life():
    said, twice = [], threading.Event()

    def talk(text):
        said.append(text)
        if sum("so far" in line for line in said) >= 2:
            twice.set()

    with PlainProgress(heartbeat_s=0.02, talk=talk) as progress:
        assert twice.wait(60)
        progress.template_started("analyst", KEY, "forced")
        count = sum("the inputs" in line for line in said)
        progress.template_finished(_finished())
        time.sleep(0.1)
    assert re.match(r"the inputs: reading, \d+\.\ds so far", said[0])
    assert sum("the inputs" in line for line in said) <= count + 1


def test_a_silent_step_gives_signs_of_life_with_its_last_line():
    said, twice = [], threading.Event()

    def talk(text):
        said.append(text)
        if sum("so far" in line for line in said) >= 2:
            twice.set()

    with PlainProgress(heartbeat_s=0.02, talk=talk) as progress:
        progress.template_started("analyst", KEY, "forced")
        progress.phase("analyst", Phase.BOOTSTRAP)
        progress.step("analyst", 1, 1, "make")
        progress.line("analyst", "\x1b[32mcompiling\x1b[0m\n")
        assert twice.wait(60)
    life = [line for line in said if "so far" in line]
    assert re.fullmatch(r"analyst: bootstrap 1/1, \d+\.\ds so far: compiling", life[-1])
    assert not any(thread.name == "prewarm-heartbeat" for thread in threading.enumerate())


def test_a_sign_of_life_of_a_step_that_said_nothing_shows_the_step():
    row = Row(name="base", began=10.0, phase="bootstrap", step="1/2", text="apt-get update")
    assert sign_of_life(row, 44.0) == "base: bootstrap 1/2, 34.0s so far: apt-get update"


def test_hostile_output_reaches_a_log_as_harmless_short_lines():
    said = []
    with PlainProgress(heartbeat_s=0.01, talk=said.append) as progress:
        progress.template_started("analyst", KEY, "forced\x1b[2J")
        for text in HOSTILE:
            progress.step("analyst", 1, 1, text)
            progress.line("analyst", text)
            time.sleep(0.02)
    assert all(line.isprintable() and len(line) <= 160 for line in said)


def test_lines_of_a_template_that_never_began_are_no_error():
    board = Board()
    board.end("nobody")
    board.line("late", "hello")
    assert [row.name for row in board.rows()] == ["late"]


def test_blank_lines_do_not_hide_the_last_one():
    board = Board()
    board.line("analyst", "Collecting pandas")
    board.line("analyst", "   ")
    board.line("analyst", "")
    assert board.rows()[0].said == "Collecting pandas"


def test_what_hooks_print_comes_out_line_by_line_also_from_threads():
    said = []
    writer = LineWriter(said.append)
    threads = [threading.Thread(target=lambda n=n: print(f"hook {n}", file=writer, flush=True)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.write("no end")
    writer.finish()
    assert said[-1] == "no end"
    assert "".join(sorted(said[:-1])).count("hook") == 8


def test_stdout_stays_for_data_while_a_build_runs(capfd):
    with _progress.following(_progress.ProgressKind.PLAIN) as listener:
        print("a hook prints")
        os.system("echo a child prints")
        listener.note("a note")
    print("data")
    out, err = capfd.readouterr()
    assert out == "data\n"
    assert "note: a hook prints\n" in err
    assert "a child prints\n" in err
    assert "note: a note\n" in err


def test_without_progress_only_notes_are_said(capfd):
    with _progress.following(_progress.ProgressKind.NONE) as listener:
        listener.template_started("analyst", KEY, "forced")
        listener.phase("analyst", Phase.SEED)
        listener.step("analyst", 1, 1, "true")
        listener.line("analyst", "x")
        listener.template_finished(_finished())
        listener.note("chose local")
    assert capfd.readouterr().err == "note: chose local\n"


# rows


def _rows(count, **changes):
    return tuple(Row(name=f"template-{n}", began=0.0, phase="bootstrap", step="2/5", **changes) for n in range(count))


@pytest.mark.parametrize("width", [20, 39, 79, 200])
@pytest.mark.parametrize("text", HOSTILE)
def test_every_row_fits_the_width_whatever_was_said(width, text):
    for line in lines(_rows(3, text=text, last=text), now=100.0, width=width, height=24):
        assert line.cell_len <= width
        assert "\n" not in line.plain


def test_more_rows_than_the_screen_has_are_counted():
    shown = [line.plain for line in lines(_rows(30, last="x"), now=1.0, width=79, height=10)]
    assert len(shown) == 8
    assert shown[-1] == "  … and 23 more"


def test_a_narrow_row_keeps_phase_and_time_and_shortens_the_name():
    row = Row(name="a-very-long-name-of-a-template", began=0.0, phase="bootstrap", step="12/15", text="pip install")
    (line,) = lines((row,), now=61.0, width=39, height=24)
    assert "bootstrap 12/15  1m 01s" in line.plain
    assert "…" in line.plain


# on a terminal

DRIVER = """
import sys, time
sys.path[:0] = {tests!r}
import test_cli_progress as t
from prewarm.cli import _progress
from prewarm.backends.base import Phase
with _progress.following(_progress.ProgressKind.AUTO) as p:
    for name in ("base", "analyst", "quite-a-long-name-for-a-template"):
        p.template_started(name, t.KEY, "first capture")
        p.phase(name, Phase.BOOTSTRAP)
        p.step(name, 2, 5, "pip install numpy")
        p.line(name, "Collecting numpy")
    time.sleep(0.4)
    for text in t.HOSTILE if {hostile} else ():
        p.line("analyst", text)
        time.sleep(0.15)
    p.template_finished(t._finished("base"))
    print("\\x1b[2Jprinted by a hook")
    time.sleep(0.3)
    sys.stdin.readline()
    p.template_finished(t._finished("analyst", t.Status.FAILED, error=t.Failure(
        kind="StepFailedError", exit_code=5, message="capture of 'analyst' failed at step 2\\x1b[2J: exited 3")))
print("the report")
"""


def _screen(columns, rows, *, hostile=False, **environment):
    code = DRIVER.format(tests=[os.path.dirname(__file__), os.path.dirname(screen_module)], hostile=hostile)
    clean = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS", "LINES"}}
    environment = {**clean, "TERM": "xterm", **environment}
    return Screen([sys.executable, "-c", code], environment, columns=columns, rows=rows, echo=False)


READER = """
import sys, time
sys.path[:0] = {tests!r}
import test_cli_progress as t
from prewarm.cli import _progress
with _progress.following(_progress.ProgressKind.AUTO) as p:
    sys.stdin.readline()
    p.template_started("analyst", t.KEY, "first capture")
    sys.stdin.readline()
    p.template_finished(t._finished("analyst"))
print("the report")
"""


def test_what_comes_before_the_first_capture_has_a_row_where_it_takes_long():
    code = READER.format(tests=[os.path.dirname(__file__), os.path.dirname(screen_module)])
    screen = Screen([sys.executable, "-c", code], {**os.environ, "TERM": "xterm"}, columns=80, rows=24)
    screen.wait_until(lambda: re.search(r"the inputs  reading  ([2-9]|\d\d)", screen.text))
    screen.type("\n")
    screen.wait_for("analyst  starting")
    screen.wait_until(lambda: "the inputs" not in screen.text)
    assert _finish(screen) == 0
    assert [line.split()[:2] for line in screen.lines] == [["fresh", "analyst"], ["the", "report"]]


def _finish(screen):
    screen.type("\n")
    return screen.end()


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (40, 24), (120, 8)])
@pytest.mark.parametrize("hostile", [False, True])
def test_rows_on_a_terminal_neither_tear_nor_stay(columns, rows, hostile):
    screen = _screen(columns, rows, hostile=hostile)

    def rows():
        return tuple(
            sum(text in line for line in screen.lines)
            for text in ("analyst  bootstrap 2/5", "quite-a-", "base  bootstrap")
        )

    screen.wait_for("printed by a hook")
    screen.read(0.5)
    screen.wait_until(lambda: rows() == (1, 1, 0), "a row each")
    screen.wait_until(lambda: "fresh    base  3f2a9c1b7d04   12.3s" in " ".join(screen.lines))
    assert _finish(screen) == 0
    at_the_end = [line for line in screen.text.splitlines() if line]
    assert at_the_end[-1].startswith("the report")
    assert not any("bootstrap" in line for line in at_the_end)
    assert "failed   analyst" in " ".join(at_the_end)
    assert screen.screen.title == ""
    assert not screen.screen.cursor.hidden


def test_rows_without_colour_where_nobody_wants_it():
    screen = _screen(80, 24, NO_COLOR="1")
    screen.wait_for("printed by a hook")
    _finish(screen)
    assert not screen.colours


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"PYTHONIOENCODING": "ascii"}])
def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(environment):
    screen = _screen(80, 24, hostile=True, **environment)
    screen.wait_for("printed by a hook")
    _finish(screen)
    assert "base: bootstrap 2/5: pip install numpy" in screen.text
    assert b"\x1b" not in screen.sent


def test_columns_of_the_environment_count():
    screen = _screen(80, 24, COLUMNS="40")
    screen.wait_for("printed by a hook")
    screen.wait_for("bootstrap")
    rows = [line for line in screen.lines if "bootstrap" in line]
    assert max(len(line) for line in rows) <= 39
    _finish(screen)


def test_an_interrupt_takes_the_rows_away():
    screen = _screen(80, 24)
    screen.wait_for("printed by a hook")
    screen.type("\x03")
    assert screen.end() != 0
    assert not screen.screen.cursor.hidden
    assert "bootstrap 2/5" not in screen.text
