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

    garbage = json.loads(story.prewarm("gc", "--backend", "local", "--json").stdout)["garbage"]
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


@pytest.mark.parametrize("body", ["while True: print('counting')", "import time; time.sleep(300)"])
def test_a_hook_that_calls_nothing_of_the_sandbox_is_left_behind(story, body):
    story.write("hooks.py", f"def run(sandbox):\n    sandbox.run('echo begun')\n    {body}\n")
    _put_hook_in(story, "60s")
    builder = story.start("build", "--json")
    _wait_for(builder, "slow: bootstrap 1/1: python hooks:run")
    time.sleep(1)
    began = time.monotonic()
    os.kill(builder.pid, signal.SIGINT)
    out, _ = builder.communicate(timeout=60)
    assert builder.returncode == 130
    assert time.monotonic() - began < 20
    assert {t["name"]: t["status"] for t in json.loads(out)["templates"]} == {"quick": "fresh", "slow": "skipped"}
    assert story.processes() == []


def test_a_hook_whose_time_is_up_is_left_behind(story):
    story.write("hooks.py", "def run(sandbox):\n    while True: print('counting')\n")
    _put_hook_in(story, "1s")
    built = story.prewarm("build", "--json", "--progress", "none", code=5, timeout=60)
    failed = next(t for t in json.loads(built.stdout)["templates"] if t["name"] == "slow")
    assert "timed out after" in failed["error"]["message"]
    assert failed["error"]["hint"] == "raise the step's 'timeout'"


def _put_hook_in(story, timeout):
    head, _, _ = (story.project / "prewarm.yaml").read_text().partition("      - run: |\n          echo begun")
    story.write("prewarm.yaml", f"{head}      - {{python: 'hooks:run', timeout: {timeout}}}\n")


def test_an_interrupt_while_a_session_is_opened_leaves_none_behind(story):
    story.build("--only", "quick")
    for delay in range(16):
        opening = story.start("open", "quick", "--", "sleep", "300")
        time.sleep(0.08 + 0.02 * delay)
        os.kill(opening.pid, signal.SIGINT)
        opening.communicate(timeout=30)
        assert opening.returncode in {130, -signal.SIGINT}
        assert json.loads(story.prewarm("sessions", "--json").stdout)["sessions"] == []


def test_impatience_leaves_one_answer_and_one_exit_code(story):
    for delay in range(8):
        builder = story.start("build", "--json", "--force")
        _wait_for(builder, "slow: bootstrap 1/1")
        for _ in range(6):
            os.kill(builder.pid, signal.SIGINT)
            time.sleep(0.01 * delay)
            if builder.poll() is not None:
                break
        out, err = builder.communicate(timeout=60)
        assert builder.returncode == 130, err
        assert "Traceback" not in err
        assert "bug" not in err
        assert json.loads(out)
        assert story.processes() == []
