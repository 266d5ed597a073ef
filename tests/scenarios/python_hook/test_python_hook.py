"""A hook reads, writes, runs and uploads; a helper that it imports counts; an exception names the hook's own line."""

import json


def test_a_hook_works_on_the_sandbox_and_what_it_prints_is_talk(story):
    built = story.prewarm("build", "--json")
    assert json.loads(built.stdout)["templates"][0]["status"] == "fresh"
    assert "the hook prints: root" in built.stderr
    assert story.inside("warmed", "cat", "sum.txt", "data/file.txt") == "6\nuploaded\n"


def test_a_helper_that_the_hook_imports_counts(story):
    story.build()
    story.edit("hooks/arithmetic.py", "sum(numbers)", "sum(numbers) * 10")
    again = story.build()["warmed"]
    assert (again["status"], again["reason"]) == ("fresh", "inputs changed")
    assert any("arithmetic" in change for change in again["changes"])
    assert story.inside("warmed", "cat", "sum.txt") == "60\n"


def test_an_exception_in_a_hook_fails_with_its_file_and_line(story):
    story.edit("hooks/arithmetic.py", "return sum(numbers)", "return 1 / 0")
    failed = story.prewarm("build", code=5)
    assert "ZeroDivisionError" in failed.stderr
    assert "arithmetic.py" in failed.stderr
    assert "line 2" in failed.stderr or "arithmetic.py:2" in failed.stderr
    assert "Traceback (most recent call last)" not in failed.stderr.split("error: ")[0]


def test_a_command_that_fails_in_a_hook_fails_the_capture(story):
    story.edit("hooks/setup.py", '"id -un"', '"echo told >&2; exit 3"')
    failed = story.prewarm("build", code=5)
    assert "told" in failed.stderr
    assert "setup.py" in failed.stderr


def test_a_hook_that_does_not_exist_is_an_error_before_anything_runs(story):
    story.edit("prewarm.yaml", "hooks.setup:warm", "hooks.setup:wram")
    failed = story.prewarm("build", code=2)
    assert "wram" in failed.stderr
