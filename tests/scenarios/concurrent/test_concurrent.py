"""The second builder waits for the first and takes what it made; a holder that is killed keeps nobody waiting."""

import json
import os
import signal

from stories import PATIENCE_S, hear

HELD = ("sleep", "1001")


def _held(story):
    """Have the step go on only when it is let go."""
    story.edit("prewarm.yaml", "sleep 2;", f"{' '.join(HELD)} || true;")


def _finish(builder):
    out, err = builder.communicate(timeout=PATIENCE_S)
    assert builder.returncode == 0, err
    return json.loads(out)["templates"][0]


def test_two_builds_at_once_capture_once(story):
    templates = [_finish(builder) for builder in [story.start("build", "--json") for _ in range(2)]]
    assert sorted(template["status"] for template in templates) == ["fresh", "reused"]
    assert templates[0]["ref"] == templates[1]["ref"]


def test_the_second_builder_says_whom_it_waits_for_and_takes_what_the_first_made(story):
    _held(story)
    first = story.start("build", "--json")
    story.await_running(*HELD)
    second = story.start("build", "--json")
    hear(second, f"waits for process {first.pid}")
    story.let_go(*HELD)
    made, taken = _finish(first), _finish(second)
    assert (made["status"], taken["status"], taken["reason"]) == ("fresh", "reused", "captured meanwhile")
    assert made["ref"] == taken["ref"]


def test_a_killed_builder_keeps_nobody_waiting(story):
    _held(story)
    first = story.start("build")
    story.await_running(*HELD)
    second = story.start("build", "--json")
    hear(second, "waits for")
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    hear(second, "bootstrap 1/1")
    story.let_go(*HELD)
    assert _finish(second)["status"] == "fresh"
    story.prewarm("gc", "--apply")
    garbage = json.loads(story.prewarm("gc", "--backend", "local", "--json").stdout)["garbage"]
    assert [one for one in garbage if one["kind"] == "litter"] == []
    assert story.statuses() == {"shared": "reused"}
