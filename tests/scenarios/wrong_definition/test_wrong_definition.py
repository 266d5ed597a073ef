"""A wrong definition is told in full, with places, and nothing runs."""

import json


def test_every_problem_is_told_at_once_with_its_place(story):
    wrong = story.prewarm("build", code=2)
    assert wrong.stdout == ""
    for line, part in ((7, "bootstap"), (9, "quote it"), (10, "some"), (12, "nobody"), (13, "relative")):
        assert any(f"prewarm.yaml:{line}:" in told and part in told for told in wrong.stderr.splitlines()), (line, part)
    assert "bootstrap" in wrong.stderr
    assert not (story.project / "prewarm.lock").exists()


def test_the_same_with_json(story):
    error = json.loads(story.prewarm("plan", "--json", code=2).stdout)["error"]
    assert error["class"] == "DefinitionError"
    assert "bootstap" in error["message"]


def test_a_file_that_is_no_yaml_is_told_with_its_place(story):
    story.write("prewarm.yaml", "version: 1\nsandboxes: [\n")
    assert "prewarm.yaml:" in story.prewarm("build", code=2).stderr


def test_an_input_that_cannot_be_read_is_an_error_and_no_smaller_key(story):
    story.write(
        "prewarm.yaml",
        "version: 1\nnamespace: n\nsandboxes:\n"
        "  a: {base: host, backend: local, seed: [{source: ./missing, target: /workspace/x}]}\n"
        "  b: {base: host, backend: local}\n",
    )
    keys = story.prewarm("keys", code=3)
    assert "missing" in keys.stderr
    assert keys.stdout.split()[1:] == ["b"]
    report = story.build(code=3)
    assert {name: template["status"] for name, template in report.items()} == {"a": "failed", "b": "fresh"}


def test_what_a_backend_cannot_honour_is_refused_before_anything_runs(story):
    story.write(
        "prewarm.yaml",
        "version: 1\nnamespace: n\nsandboxes:\n"
        "  a: {base: {dockerfile: Dockerfile}, backend: local}\n  b: {base: host, backend: local}\n",
    )
    refused = story.prewarm("build", code=2)
    assert "'local' cannot start from base dockerfile" in refused.stderr
    assert story.held("n") == []


def test_a_seed_where_every_session_has_something_else_is_refused(story):
    text = "version: 1\nnamespace: n\nsandboxes:\n  a: {base: host, backend: local, seed: [{path: %s/x, content: x}]}\n"
    for place in ("/run", "/var/run"):
        story.write("prewarm.yaml", text % place)
        refused = story.prewarm("build", code=5)
        assert f"error: sandbox 'a': seed {place}/x would not be in the template" in refused.stderr
        assert "hint: choose another place for it" in refused.stderr
    story.write("prewarm.yaml", text % "/proc")
    assert "prewarm.yaml:4:3: sandbox 'a': a seed at /proc/x would not be" in story.prewarm("build", code=2).stderr


def test_an_unknown_backend_is_named(story):
    story.write("prewarm.yaml", "version: 1\nnamespace: n\nsandboxes:\n  a: {base: host}\n")
    assert "did you mean 'local'" in story.prewarm("build", "--backend", "locla", code=4).stderr
