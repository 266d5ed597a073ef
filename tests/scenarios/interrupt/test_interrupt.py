"""Ctrl-C, or a CI system that sends SIGTERM, ends a build with 130, its children with it, and leaves nothing behind."""

import json
import os
import signal
import time

import pytest
from stories import PATIENCE_S, hear, wait_until


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_leaves_nothing_half_made(story, number):
    builder = story.start("build", "--json")
    hear(builder, "slow: bootstrap 1/1")
    story.await_running("sleep", "300", count=2)
    os.kill(builder.pid, number)
    out, err = builder.communicate(timeout=PATIENCE_S)
    assert builder.returncode == 130
    assert "error: the build was interrupted\nhint: run it again; what is finished is reused\n" in err
    report = json.loads(out)
    assert report["interrupted"] is True
    assert {t["name"]: t["status"] for t in report["templates"]} == {"quick": "fresh", "slow": "skipped"}
    assert story.processes() == []
    assert story.running("sleep", "300") == []

    garbage = json.loads(story.prewarm("gc", "--backend", "local", "--json").stdout)["garbage"]
    assert [one for one in garbage if one["kind"] in {"litter", "template"}] == []
    story.edit("prewarm.yaml", "sleep 300 & sleep 300 & wait", "true")
    assert story.statuses() == {"quick": "reused", "slow": "fresh"}


def test_a_session_command_that_is_interrupted_ends_with_its_children(story):
    story.build("--only", "quick")
    opened = story.start("open", "quick", "--key", "kept", "--", "sh", "-c", "echo begun >&2; sleep 301 & sleep 301")
    hear(opened, "begun")
    story.await_running("sleep", "301", count=2)
    os.kill(opened.pid, signal.SIGINT)
    opened.communicate(timeout=PATIENCE_S)
    assert opened.returncode == 130
    shown = story.prewarm("exec", "kept", "--", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout
    assert "sleep 301" not in shown


@pytest.mark.parametrize("body", ["while True: print('counting')", "import time; time.sleep(300)"])
def test_a_hook_that_calls_nothing_of_the_sandbox_is_left_behind(story, body):
    begun = story.project / "begun"
    story.write("hooks.py", f"def run(sandbox):\n    open({str(begun)!r}, 'w').close()\n    {body}\n")
    _put_hook_in(story, "300s")
    builder = story.start("build", "--json")
    hear(builder, "slow: bootstrap 1/1: python hooks:run")
    wait_until(begun.exists, "the hook")
    os.kill(builder.pid, signal.SIGINT)
    out, _ = builder.communicate(timeout=PATIENCE_S)
    assert builder.returncode == 130
    assert {t["name"]: t["status"] for t in json.loads(out)["templates"]} == {"quick": "fresh", "slow": "skipped"}
    assert story.processes() == []


def test_a_hook_whose_time_is_up_is_left_behind(story):
    story.write("hooks.py", "def run(sandbox):\n    while True: print('counting')\n")
    _put_hook_in(story, "1s")
    built = story.prewarm("build", "--json", "--progress", "none", code=5)
    failed = next(t for t in json.loads(built.stdout)["templates"] if t["name"] == "slow")
    assert "timed out after" in failed["error"]["message"]
    assert failed["error"]["hint"] == "raise the step's 'timeout'"


def _put_hook_in(story, timeout):
    head, _, _ = (story.project / "prewarm.yaml").read_text().partition("      - run: |\n          echo begun")
    story.write("prewarm.yaml", f"{head}      - {{python: 'hooks:run', timeout: {timeout}}}\n")


def test_an_interrupt_while_a_session_is_opened_leaves_none_behind(story):
    story.build("--only", "quick")
    began = time.monotonic()
    story.inside("quick", "true")
    whole = time.monotonic() - began
    for moment in range(16):  # From before it has begun to hear to where the command runs, on a machine of any speed.
        opening = story.start("open", "quick", "--", "sleep", "300")
        time.sleep(whole * (moment + 3) / 16)
        os.kill(opening.pid, signal.SIGINT)
        opening.communicate(timeout=PATIENCE_S)
        assert opening.returncode in {130, -signal.SIGINT}
        assert json.loads(story.prewarm("sessions", "--json").stdout)["sessions"] == []


def test_impatience_leaves_one_answer_and_one_exit_code(story):
    for delay in range(8):
        builder = story.start("build", "--json", "--force")
        hear(builder, "slow: bootstrap 1/1")
        for _ in range(6):
            os.kill(builder.pid, signal.SIGINT)
            time.sleep(0.01 * delay)
            if builder.poll() is not None:
                break
        out, err = builder.communicate(timeout=PATIENCE_S)
        assert builder.returncode == 130, err
        assert "Traceback" not in err
        assert "bug" not in err
        assert json.loads(out)
        assert story.processes() == []
