"""Build, build again, change something, build again: fresh, reused, fresh with the reason."""

import json
import os


def test_first_build_reuse_and_change(story):
    planned = json.loads(story.prewarm("plan", "--json").stdout)
    assert [(t["name"], t["status"], t["reason"]) for t in planned["templates"]] == [
        ("greeter", "fresh", "first capture")
    ]
    assert not (story.project / "prewarm.lock").exists()

    first = story.prewarm("build")
    assert first.stdout.splitlines()[0].split()[:2] == ["fresh", "greeter"]
    assert first.stdout.splitlines()[0].endswith("first capture")
    assert first.stdout.splitlines()[-1].startswith("prepared 1 template (0 reused, 1 fresh) in ")
    assert "greeter: bootstrap 1/2: cat /workspace/name.txt" in first.stderr
    assert story.inside("greeter", "cat", "greeting.txt", "inline.txt") == "world\ninline\n"
    assert story.inside("greeter", "ls").split() == ["capture-id", "greeting.txt", "inline.txt", "name.txt"]
    capture = story.inside("greeter", "cat", "capture-id")
    lock = (story.project / "prewarm.lock").read_bytes()

    second = story.prewarm("build")
    assert second.stdout.splitlines()[0].split()[0] == "reused"
    assert "prepared 1 template (1 reused, 0 fresh) in " in second.stdout
    assert second.stderr == ""
    assert story.inside("greeter", "cat", "capture-id") == capture
    assert (story.project / "prewarm.lock").read_bytes() == lock
    assert story.prewarm("check").stdout.splitlines()[-1] == "1 of 1 can be opened on linux/amd64"

    os.utime(story.project / "workspace" / "name.txt")
    story.write("workspace/other.log", "ignored")
    assert story.statuses() == {"greeter": "reused"}

    story.write("workspace/name.txt", "brave new world\n")
    plan = story.prewarm("plan")
    assert plan.stdout.splitlines()[0].split()[0] == "fresh"
    assert "/workspace/name.txt" in plan.stdout
    explained = story.prewarm("explain", "greeter").stdout
    assert "would be captured" in explained
    assert "/workspace/name.txt" in explained
    again = story.build()["greeter"]
    assert (again["status"], again["reason"]) == ("fresh", "inputs changed")
    assert any("/workspace/name.txt" in change and "->" in change for change in again["changes"])
    assert story.inside("greeter", "cat", "greeting.txt") == "brave new world\n"
    assert story.inside("greeter", "cat", "capture-id") != capture


def test_a_mode_that_changes_is_a_change(story):
    story.build()
    (story.project / "workspace" / "name.txt").chmod(0o755)
    assert any("mode" in change or "0755" in change for change in story.build()["greeter"]["changes"])


def test_force_captures_what_could_be_reused(story):
    story.build()
    capture = story.inside("greeter", "cat", "capture-id")
    again = story.build("--force")["greeter"]
    assert (again["status"], again["reason"]) == ("fresh", "forced")
    assert story.inside("greeter", "cat", "capture-id") != capture


def test_dry_run_is_plan(story):
    dry = json.loads(story.prewarm("build", "--dry-run", "--json").stdout)
    assert dry["planned"] is True
    assert dry["templates"][0]["status"] == "fresh"
    assert story.held("story-first") == []


def test_a_template_that_somebody_deleted_is_noticed(story):
    key = story.build()["greeter"]["key"]
    held = story.held("story-first")
    assert [(t["namespace"], t["name"], t["key"]) for t in held] == [("story-first", "greeter", key)]
    (story.project / "prewarm.lock").unlink()
    assert "template" in story.prewarm("gc").stdout
    assert story.held("story-first") == held
    story.prewarm("gc", "--apply")
    assert story.held("story-first") == []
    assert story.statuses() == {"greeter": "fresh"}


def test_the_definition_is_found_from_below_and_by_name(story, tmp_path):
    story.prewarm("build", cwd=story.project / "workspace")
    assert (
        story.prewarm("open", "greeter", "--", "cat", "name.txt", cwd=story.project / "workspace").stdout == "world\n"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    definition = str(story.project / "prewarm.yaml")
    assert story.prewarm("build", "-f", definition, cwd=elsewhere).stdout.split()[0] == "reused"
    shown = story.prewarm("open", "-f", definition, "greeter", "--", "cat", "name.txt", cwd=elsewhere)
    assert shown.stdout == "world\n"
    assert story.prewarm("check", "-f", str(story.project / "prewarm.lock"), cwd=elsewhere).returncode == 0
    assert "hint: " in story.prewarm("build", cwd=elsewhere, code=2).stderr
    assert "hint: " in story.prewarm("open", "greeter", cwd=elsewhere, code=7).stderr
