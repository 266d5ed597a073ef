"""Ctrl-C, or a CI system that sends SIGTERM, ends a build with 130, its children with it, and leaves nothing behind."""

import json
import os
import signal
import time

import pytest


def _wait_for(builder, wanted):
    seen = ""
    for line in builder.stderr:
        seen += line
        if wanted in line:
            return
    raise AssertionError(f"{wanted!r} never came:\n{seen}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_leaves_nothing_half_made(story, number):
    builder = story.start("build", "--json")
    _wait_for(builder, "slow: bootstrap 1/1")
    time.sleep(0.5)
    began = time.monotonic()
    os.kill(builder.pid, number)
    out, err = builder.communicate(timeout=60)
    assert builder.returncode == 130
    assert "error: the build was interrupted\nhint: run it again; what is finished is reused\n" in err
    assert time.monotonic() - began < 20
    report = json.loads(out)
    assert report["interrupted"] is True
    assert {t["name"]: t["status"] for t in report["templates"]} == {"quick": "fresh", "slow": "skipped"}
    assert story.processes() == []

    garbage = json.loads(story.prewarm("gc", "--json").stdout)["garbage"]
    assert [one for one in garbage if one["kind"] in {"litter", "template"}] == []
    story.edit("prewarm.yaml", "sleep 300 & sleep 300 & wait", "true")
    assert story.statuses() == {"quick": "reused", "slow": "fresh"}


def test_a_session_command_that_is_interrupted_ends_with_its_children(story):
    story.build("--only", "quick")
    opened = story.start("open", "quick", "--key", "kept", "--", "sh", "-c", "echo begun >&2; sleep 301 & sleep 301")
    _wait_for(opened, "begun")
    os.kill(opened.pid, signal.SIGINT)
    opened.communicate(timeout=30)
    assert opened.returncode == 130
    shown = story.prewarm("exec", "kept", "--", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout
    assert "sleep 301" not in shown
