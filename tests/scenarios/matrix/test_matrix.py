"""A matrix gives a sandbox a combination; what is extended is captured first, and its change reaches all that stand on it."""


def _reasons(report):
    return {name: (template["status"], template["reason"]) for name, template in report.items()}


def test_a_matrix_on_a_parent(story):
    names = list(story.build())
    assert names == ["base", "agent-small-red", "agent-large-red", "alone"]
    assert story.inside("agent-small-red", "cat", "made.txt", "motto.txt") == "small on 1.0\nfast small red\n"
    assert story.inside("agent-large-red", "cat", "made.txt") == "large on 1.0\n"

    story.edit("prewarm.yaml", "echo 1.0", "echo 2.0")
    after = _reasons(story.build())
    assert after["base"] == ("fresh", "inputs changed")
    assert after["agent-small-red"][0] == after["agent-large-red"][0] == "fresh"
    assert after["alone"] == ("reused", "unchanged")
    assert story.inside("agent-large-red", "cat", "made.txt") == "large on 2.0\n"


def test_a_variable_changes_only_what_uses_it(story):
    story.build()
    assert story.statuses("--set", "motto=thorough") == {
        "base": "reused",
        "agent-small-red": "fresh",
        "agent-large-red": "fresh",
        "alone": "reused",
    }
    assert story.inside("agent-small-red", "cat", "motto.txt") == "thorough small red\n"
    assert set(story.statuses().values()) == {"reused"}
    assert set(story.statuses(PREWARM_VAR_MOTTO="thorough").values()) == {"reused"}
    assert set(story.statuses("--set", "unused=y").values()) == {"reused"}


def test_only_brings_what_is_extended_and_leaves_the_rest_alone(story):
    assert list(story.build("--only", "agent-large-red")) == ["base", "agent-large-red"]
    assert set(story.lock()) == {"base", "agent-large-red"}
    assert list(story.build("--only", "alone,base")) == ["alone", "base"]
    assert set(story.lock()) == {"base", "agent-large-red", "alone"}
    wrong = story.prewarm("build", "--only", "agent-larg-red", code=2)
    assert "did you mean 'agent-large-red'" in wrong.stderr


def test_a_parent_that_fails_skips_those_that_stand_on_it(story):
    story.edit("prewarm.yaml", "mkdir -p /opt/tool", "false")
    report = _reasons(story.build(code=5))
    assert report["base"][0] == "failed"
    assert report["agent-small-red"] == ("skipped", "parent failed")
    assert report["alone"] == ("fresh", "first capture")
