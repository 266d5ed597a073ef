"""A terminal that is closed, and a reader that goes away: what that ends, what goes on, and that neither is an error."""

import json

import pytest
from screen import Screen
from stories import COMMAND, wait_until

NEVER_ENDS = "i=0; while sleep 0.05; do i=$((i+1)); echo working 'on it' $i; done"


def _on_terminal(story, script):
    """Run a shell script on a terminal that can be closed; what goes wrong leaves its traceback with the story."""
    return Screen(["/bin/bash", "-c", script], _environment(story), directory=story.project)


def _environment(story):
    left = story.project.parent / "left"
    left.mkdir(exist_ok=True)
    return {**story.environment, "TMPDIR": str(left), "PS1": "in> ", "HISTFILE": "/dev/null"}


def _never_ending(story):
    story.edit("prewarm.yaml", "sleep 2", NEVER_ENDS)


def _check_quiet(story):
    """Nothing runs, and nobody was told of a bug."""
    wait_until(lambda: story.processes() == [])
    assert list((story.project.parent / "left").iterdir()) == []


def _check_ended(story):
    """Besides, nothing is half made, and no session lives."""
    _check_quiet(story)
    garbage = json.loads(story.prewarm("gc", "--backend", "local", "--json").stdout)["garbage"]
    assert [one for one in garbage if one["kind"] in {"litter", "template"}] == []
    assert json.loads(story.prewarm("sessions", "--json").stdout)["sessions"] == []


@pytest.mark.parametrize("progress", ["auto", "plain"])
def test_a_terminal_that_is_closed_interrupts_the_build(story, progress):
    _never_ending(story)
    for _ in range(5):  # Threads, signals and writes race; so does what they left behind.
        screen = _on_terminal(story, f"exec {COMMAND} build --jobs 2 --force --progress {progress}")
        screen.wait_for("slow" if progress == "plain" else "working on it")
        assert screen.close() == 130
        _check_quiet(story)
    _check_ended(story)


def test_a_window_that_is_closed_ends_its_shell_and_the_build_in_it(story):
    _never_ending(story)
    for _ in range(3):
        shell = Screen(["/bin/bash", "--norc", "-i"], _environment(story), directory=story.project)
        shell.wait_for("in>")
        shell.type(f"{COMMAND} build --only slow\r")
        shell.wait_for("working on it")
        shell.close()
        _check_quiet(story)
    _check_ended(story)


def test_what_was_finished_before_the_terminal_was_closed_is_reused(story):
    _never_ending(story)
    screen = _on_terminal(story, f"exec {COMMAND} build --jobs 2")
    screen.wait_for("working on it")
    screen.wait_for("fresh    noisy")
    assert screen.close() == 130
    story.edit("prewarm.yaml", NEVER_ENDS, "true")
    assert story.statuses() == {"noisy": "reused", "slow": "fresh"}


@pytest.mark.parametrize("progress", ["auto", "plain", "none"])
def test_a_build_that_ignores_the_hangup_goes_on_to_its_end_without_a_terminal(story, progress):
    screen = _on_terminal(story, f"trap '' HUP; exec {COMMAND} build --progress {progress}")
    if progress == "none":
        wait_until((story.home / "locks").exists)
    else:
        screen.wait_for("slow" if progress == "plain" else "working on it")
    assert screen.close() == 0
    _check_ended(story)
    assert story.statuses() == {"noisy": "reused", "slow": "reused"}


def test_a_build_under_nohup_outlives_the_terminal_it_was_started_from(story):
    shell = Screen(["/bin/bash", "--norc", "-i"], _environment(story), directory=story.project)
    shell.wait_for("in>")
    shell.type(f"nohup {COMMAND} build > log 2>&1 &\r")
    wait_until(lambda: "bootstrap" in _read(story.project / "log"))
    shell.close()
    wait_until(lambda: "prepared 2 templates" in _read(story.project / "log"))
    _check_ended(story)
    assert story.statuses() == {"noisy": "reused", "slow": "reused"}


def _read(path):
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize(
    "command", ["", "-- sh -c 'echo begun-42; exec sleep 1000'", "-- sh -c 'while :; do echo begun-42; done'"]
)
@pytest.mark.parametrize("how", ["exec", "trap '' HUP; exec"])
def test_a_terminal_that_is_closed_ends_the_session(story, command, how):
    story.build("--only", "slow")
    screen = _on_terminal(story, f"{how} {COMMAND} open slow {command}")
    if not command:
        screen.type("echo begun-$((6*7))\r")
    screen.wait_for("begun-42")
    assert screen.close() == 130
    _check_ended(story)


def test_a_window_that_is_closed_ends_its_shell_and_the_session_in_it(story):
    story.build("--only", "slow")
    for _ in range(3):
        shell = Screen(["/bin/bash", "--norc", "-i"], _environment(story), directory=story.project)
        shell.wait_for("in>")
        shell.type(f"{COMMAND} open slow\r")
        shell.type("echo begun-$((6*7))\r")
        shell.wait_for("begun-42")
        shell.close()
        _check_quiet(story)
    _check_ended(story)


def test_a_reader_that_has_seen_enough_ends_the_printing_and_not_the_build(story):
    screen = _on_terminal(story, f"{COMMAND} build | head -1; echo ended-${{PIPESTATUS[0]}}")
    screen.wait_for("ended-")
    assert screen.end() == 0
    assert any(f"ended-{code}" in screen.text for code in (0, 141))  # It may have printed all of it by then.
    assert "bug" not in screen.text
    assert "Traceback" not in screen.text
    _check_ended(story)
    assert story.statuses() == {"noisy": "reused", "slow": "reused"}


def test_a_reader_of_everything_that_goes_away_keeps_nothing_from_being_built(story):
    screen = _on_terminal(story, f"{COMMAND} build 2>&1 | exec true; echo ended-${{PIPESTATUS[0]}}")
    screen.wait_for("ended-141")
    assert screen.end() == 0
    _check_ended(story)
    assert story.statuses() == {"noisy": "reused", "slow": "reused"}
