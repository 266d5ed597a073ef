"""Templates that go to registries and come back: several at a time, each with its seconds, every failure reported."""

import threading
import time

import pytest

from prewarm import lockfile, transport
from prewarm.backends.base import Presence, Probe
from prewarm.cancellation import Cancellation
from prewarm.catalog import Catalog
from prewarm.catalog.records import Place, Record
from prewarm.errors import (
    BackendUnavailableError,
    TemplateCorruptError,
    TemplateNotFoundError,
    UnsupportedOptionError,
)
from prewarm.home import Home
from prewarm.key import KeyInputs, TemplateKey
from prewarm.lockfile import EntryStatus, LockEntry, LockFile
from prewarm.machine import host_platform
from prewarm.moves import Move
from prewarm.values import TemplateRef

REGISTRY = "registry.example.org/team"
INPUTS = KeyInputs(
    backend="docker",
    capture_format="docker/1",
    platform="linux/amd64",
    base="sha256:00",
    parent=None,
    user="sandbox",
    workdir="/workspace",
)


class Travelling:
    """Moves templates in no time, or as it is told."""

    name = "docker"

    def __init__(self, **acts):
        self.acts = acts
        self.asked = []

    def push(self, template, registry, hear):
        assert registry == REGISTRY
        self.asked.append(template.key)
        hear("layer: Preparing")
        hear("")
        act = self.acts.get(template.key[0])
        return act(hear) if act is not None else True

    pull = push

    def export_templates(self, templates, target):
        raise NotImplementedError

    def import_templates(self, source):
        return [TemplateKey("a" * 64)]

    def cache_save(self, templates, directory):
        raise NotImplementedError

    def cache_restore(self, templates, directory):
        return [template.key for template in templates]

    def offers(self, namespace, key, registry):
        raise NotImplementedError

    def fetch(self, namespace, key, registry, hear):
        raise NotImplementedError


def raising(error):
    def act(_hear):
        raise error

    return act


@pytest.fixture
def lock(tmp_path):
    """A lock file of sandboxes by name, each with the key that its digit stands for."""

    def make(**keys):
        entries = [
            LockEntry(
                name=name,
                platform=host_platform(),
                status=EntryStatus.CAPTURED,
                key=TemplateKey(digit * 64),
                backend="docker",
                ref=TemplateRef(backend="docker", format="docker/1", value={"image": digit}),
                user="sandbox",
                workdir="/workspace",
            )
            for name, digit in keys.items()
        ]
        lockfile.write(tmp_path / "prewarm.lock", LockFile(namespace="x", entries=tuple(entries)))
        return tmp_path / "prewarm.lock"

    return make


def push(lock, backend, *, only=(), jobs=4, hear=lambda _: None, cancellation=None):
    return transport.push(
        lock,
        REGISTRY,
        only=only,
        choose=lambda _: (backend, "asked for"),
        hear=hear,
        jobs=jobs,
        cancellation=cancellation,
    )


def test_each_template_has_its_move_and_its_seconds(lock):
    backend = Travelling(b=lambda _: False, c=lambda _: time.sleep(0.2) or True)
    moves = push(lock(one="a", two="b", three="c"), backend)
    told = {one.name: one for one in moves.templates}
    assert {name: one.move for name, one in told.items()} == {"one": Move.MOVED, "two": Move.THERE, "three": Move.MOVED}
    assert told["three"].seconds >= 0.2
    assert moves.to_json()["templates"][0]["seconds"] is not None
    assert moves.exit_code == 0


def test_two_sandboxes_of_one_key_travel_once(lock):
    backend = Travelling()
    moves = push(lock(one="a", two="a"), backend)
    assert len(backend.asked) == 1
    assert [one.move for one in moves.templates] == [Move.MOVED, Move.MOVED]


def test_several_travel_at_a_time(lock):
    together = threading.Barrier(3, timeout=60)
    acts = {digit: lambda _: together.wait() >= 0 for digit in "abc"}
    moves = push(lock(one="a", two="b", three="c"), Travelling(**acts), jobs=3)
    assert [one.move for one in moves.templates] == [Move.MOVED] * 3


def test_lines_are_heard_one_at_a_time_with_the_name_of_their_template(lock):
    heard, inside = [], threading.Lock()

    def hear(line):
        assert inside.acquire(blocking=False)
        time.sleep(0.01)
        heard.append(line)
        inside.release()

    push(lock(one="a", two="b", three="c"), Travelling(), hear=hear)
    assert sorted(heard) == ["one: layer: Preparing", "three: layer: Preparing", "two: layer: Preparing"]


def test_one_that_fails_does_not_stop_the_others_and_all_failures_are_told(lock):
    backend = Travelling(
        a=raising(TemplateNotFoundError("it has none", hint="push it")), c=raising(TemplateNotFoundError("nor this"))
    )
    moves = push(lock(one="a", two="b", three="c"), backend, jobs=1)
    assert [(one.name, one.move.value) for one in moves.templates] == [
        ("one", "failed"),
        ("three", "failed"),
        ("two", "moved"),
    ]
    assert [one.message for one in moves.failures] == ["it has none", "nor this"]
    assert moves.exit_code == TemplateNotFoundError.exit_code
    assert moves.to_json()["templates"][0]["error"]["hint"] == "push it"


def test_failures_of_several_kinds_have_the_exit_code_of_a_build_that_failed(lock):
    backend = Travelling(a=raising(TemplateCorruptError("other")), b=raising(BackendUnavailableError("down")))
    assert push(lock(one="a", two="b"), backend).exit_code == 5


def test_a_registry_that_is_down_is_told_once(lock):
    down = raising(BackendUnavailableError("down"))
    moves = push(lock(one="a", two="b"), Travelling(a=down, b=down))
    assert [one.message for one in moves.failures] == ["down"]
    assert moves.exit_code == BackendUnavailableError.exit_code


def test_a_fault_that_is_none_of_ours_is_raised_when_all_have_ended(lock):
    backend = Travelling(a=raising(ZeroDivisionError("bug")))
    with pytest.raises(ZeroDivisionError):
        push(lock(one="a", two="b"), backend)
    assert len(backend.asked) == 2


def test_what_is_stopped_is_skipped_and_said_to_be_so(lock):
    cancellation = Cancellation()

    def stopped(hear):
        cancellation.cancel()
        hear("")
        return True

    backend = Travelling(a=stopped)
    moves = push(lock(one="a", two="b"), backend, jobs=1, cancellation=cancellation)
    assert [one.move for one in moves.templates] == [Move.SKIPPED, Move.SKIPPED]
    assert (moves.interrupted, moves.exit_code, len(backend.asked)) == (True, 130, 1)


def test_a_backend_without_registries_refuses_before_anything_moves(lock):
    class Staying:
        name = "docker"

    with pytest.raises(UnsupportedOptionError, match="do not travel by a registry"):
        push(lock(one="a"), Staying())


def test_a_name_that_the_lock_file_has_not_is_refused(lock):
    with pytest.raises(TemplateNotFoundError, match="no template of 'nobody'"):
        push(lock(one="a"), Travelling(), only=("nobody",))


# What comes here is needed here


def bring_by_pull(lock, home):
    transport.pull(
        lock, REGISTRY, only=(), choose=lambda _: (Travelling(), "asked for"), home=home, hear=lambda _: None
    )


def bring_by_archive(lock, home):
    transport.take_in(lock.parent / "archive.tar", backend=Travelling(), home=home, lock=lock)


def bring_by_cache(lock, home):
    transport.cache_restore(lock, lock.parent / "cache", choose=lambda _: (Travelling(), "asked for"), home=home)


BRINGING = pytest.mark.parametrize("bring", [bring_by_pull, bring_by_archive, bring_by_cache])


@BRINGING
def test_a_lock_file_whose_templates_came_here_is_remembered(lock, tmp_path, bring):
    home = Home(tmp_path / "home")
    bring(lock(one="a"), home)
    with Catalog(home) as catalog:
        assert catalog.lock_files() == ((tmp_path / "prewarm.lock", "x"),)


@BRINGING
def test_templates_come_also_where_the_state_directory_cannot_be_written(lock, tmp_path, bring):
    (tmp_path / "file").touch()
    bring(lock(one="a"), Home(tmp_path / "file" / "home"))


def test_what_is_neither_in_the_cache_nor_here_is_told(lock, tmp_path):
    held = {"a": Presence.PRESENT, "b": Presence.MISSING, "c": Presence.CORRUPT}
    backend = Travelling()
    backend.cache_restore = lambda templates, directory: [one.key for one in templates if one.key[0] == "d"]
    backend.probe = lambda wanted: [Probe(presence=held[key[0]]) for key, _ in wanted]

    moves = transport.cache_restore(
        lock(one="a", two="b", three="c", four="d"),
        tmp_path / "cache",
        choose=lambda _: (backend, "asked for"),
        home=Home(tmp_path / "home"),
    )

    assert {one.name: one.move for one in moves.templates} == {
        "one": Move.THERE,
        "two": Move.ABSENT,
        "three": Move.ABSENT,
        "four": Move.MOVED,
    }
    assert moves.exit_code == 0


def test_a_lock_file_without_templates_says_so(lock, tmp_path):
    with pytest.raises(TemplateNotFoundError, match="the lock file has no template for"):
        transport.cache_save(lock(), tmp_path / "cache", choose=lambda _: (Travelling(), "asked for"))


@pytest.mark.parametrize(("presence", "kept"), [(Presence.PRESENT, True), (Presence.CORRUPT, False)])
def test_the_record_of_a_capture_whose_place_an_archives_template_takes_is_dropped(tmp_path, presence, kept):
    home, place = Home(tmp_path / "home"), Place(backend="docker", key=TemplateKey("a" * 64))
    ref = TemplateRef(backend="docker", format="docker/1", value={"image": "sha256:1"})
    backend = Travelling()
    backend.probe = lambda wanted: [Probe(presence=presence) for _ in wanted]
    with Catalog(home) as catalog:
        catalog.add(Record(namespace="x", place=place, name="one", ref=ref), INPUTS)
        transport.take_in(tmp_path / "archive.tar", backend=backend, home=home, lock=None)
        assert (place in catalog.records("x", [place.key])) is kept


def test_an_archive_needs_no_lock_file(tmp_path):
    taken = transport.take_in(tmp_path / "archive.tar", backend=Travelling(), home=Home(tmp_path / "home"), lock=None)
    assert taken == [TemplateKey("a" * 64)]
    assert not (tmp_path / "home").exists()
