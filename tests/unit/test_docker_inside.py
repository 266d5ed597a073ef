"""Which files of a session the engine's archive does not reach."""

from prewarm.backends.docker.inside import Places


def test_what_lies_in_memory_is_hidden_from_the_archive():
    places = Places({"tmpfs": {"/scratch": "1m"}})

    hidden = [path for path in ("/scratch", "/scratch/a/b", "/dev/shm/x", "/proc/1", "/sys") if places.are_hidden(path)]
    assert hidden == ["/scratch", "/scratch/a/b", "/dev/shm/x", "/proc/1", "/sys"]
    assert not any(places.are_hidden(path) for path in ("/", "/scratchy", "/workspace", "/device"))


def test_under_a_read_only_root_the_archive_writes_to_mounts_alone():
    places = Places({"read_only": True, "mounts": [{"source": "/srv", "target": "/data"}]})

    assert places.are_refused("/workspace/x")
    assert not places.are_refused("/data/x")
    assert not places.are_hidden("/workspace/x")
    assert not Places({}).are_refused("/workspace/x")
