"""A step that fails fails its template, and only that; the words are enough to put it right."""

import json

import pytest


def test_failures_are_all_reported_and_the_rest_is_captured(story):
    failed = story.prewarm("build", code=5)
    words = {line.split()[1]: line.split()[0] for line in failed.stdout.splitlines()[:3]}
    assert words == {"broken": "failed", "whole": "fresh", "unverified": "failed"}
    assert failed.stdout.splitlines()[-1].startswith("prepared 1 of 3 templates (0 reused, 1 fresh, 2 failed)")

    errors = [block.splitlines() for block in failed.stderr.split("error: ")[1:]]
    broken = next(block for block in errors if "'broken'" in block[0])
    assert any(line.startswith("  step 2: for n in") for line in broken)
    assert any("exit code 100" in line for line in broken)
    tail = [line.strip().removeprefix("| ") for line in broken if line.strip().startswith("|")]
    assert len(tail) == 40
    assert tail[-1] == "E: Unable to locate package"
    assert any("'unverified'" in block[0] for block in errors)

    assert story.inside("whole", "cat", "whole") == "whole\n"
    assert {name: entry["status"] for name, entry in story.lock().items()} == {
        "broken": "failed",
        "whole": "captured",
        "unverified": "failed",
    }
    held = story.held("story-failing")
    assert [template["name"] for template in held] == ["whole"]
    litter = [
        one
        for one in json.loads(story.prewarm("gc", "--backend", "local", "--json").stdout)["garbage"]
        if one["kind"] == "litter"
    ]
    assert litter == []


def test_opening_what_failed_says_why(story):
    story.prewarm("build", code=5)
    refused = story.prewarm("open", "broken", "--", "true", code=7)
    assert "sandbox 'broken' was not captured" in refused.stderr
    assert "hint: " in refused.stderr
    assert story.prewarm("check", code=7).stdout.splitlines()[-1] == "1 of 3 can be opened on linux/amd64"


def test_put_right_it_is_captured_and_the_rest_reused(story):
    story.prewarm("build", code=5)
    story.edit("prewarm.yaml", "exit 100", "exit 0")
    story.edit("prewarm.yaml", "something-else", "something")
    assert story.statuses() == {"broken": "fresh", "whole": "reused", "unverified": "fresh"}


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("exit 1", "exit code 1"),
        ("exit 2", "exit code 2"),
        ("no-such-program-anywhere", "exit code 127"),
        ("/etc/passwd", "exit code 126"),
        ("kill -9 $$", "exit code 137"),
    ],
)
def test_every_way_to_fail_fails(story, command, reason):
    story.edit("prewarm.yaml", "exit 100", command)
    assert reason in story.prewarm("build", "--only", "broken", code=5).stderr


def test_a_step_that_takes_too_long_fails(story):
    story.edit("prewarm.yaml", "      - run: echo fine\n", "      - {run: sleep 60, timeout: 1s}\n")
    error = story.build("--only", "broken", code=5)["broken"]["error"]
    assert "timed out" in error["message"]


def test_fail_fast_begins_nothing_more(story):
    report = story.build("--fail-fast", "--jobs", "1", code=5)
    assert report["broken"]["status"] == "failed"
    assert report["whole"]["status"] == report["unverified"]["status"] == "skipped"
