"""The second builder waits for the first and takes what it made; a holder that is killed keeps nobody waiting."""

import json
import os
import signal
import time


def test_two_builds_at_once_capture_once(story):
    builders = [story.start("build", "--json") for _ in range(2)]
    results = [builder.communicate(timeout=120) for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0]
    templates = [json.loads(out)["templates"][0] for out, _ in results]
    assert sorted(template["status"] for template in templates) == ["fresh", "reused"]
    assert templates[0]["ref"] == templates[1]["ref"]
    waited = next(err for (_, err), t in zip(results, templates, strict=True) if t["status"] == "reused")
    assert "waits for" in waited


def test_a_killed_builder_keeps_nobody_waiting(story):
    story.edit("prewarm.yaml", "sleep 2;", "sleep 3;")
    first = story.start("build")
    for line in first.stderr:
        if "bootstrap 1/1" in line:
            break
    second = story.start("build", "--json")
    time.sleep(1)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    began = time.monotonic()
    out, _ = second.communicate(timeout=60)
    assert second.returncode == 0
    assert json.loads(out)["templates"][0]["status"] == "fresh"
    assert time.monotonic() - began < 20
    story.prewarm("gc", "--apply")
    garbage = json.loads(story.prewarm("gc", "--backend", "local", "--json").stdout)["garbage"]
    assert [one for one in garbage if one["kind"] == "litter"] == []
    assert story.statuses() == {"shared": "reused"}
