"""The report: one shape for machines, one last line for people."""

from __future__ import annotations

import json
import re

import pytest

from prewarm.errors import (
    BuildFailedError,
    CaptureFailedError,
    InterruptedBuildError,
    StepFailedError,
    UnkeyableInputError,
)
from prewarm.failure import Failure
from prewarm.key import TemplateKey
from prewarm.plan import Reason, Status
from prewarm.report import Report, TemplateReport
from prewarm.request import TemplateRef

KEY = TemplateKey("ab" * 32)


def template(name="analyst", status=Status.REUSED, **changes) -> TemplateReport:
    reasons = {
        Status.REUSED: Reason.UNCHANGED,
        Status.FRESH: Reason.FIRST_CAPTURE,
        Status.SKIPPED: Reason.PARENT_FAILED,
    }
    values = {
        "platform": "linux/amd64",
        "reason": reasons.get(status, Reason.FIRST_CAPTURE),
        "key": KEY,
        "backend": "memory",
    }
    return TemplateReport(name=name, status=status, **(values | changes))


def failed(name="broken", error=None) -> TemplateReport:
    error = error or StepFailedError(
        "bootstrap step 2 of 3 of 'broken' exited 100: apt-get install nothing",
        step=2,
        text="apt-get install nothing",
        reason="exited 100",
        command_exit_code=100,
        tail=("Reading package lists...", "E: Unable to locate package nothing"),
        hint="look at its last lines",
    )
    return template(name, Status.FAILED, error=Failure.of(error, name=name, redact=str))


def report(*templates, **changes) -> Report:
    return Report(namespace="acme", platform="linux/amd64", templates=templates, **changes)


def test_the_last_line_is_as_documented():
    reused = [template(f"r{n}", saved_s=372 / 7) for n in range(7)]
    fresh = [template(f"f{n}", Status.FRESH) for n in range(2)]
    line = report(*reused, *fresh, seconds=41.23).last_line()
    assert line == "prepared 9 templates (7 reused, 2 fresh) in 41.2s, saved about 6m 12s"


def test_the_last_line_counts_what_failed():
    reused = [template(f"r{n}") for n in range(5)]
    fresh = [template(f"f{n}", Status.FRESH) for n in range(2)]
    line = report(*reused, *fresh, failed(), template("child", Status.SKIPPED), seconds=3).last_line()
    assert line == "prepared 7 of 9 templates (5 reused, 2 fresh, 1 failed, 1 skipped) in 3.0s"


def test_nothing_saved_is_not_bragged_about():
    assert (
        report(template("x", Status.FRESH), seconds=2).last_line() == "prepared 1 template (0 reused, 1 fresh) in 2.0s"
    )


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.4, "0.4s"), (9.96, "10.0s"), (42.4, "42s"), (60, "1m 0s"), (3700, "1h 1m")]
)
def test_saved_time_is_told_as_people_tell_it(seconds, told):
    assert report(template(saved_s=seconds)).last_line().endswith(f"saved about {told}")


def test_a_plan_says_what_would_be():
    assert report(template(), template("b", Status.FRESH), planned=True).last_line() == (
        "would prepare 2 templates (1 reused, 1 fresh)"
    )


def test_the_text_ends_with_the_last_line_and_shows_failures_in_full():
    text = report(template(), failed(), seconds=1).text()
    assert "  | E: Unable to locate package nothing" in text
    assert "  hint: look at its last lines" in text
    assert text.splitlines()[-1].startswith("prepared 1 of 2 templates")
    assert re.search(r"^reused   analyst  abababababab  unchanged$", text, re.MULTILINE)


def test_json_has_what_is_documented():
    ref = TemplateRef(backend="memory", format="memory/1", value={"id": "x"})
    fresh = template(
        "new",
        Status.FRESH,
        reason=Reason.INPUTS_CHANGED,
        changes=("user: root -> sandbox",),
        seconds={"seed": 0.12345},
        size=7,
        ref=ref,
    )
    document = json.loads(json.dumps(report(template(saved_s=3.5), fresh, failed(), seconds=1.5).to_json()))
    assert document["schema"] == "prewarm.report/1"
    assert [item["name"] for item in document["templates"]] == ["analyst", "new", "broken"]
    assert [item["status"] for item in document["templates"]] == ["reused", "fresh", "failed"]
    new = document["templates"][1]
    assert (new["key"], new["backend"], new["reason"]) == (KEY, "memory", "inputs changed")
    assert (new["changes"], new["seconds"], new["bytes"]) == (["user: root -> sandbox"], {"seed": 0.123}, 7)
    error = document["templates"][2]["error"]
    assert (error["class"], error["step"], error["command_exit_code"]) == ("StepFailedError", 2, 100)
    assert error["tail"][-1] == "E: Unable to locate package nothing"
    assert document["totals"] == {"templates": 3, "reused": 1, "fresh": 1, "failed": 1, "skipped": 0}
    assert (document["seconds"], document["saved_seconds"]) == (1.5, 3.5)


def test_the_exit_code_is_that_of_the_failures():
    unkeyable = failed("a", UnkeyableInputError("cannot read x"))
    assert report(template()).exit_code == 0
    assert report(template(), failed()).exit_code == 5
    assert report(unkeyable, template("child", Status.SKIPPED)).exit_code == 3
    assert report(unkeyable, failed("b")).exit_code == 5
    assert report(template("only", Status.SKIPPED)).exit_code == 5
    assert report(failed(), interrupted=True).exit_code == 130


def test_failures_can_be_raised_all_at_once():
    with pytest.raises(
        BuildFailedError, match=r"2 of 3 templates failed: broken: .*exited 100.*; child: parent failed"
    ):
        report(template(), failed(), template("child", Status.SKIPPED)).raise_for_failures()
    with pytest.raises(InterruptedBuildError):
        report(template(), interrupted=True).raise_for_failures()
    report(template()).raise_for_failures()


def test_the_summary_is_a_table_that_no_text_can_break():
    hostile = template("new", Status.FRESH, reason=Reason.INPUTS_CHANGED, changes=("env A: a|b -> <b>\nc",))
    summary = report(hostile, failed(), seconds=1).summary_markdown()
    rows = [line for line in summary.splitlines() if line.startswith("| new")]
    assert rows == ["| new | fresh | `abababababab` | inputs changed: env A: a\\|b -> &lt;b> c | 0.0 |  |"]
    assert "<details><summary>broken failed</summary>" in summary
    assert "prepared 1 of 2 templates" in summary


def test_what_is_not_of_our_tree_becomes_a_failed_capture_with_its_class():
    failure = Failure.of(KeyError("layer"), name="x", redact=str)
    assert (failure.kind, failure.exit_code) == ("CaptureFailedError", 5)
    assert failure.message == "capture of 'x' failed: KeyError: 'layer'"


def test_a_failure_hides_secrets_everywhere():
    error = StepFailedError(
        "exited 1: curl hunter22",
        step=1,
        text="curl hunter22",
        reason="exited 1",
        command_exit_code=1,
        tail=("got hunter22",),
        hint="hunter22",
    )
    failure = Failure.of(error, name="x", redact=lambda text: text.replace("hunter22", "***"))
    assert "hunter22" not in json.dumps(failure.to_json())
    assert Failure.of(CaptureFailedError("no"), name="x", redact=str).tail == ()
