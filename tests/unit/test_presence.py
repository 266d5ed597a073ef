"""What is there: asked of each backend at once, believed from no record."""

from __future__ import annotations

from pathlib import Path

import pytest

from prewarm.backends.base import BackendContext, Presence, Probe, TemplateRef
from prewarm.backends.memory import MemoryBackend
from prewarm.catalog.records import Place, Record
from prewarm.definition.model import HostBase, SessionOptions
from prewarm.lockfile import EntryStatus, LockEntry, LockFile
from prewarm.pipeline.presence import ask
from prewarm.testing.builders import capture_request, key_of
from prewarm.testing.fakes import RecordingObserver


class Counting(MemoryBackend):
    """The memory backend, counting what it is asked."""

    def __init__(self, home):
        super().__init__(BackendContext(home=home, environment={}))
        self.probed: list[int] = []
        self.sought: list[str] = []

    def probe(self, wanted):
        self.probed.append(len(wanted))
        return super().probe(wanted)

    def find(self, namespace, key):
        self.sought.append(key)
        return super().find(namespace, key)

    def make(self, text) -> tuple[Place, TemplateRef]:
        base = self.resolve_base(HostBase(), project=Path("/"), platform="linux/amd64", sha256=str)
        with self.capture(capture_request(base, namespace="acme", key=key_of(text)), RecordingObserver()) as staged:
            staged.publish()
            return Place(backend="memory", key=key_of(text)), staged.ref


def record(place, ref) -> Record:
    return Record(namespace="acme", place=place, name="n", ref=ref)


@pytest.fixture
def backend(tmp_path):
    return Counting(tmp_path)


def test_all_recorded_refs_are_asked_about_in_one_question(backend):
    made = dict(backend.make(str(number)) for number in range(30))
    found = ask("acme", [(backend, place) for place in made], {p: record(p, ref) for p, ref in made.items()})
    assert all(one.usable and one.ref == made[place] for place, one in found.items())
    assert (backend.probed, backend.sought) == ([30], [])


def test_a_key_without_a_record_is_looked_for(backend):
    place, ref = backend.make("x")
    nothing = Place(backend="memory", key=key_of("y"))
    found = ask("acme", [(backend, place), (backend, nothing)], {})
    assert (found[place].usable, found[place].ref, found[place].record) == (True, ref, None)
    assert (found[nothing].ref, found[nothing].probe) == (None, None)


def test_a_record_of_something_else_gives_way_to_what_the_backend_finds(backend):
    place, ref = backend.make("x")
    stale = TemplateRef(backend="memory", format="memory/1", value={"id": "long gone"})
    found = ask("acme", [(backend, place)], {place: record(place, stale)})
    assert (found[place].usable, found[place].ref, found[place].record) == (True, ref, None)


class Retagged(Counting):
    """Finds under a key what is not what was recorded, as an engine does after ``docker tag``."""

    def probe(self, wanted):
        return [
            Probe(presence=Presence.CORRUPT, detail="another image") if ref.value == RECORDED.value else answer
            for (_, ref), answer in zip(wanted, super().probe(wanted), strict=True)
        ]


RECORDED = TemplateRef(backend="memory", format="memory/1", value={"id": "recorded"})


def locked(place, ref) -> LockFile:
    entry = LockEntry(
        name="n",
        platform="linux/amd64",
        status=EntryStatus.CAPTURED,
        key=place.key,
        backend=place.backend,
        ref=ref,
        user="sandbox",
        workdir="/workspace",
        session=SessionOptions(),
    )
    return LockFile(namespace="acme", entries=(entry,))


def test_something_else_than_was_recorded_is_corrupt_whatever_labels_it_carries(tmp_path):
    backend = Retagged(tmp_path)
    place, _ = backend.make("x")
    found = ask("acme", [(backend, place)], {place: record(place, RECORDED)}, locked(place, RECORDED))
    assert found[place].probe.presence is Presence.CORRUPT
    assert found[place].ref == RECORDED


def test_something_else_than_was_recorded_is_taken_where_the_lock_file_names_it(tmp_path):
    backend = Retagged(tmp_path)
    place, ref = backend.make("x")
    found = ask("acme", [(backend, place)], {place: record(place, RECORDED)}, locked(place, ref))
    assert (found[place].usable, found[place].ref, found[place].record) == (True, ref, None)


def test_what_is_damaged_is_said_to_be_with_its_record(backend):
    place, ref = backend.make("x")
    backend.store.damage(ref.value["id"])
    found = ask("acme", [(backend, place)], {place: record(place, ref)})
    assert found[place].probe.presence is Presence.CORRUPT
    assert found[place].record is not None


def test_nothing_to_ask_about_asks_nothing(backend):
    assert ask("acme", [], {}) == {}
    assert backend.probed == []
