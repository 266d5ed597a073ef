"""With --json there is one object on stdout, of a named schema, whatever else is said on stderr and however it ends."""

import json
import re

TEMPLATE = {
    "name", "platform", "key", "backend", "status", "reason", "detail", "changes", "seconds", "bytes",
    "saved_seconds", "ref", "error",
}  # fmt: skip


def _answer(story, *arguments, code=0):
    return json.loads(story.prewarm(*arguments, "--json", code=code).stdout)


def test_build_and_plan_answer_with_a_report(story):
    plan = _answer(story, "plan")
    assert plan["schema"] == "prewarm.report/1"
    assert {template["status"] for template in plan["templates"]} == {"fresh"}
    report = _answer(story, "build", code=5)
    assert report["schema"] == "prewarm.report/1"
    assert report["namespace"] == "story-answers"
    assert report["totals"] == {"templates": 2, "reused": 0, "fresh": 1, "failed": 1, "skipped": 0}
    good, bad = report["templates"]
    assert set(good) == set(bad) == TEMPLATE
    assert re.fullmatch("[0-9a-f]{64}", good["key"])
    assert (good["backend"], good["status"], good["reason"], good["error"]) == ("local", "fresh", "first capture", None)
    assert set(good["seconds"]) <= {"base", "seed", "bootstrap", "seal", "verify", "publish"}
    assert (bad["status"], bad["ref"]) == ("failed", None)
    assert bad["error"]["class"] == "StepFailedError"
    assert (bad["error"]["step"], bad["error"]["command_exit_code"]) == (1, 3)


def test_keys_answers_with_the_same_keys(story):
    keys = _answer(story, "keys")
    assert keys["schema"] == "prewarm.report/1"
    built = _answer(story, "build", code=5)
    assert [(t["name"], t["key"]) for t in keys["templates"]] == [(t["name"], t["key"]) for t in built["templates"]]


def test_the_same_project_elsewhere_has_the_same_keys(story, tmp_path):
    import shutil

    keys = _answer(story, "keys")["templates"]
    elsewhere = tmp_path / "another" / "checkout"
    shutil.copytree(story.project, elsewhere)
    again = json.loads(story.prewarm("keys", "--json", cwd=elsewhere, LC_ALL="C", TZ="Asia/Tokyo").stdout)["templates"]
    assert [t["key"] for t in again] == [t["key"] for t in keys]


def test_check_explain_templates_sessions_gc_doctor_version(story):
    story.prewarm("build", code=5)
    check = _answer(story, "check", code=7)
    assert (check["schema"], check["ok"]) == ("prewarm.check/1", False)
    assert {entry["name"]: entry["status"] for entry in check["templates"]} == {"good": "present", "bad": "failed"}
    explained = _answer(story, "explain", "good")
    assert (explained["schema"], explained["name"], explained["status"]) == ("prewarm.explain/1", "good", "reused")
    held = _answer(story, "templates")
    assert held["schema"] == "prewarm.templates/1"
    assert [set(one) for one in held["templates"]] == [{"namespace", "name", "key", "backend", "ref", "bytes"}]
    story.prewarm("open", "good", "--key", "k", "--", "true")
    sessions = _answer(story, "sessions")
    assert sessions["schema"] == "prewarm.sessions/1"
    assert sessions["sessions"][0]["key"] == held["templates"][0]["key"]
    assert _answer(story, "sessions", "--remove", "k")["removed"] == [sessions["sessions"][0]["id"]]
    garbage = _answer(story, "gc")
    assert (garbage["schema"], garbage["applied"]) == ("prewarm.gc/1", False)
    doctor = _answer(story, "doctor", "--backend", "local")
    assert doctor["schema"] == "prewarm.doctor/1"
    assert doctor["backends"][0]["ok"] is True
    assert _answer(story, "version")["schema"] == "prewarm.version/1"


def test_an_error_is_an_object_too(story):
    error = _answer(story, "explain", "nobody", code=2)
    assert error["schema"] == "prewarm.error/1"
    assert error["error"]["class"] == "DefinitionError"


def test_the_schema_accepts_every_definition_of_these_stories(story):
    from pathlib import Path

    import jsonschema
    import yaml

    schema = json.loads(story.prewarm("schema").stdout)
    checked = 0
    for path in Path(__file__).parents[1].glob("*/prewarm.yaml"):
        if path.parent.name != "wrong_definition":
            jsonschema.validate(yaml.safe_load(path.read_text()), schema)
            checked += 1
    assert checked >= 9
