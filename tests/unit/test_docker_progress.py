"""BuildKit's progress as JSON: steps, lines, the cache, failures."""

import base64
import json

from prewarm.backends.docker.progress import Progress
from prewarm.process import Redactor
from prewarm.testing.fakes import RecordingObserver


def progress(observer, *texts, first=1, total=None):
    return Progress(
        texts=texts,
        first=first,
        total=total or len(texts),
        seals=True,
        observer=observer,
        redact=Redactor(["hunter22"]),
        clock=lambda: 7.0,
    )


def vertex(digest, name, **fields):
    return json.dumps({"vertexes": [{"digest": digest, "name": name, **fields}]})


def log(digest, text, stream=1):
    return json.dumps({"logs": [{"vertex": digest, "stream": stream, "data": base64.b64encode(text).decode()}]})


def named(follow):
    follow.feed(vertex("b", "[template 4/4] RUN two"))
    follow.feed(vertex("a", "[template 3/4] RUN one"))
    follow.feed(vertex("t", "[template 2/4] ADD tree.tar /"))


def test_steps_are_told_when_they_start_with_their_place_in_the_whole_capture():
    observer = RecordingObserver()
    follow = progress(observer, "one", "two", first=3, total=5)
    named(follow)

    follow.feed(vertex("a", "[template 3/4] RUN one", started="2026"))
    follow.feed(vertex("a", "[template 3/4] RUN one", started="2026", completed="2026"))
    follow.feed(vertex("b", "[template 4/4] RUN two", started="2026"))

    assert list(observer.steps) == [(3, 5, "one"), (4, 5, "two")]
    assert follow.running is not None
    assert (follow.running.index, follow.running.started) == (1, 7.0)


def test_lines_of_a_step_are_whole_redacted_and_kept_for_its_failure():
    observer = RecordingObserver()
    follow = progress(observer, "one", "two")
    named(follow)
    follow.feed(vertex("a", "[template 3/4] RUN one", started="2026"))

    follow.feed(log("a", b"to hun"))
    follow.feed(log("a", b"ter22\nbye"))
    follow.feed(log("a", b"oops\n", stream=2))
    follow.feed(
        vertex(
            "a",
            "[template 3/4] RUN one",
            started="2026",
            completed="2026",
            error='process "/bin/sh" did not complete successfully: exit code: 100',
        )
    )
    follow.flush()

    assert list(observer.lines) == ["to ***", "oops", "bye"]
    assert follow.failed is not None
    assert follow.failed.exit_code == 100
    assert list(follow.failed.tail) == ["to ***", "oops", "bye"]


def test_a_step_from_the_cache_is_no_step_that_ran():
    observer = RecordingObserver()
    follow = progress(observer, "one", "two")
    named(follow)

    follow.feed(vertex("a", "[template 3/4] RUN one", started="2026", completed="2026", cached=True))
    follow.feed(vertex("b", "[template 4/4] RUN two", started="2026", completed="2026"))

    assert follow.steps_run == 1
    assert list(observer.lines) == ["unchanged since an earlier build: taken from the build cache"]


def test_objects_spread_over_lines_and_text_after_them_are_read_too():
    follow = progress(RecordingObserver())

    for line in json.dumps(
        {"vertexes": [{"digest": "x", "name": "[internal] y", "error": "e hunter22"}]}, indent=2
    ).split("\n"):
        follow.feed(line)
    follow.feed("ERROR: failed to solve: hunter22")
    follow.feed("{ no json")

    assert follow.errors == ["e ***"]
    assert follow.rest == ["ERROR: failed to solve: ***", "{ no json"]


def test_a_failure_without_an_exit_code_has_none():
    follow = progress(RecordingObserver(), "one")
    follow.feed(vertex("a", "[template 2/2] RUN one", started="2026", error="context canceled"))

    assert follow.failed is not None
    assert follow.failed.exit_code is None


def test_numbers_that_are_padded_are_numbers_too():
    observer = RecordingObserver()
    follow = progress(observer, "one", "two")
    follow.feed(vertex("a", "[template  9/10] RUN one"))
    follow.feed(vertex("b", "[template 10/10] RUN two", started="2026"))

    assert list(observer.steps) == [(2, 2, "two")]


def test_of_a_dockerfile_of_somebodys_own_the_lines_and_the_error_are_told():
    observer = RecordingObserver()
    follow = progress(observer)
    follow.feed(vertex("a", "[2/2] RUN make", started="2026"))
    follow.feed(log("a", b"making\n"))
    follow.feed(vertex("a", "[2/2] RUN make", started="2026", error="exit code: 2"))

    assert (list(observer.steps), list(observer.lines)) == ([], ["making"])
    assert follow.errors == ["exit code: 2"]
