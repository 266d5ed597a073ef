"""One broken definition among twenty fails alone; the summary says so; the rest is reused by the next build."""

from stories import processor_seconds


def test_one_of_twenty_fails_alone(story, tmp_path):
    summary = tmp_path / "summary.md"
    summary.write_text("what another step wrote\n")
    report = story.build("--jobs", "4", "--summary", str(summary), code=5)
    assert [name for name, template in report.items() if template["status"] == "failed"] == ["worker-07"]
    assert sum(template["status"] == "fresh" for template in report.values()) == 19
    assert list(report) == [f"worker-{n:02}" for n in range(1, 21)]
    written = summary.read_text()
    assert written.startswith("what another step wrote\n### prewarm")
    assert "| worker-07 | failed |" in written

    before = processor_seconds()
    again = story.build(code=5)
    assert sum(template["status"] == "reused" for template in again.values()) == 19
    assert again["worker-07"]["status"] == "failed"
    assert processor_seconds() - before < 10
    assert story.inside("worker-13", "cat", "number") == "13\n"

    story.edit("prewarm.yaml", "!= 07", "!= 99")
    story.edit("prewarm.yaml", "test ", "test  ")
    assert set(story.statuses().values()) == {"fresh"}
    assert set(story.statuses().values()) == {"reused"}


def test_a_name_among_many_that_is_not_there_is_an_error(story):
    assert "worker-21" in story.prewarm("plan", "--only", "worker-21", code=2).stderr
