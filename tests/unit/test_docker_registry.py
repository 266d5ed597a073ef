from types import SimpleNamespace

import pytest

from prewarm.backends.docker import registry
from prewarm.errors import BackendUnavailableError

TROUBLE = (
    "cannot be pushed: unexpected status from HEAD request to http://r/v2/a/blobs/sha256:d9: 500 Internal Server Error"
)


class Mover:
    """Pushes or pulls, and fails so many times before it does not."""

    def __init__(self, *failures, takes_s=0.0):
        self.failures = list(failures)
        self.now, self.takes_s, self.pauses = 0.0, takes_s, []

    def __call__(self):
        self.now += self.takes_s
        if self.failures:
            raise BackendUnavailableError(self.failures.pop(0))
        return "moved"

    def sleep(self, seconds):
        self.pauses.append(seconds)


@pytest.fixture
def moved(monkeypatch):
    def move(mover):
        monkeypatch.setattr(registry, "time", SimpleNamespace(sleep=mover.sleep, monotonic=lambda: mover.now))
        return registry._patiently(mover)

    return move


@pytest.mark.parametrize("times", [1, 3])
def test_a_registry_that_has_trouble_for_a_moment_is_asked_again(moved, times):
    mover = Mover(*[TROUBLE] * times)
    assert moved(mover) == "moved"
    assert len(mover.pauses) == times


def test_trouble_that_stays_is_told_in_the_words_of_the_last_time(moved):
    mover = Mover(TROUBLE, TROUBLE, TROUBLE, TROUBLE.replace("500 Internal Server Error", "503 Service Unavailable"))
    with pytest.raises(BackendUnavailableError, match="503 Service Unavailable"):
        moved(mover)


@pytest.mark.parametrize(
    "failure",
    ["cannot be pushed: connection refused", "wants a login: 401 Unauthorized", "404 Not Found", "layer 1500 x"],
)
def test_what_no_waiting_mends_is_told_at_once(moved, failure):
    mover = Mover(failure)
    with pytest.raises(BackendUnavailableError):
        moved(mover)
    assert mover.pauses == []


def test_what_the_engine_has_tried_again_itself_is_not_tried_once_more(moved):
    mover = Mover(TROUBLE, takes_s=15.0)
    with pytest.raises(BackendUnavailableError):
        moved(mover)
    assert mover.pauses == []
