"""The values of secrets are in no output, report, lock file, key, database or layer, whether the build works or fails."""

import hashlib

TOKEN = "tok-3f9d1c-do-not-show"
FROM_FILE = "correct-horse-from-a-file"
PASSED = "passed-on-5521-value"
GIVEN = {"STORY_TOKEN": TOKEN, "PASSED_ON": PASSED}


def _files_with(directory, value):
    files = (path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())
    return [path for path in files if value.encode() in path.read_bytes()]


def _assert_nowhere(story, *outputs):
    for value in (TOKEN, FROM_FILE):
        for output in outputs:
            assert value not in output.stdout + output.stderr
        assert _files_with(story.home, value) == []
        assert value not in (story.project / "prewarm.lock").read_text()
    assert _files_with(story.home, PASSED) == []


def test_secrets_are_used_and_nowhere_afterwards(story):
    built = story.prewarm("build", **GIVEN)
    assert story.inside("discreet", "cat", "proof") == hashlib.sha256(TOKEN.encode()).hexdigest()[:12] + "\n"
    _assert_nowhere(story, built, story.prewarm("explain", "discreet", "--json"), story.prewarm("keys", "--json"))
    assert story.prewarm("open", "discreet", "--", "cat", "/run/secrets/token", code=1, **GIVEN).stdout == ""


def test_a_failing_step_does_not_tell(story, tmp_path):
    story.edit("prewarm.yaml", 'echo "passed $PASSED_ON"', "exit 9")
    summary = tmp_path / "summary.md"
    failed = story.prewarm("build", "--json", "--summary", str(summary), code=5, **GIVEN)
    assert "***" in failed.stderr
    assert FROM_FILE not in summary.read_text()
    _assert_nowhere(story, failed)


def test_the_value_of_a_secret_is_not_in_the_key_but_its_name_is(story):
    key = story.build(**GIVEN)["discreet"]["key"]
    other = story.build(STORY_TOKEN="another-value-entirely", PASSED_ON="x")["discreet"]
    assert (other["status"], other["key"]) == ("reused", key)
    story.edit("prewarm.yaml", "secrets: [from_file]", "secrets: [from_file, token]")
    assert story.build(**GIVEN)["discreet"]["key"] != key


def test_a_secret_that_is_not_there_is_an_error_that_names_it(story):
    failed = story.prewarm("build", code=2)
    assert "STORY_TOKEN" in failed.stderr
    assert "hint: " in failed.stderr
