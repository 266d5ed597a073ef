"""A build's own directory: held as long as the build is under way, from its first moment to its last."""

import threading

from prewarm.backends.docker.workplace import abandoned, clear, under_way, workplace


def test_a_build_under_way_is_told_from_one_that_has_ended(tmp_path):
    with workplace(tmp_path) as place:
        assert under_way(tmp_path, place.identity)
        assert abandoned(tmp_path) == []
    assert not under_way(tmp_path, place.identity)
    assert not place.path.exists()


def test_a_directory_that_nobody_holds_is_abandoned_and_can_be_cleared(tmp_path):
    assert abandoned(tmp_path) == []
    left = tmp_path / "docker" / "build-0123456789abcdef"
    (left / "context").mkdir(parents=True)

    assert abandoned(tmp_path) == [left]
    clear(left)
    assert abandoned(tmp_path) == []


def test_a_build_that_begins_or_ends_just_now_is_never_taken_for_abandoned(tmp_path):
    ended = threading.Event()

    def build():
        while not ended.is_set():
            with workplace(tmp_path) as place:
                (place.context / "seed").write_text("x")

    builders = [threading.Thread(target=build) for _ in range(2)]
    for one in builders:
        one.start()
    seen = [found for _ in range(300) if (found := abandoned(tmp_path))]
    ended.set()
    for one in builders:
        one.join()

    assert seen == []
