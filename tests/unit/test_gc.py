"""Garbage: what lock files and live sessions need stays, whatever its age; the rest is found and goes."""

from __future__ import annotations

import json
import os

import pytest

from prewarm import gc, lockfile
from prewarm.backends.base import BackendContext, Litter, OpenRequest, SessionOptions
from prewarm.backends.memory import MemoryBackend
from prewarm.catalog import Catalog, meet_lock_file
from prewarm.catalog.keylock import build_lock, key_lock
from prewarm.catalog.records import Place, Record
from prewarm.definition.model import HostBase
from prewarm.gc import GarbageKind
from prewarm.home import Home
from prewarm.key import KeyInputs
from prewarm.lockfile import EntryStatus, LockEntry, LockFile
from prewarm.testing.builders import capture_request, child_base, key_of
from prewarm.testing.fakes import RecordingObserver

INPUTS = KeyInputs(
    backend="memory",
    capture_format="memory/1",
    platform="linux/amd64",
    base="sha256:00",
    parent=None,
    user="sandbox",
    workdir="/workspace",
)
NOW = 10_000_000.0
DAY = 86400.0


class Machine:
    """A state directory with a memory backend, and quick ways to put things on it."""

    def __init__(self, path, *, litter=()):
        self.path = path
        self.home = Home(path / "home")
        self.backend = _Littering(BackendContext(home=self.home.path, environment={}), litter)
        self.now = NOW

    def capture(self, name, *, namespace="acme", parent=None, record=True):
        base = self.backend.resolve_base(HostBase(), project=self.path, platform="linux/amd64", sha256=lambda path: "")
        if parent is not None:
            base = child_base(*parent)
        key = key_of(f"{namespace} {name}")
        request = capture_request(base, namespace=namespace, name=name, key=key)
        with self.backend.capture(request, RecordingObserver()) as staged:
            staged.publish()
            ref = staged.ref
        if record:
            place = Place(backend="memory", key=key)
            entry = Record(namespace=namespace, place=place, name=name, ref=ref, parent=parent[1] if parent else None)
            with Catalog(self.home, clock=lambda: self.now) as catalog:
                catalog.add(entry, INPUTS)
        return key, ref

    def lock(self, *templates, namespace="acme", file="prewarm.lock", met=False):
        entries = tuple(
            LockEntry(
                name=f"n{number}",
                platform="linux/amd64",
                status=EntryStatus.CAPTURED,
                key=key,
                backend="memory",
                ref=ref,
                user="sandbox",
                workdir="/workspace",
            )
            for number, (key, ref) in enumerate(templates)
        )
        path = self.path / file
        lockfile.write(path, LockFile(namespace=namespace, entries=entries))
        if met:
            meet_lock_file(self.home, path, namespace)
            return path
        with Catalog(self.home) as catalog:
            catalog.add_lock_file(path, namespace)
        return path

    def scope(self, **changes):
        return gc.Scope(home=self.home, backends=(self.backend,), clock=lambda: NOW + 10 * DAY, **changes)

    def names(self):
        return {template.name for template in self.backend.templates()}


class _Littering(MemoryBackend):
    def __init__(self, context, litter):
        super().__init__(context)
        self._litter = tuple(litter)

    def litter(self, namespace=None):
        return self._litter


class _Standing(MemoryBackend):
    """Tells of a base once no template stands on it."""

    def __init__(self, context):
        super().__init__(context)
        self.bases = {"base"}

    def litter(self, namespace=None):
        if self.templates() or not self.bases:
            return ()
        return (Litter(description="base", size=7, remove=lambda: self.bases.discard("base")),)


def templates(report) -> set[str]:
    return {item.name for item in report.garbage if item.kind is GarbageKind.TEMPLATE}


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_what_no_lock_file_names_may_go_and_the_rest_stays(machine):
    kept = machine.capture("kept")
    machine.capture("old")
    machine.lock(kept)
    report = gc.plan(machine.scope())
    assert templates(report) == {"old"}
    assert [(one.name, one.reason) for one in report.kept] == [("kept", f"'n0' of {machine.path}/prewarm.lock")]


def test_a_plan_removes_nothing(machine):
    machine.capture("old")
    machine.lock()
    gc.plan(machine.scope())
    assert machine.names() == {"old"}


def test_applying_removes_and_says_what(machine):
    kept = machine.capture("kept")
    machine.capture("old")
    machine.lock(kept)
    report = gc.apply(machine.scope())
    assert (templates(report), machine.names()) == ({"old"}, {"kept"})
    assert templates(gc.plan(machine.scope())) == set()


def test_what_a_lock_file_from_elsewhere_names_stays_until_that_is_gone(machine):
    needed = machine.capture("needed", record=False)
    machine.capture("other", record=False)
    path = machine.lock(needed, met=True)
    gc.apply(machine.scope(namespace="acme"))
    assert machine.names() == {"needed"}
    path.unlink()
    gc.apply(machine.scope(namespace="acme"))
    assert machine.names() == set()


def test_a_namespace_of_which_only_a_lock_file_came_here_is_left_alone_unless_named(machine):
    machine.capture("other", record=False)
    path = machine.lock(met=True)
    assert gc.plan(machine.scope()).garbage == ()
    path.unlink()
    report = gc.apply(machine.scope())
    assert [item.kind for item in report.garbage] == [GarbageKind.LOCK_FILE]
    assert machine.names() == {"other"}
    assert gc.plan(machine.scope()).garbage == ()


def test_a_lock_file_known_for_two_reasons_is_forgotten_once(machine):
    path = machine.lock()
    with Catalog(machine.home) as catalog:
        catalog.meet_lock_file(path, "another")
    path.unlink()
    assert len(gc.apply(machine.scope()).garbage) == 1
    with Catalog(machine.home) as catalog:
        assert catalog.lock_files() == ()


def test_what_a_needed_template_stands_on_stays(machine):
    base = machine.capture("base")
    middle = machine.capture("middle", parent=base)
    leaf = machine.capture("leaf", parent=middle)
    machine.lock(leaf)
    assert templates(gc.apply(machine.scope())) == set()
    assert machine.names() == {"base", "middle", "leaf"}


def test_what_a_needed_template_stands_on_stays_also_without_any_record(machine):
    base = machine.capture("base", record=False)
    leaf = machine.capture("leaf", parent=base, record=False)
    machine.lock(leaf)
    report = gc.apply(machine.scope())
    assert machine.names() == {"base", "leaf"}
    assert "base" in {one.name for one in report.kept}
    assert report.failed == ()


def test_a_whole_line_of_unneeded_templates_goes_at_once(machine):
    base = machine.capture("base")
    machine.capture("leaf", parent=base)
    machine.lock()
    assert templates(gc.apply(machine.scope())) == {"base", "leaf"}
    assert machine.names() == set()


def test_a_live_session_keeps_its_template(machine):
    key, ref = machine.capture("used")
    machine.lock()
    session = machine.backend.open(
        OpenRequest(
            namespace="acme",
            name="used",
            key=key,
            ref=ref,
            session_key="user-42",
            user="sandbox",
            workdir="/workspace",
            env={},
            options=SessionOptions(),
        )
    )
    report = gc.apply(machine.scope())
    assert machine.names() == {"used"}
    assert [one.reason for one in report.kept] == ["live session 'user-42' of 'used'"]
    session.remove()
    gc.apply(machine.scope())
    assert machine.names() == set()


def test_age_keeps_the_young_and_is_never_a_reason_to_remove(machine):
    needed = machine.capture("needed")
    machine.capture("old")
    machine.now = NOW + 9 * DAY
    machine.capture("young")
    machine.capture("unknown", record=False)
    machine.lock(needed)
    report = gc.plan(machine.scope(older_than_s=5 * DAY))
    assert templates(report) == {"old"}
    reasons = {one.name: one.reason for one in report.kept}
    assert (reasons["young"], reasons["unknown"]) == ("captured 1.0 days ago", "its age is unknown")


def test_a_lock_file_that_is_gone_is_no_root_and_is_forgotten(machine):
    path = machine.lock(machine.capture("orphan"))
    path.unlink()
    report = gc.apply(machine.scope())
    assert machine.names() == set()
    assert [item.description for item in report.garbage if item.kind is GarbageKind.LOCK_FILE] == [
        f"{path} is remembered and does not exist"
    ]
    with Catalog(machine.home) as catalog:
        assert catalog.lock_files() == ()


def test_a_lock_file_that_cannot_be_read_keeps_all_of_its_namespace(machine):
    machine.capture("old")
    machine.lock().write_text("<<<<<<< HEAD")
    report = gc.apply(machine.scope())
    assert machine.names() == {"old"}
    assert any("is damaged" in note for note in report.notes)


def test_a_namespace_that_this_machine_never_built_is_not_touched(machine):
    machine.capture("theirs", namespace="others", record=False)
    machine.lock()
    assert templates(gc.apply(machine.scope())) == set()
    assert templates(gc.apply(machine.scope(namespace="others"))) == {"theirs"}


def test_one_namespace_alone_can_be_looked_at(machine):
    machine.capture("mine")
    machine.capture("theirs", namespace="others")
    assert templates(gc.plan(machine.scope(namespace="acme"))) == {"mine"}


def test_another_projects_lock_file_of_the_same_namespace_is_a_root_too(machine):
    one, two = machine.capture("one"), machine.capture("two")
    machine.lock(one, file="one.lock")
    machine.lock(two, file="two.lock")
    assert templates(gc.plan(machine.scope())) == set()


def test_a_running_build_keeps_its_namespace_as_it_is(machine):
    machine.capture("old")
    machine.lock()
    with machine.home.lock(build_lock("acme"), exclusive=False):
        report = gc.apply(machine.scope())
    assert machine.names() == {"old"}
    assert report.notes == ("a build of 'acme' is running; nothing of it is removed",)


def test_litter_is_found_and_removed(tmp_path):
    swept = []
    machine = Machine(tmp_path, litter=[Litter(description="half a capture", size=5, remove=lambda: swept.append(1))])
    machine.lock()
    assert any(item.kind is GarbageKind.LITTER and item.size == 5 for item in gc.plan(machine.scope()).garbage)
    assert swept == []
    gc.apply(machine.scope())
    assert swept == [1]


def test_litter_that_may_be_anybodys_counts_once(tmp_path):
    machine = Machine(tmp_path, litter=[Litter(description="half a capture", size=5, remove=lambda: None)])
    machine.lock()
    machine.lock(namespace="other", file="other.lock")
    litter = [item for item in gc.plan(machine.scope()).garbage if item.kind is GarbageKind.LITTER]
    assert [(item.namespace, item.size) for item in litter] == [("", 5)]


def test_what_cannot_be_removed_is_told_and_the_rest_goes(tmp_path):
    def fail():
        raise OSError(13, "Permission denied")

    machine = Machine(tmp_path, litter=[Litter(description="stuck", size=0, remove=fail)])
    machine.capture("old")
    report = gc.apply(machine.scope())
    assert [(item.description, why) for item, why in report.failed] == [
        ("stuck (memory)", "[Errno 13] Permission denied")
    ]
    assert report.exit_code == 1
    assert machine.names() == set()


def test_records_of_templates_that_are_gone_go_unless_they_are_waited_for(machine):
    key, ref = machine.capture("gone")
    waited = machine.capture("waited")
    machine.lock(waited)
    machine.backend.remove(ref)
    machine.backend.remove(waited[1])
    report = gc.apply(machine.scope())
    assert [item.place.key for item in report.garbage if item.kind is GarbageKind.RECORD] == [key]
    with Catalog(machine.home) as catalog:
        assert [record.place.key for record in catalog.all_records()] == [waited[0]]


def test_databases_set_aside_and_locks_that_nobody_holds_go(machine):
    machine.lock()
    (machine.home.path / "state.db.damaged").write_bytes(b"x" * 10)
    place = Place(backend="memory", key=key_of("x"))
    held, free = key_lock("acme", place), key_lock("other", place)
    with machine.home.lock(free):
        pass
    with machine.home.lock(held):
        report = gc.apply(machine.scope())
        assert (machine.home.path / "locks" / held).exists()
    assert not (machine.home.path / "locks" / free).exists()
    assert not (machine.home.path / "state.db.damaged").exists()
    assert {item.kind for item in report.garbage} == {GarbageKind.STATE}


def test_the_answer_is_plain_json_and_plain_text(machine):
    machine.capture("old")
    report = gc.plan(machine.scope())
    document = json.loads(json.dumps(report.to_json()))
    assert (document["schema"], document["applied"]) == ("prewarm.gc/1", False)
    assert document["garbage"][0]["key"] == key_of("acme old")
    assert report.text().splitlines()[0].startswith("would remove template: acme/old")


def test_an_empty_machine_has_no_garbage(machine):
    assert gc.apply(machine.scope()).garbage == ()
    assert os.path.isdir(machine.home.path)


def test_what_only_removed_templates_stood_on_goes_with_them(machine):
    machine.backend = _Standing(BackendContext(home=machine.home.path, environment={}))
    machine.capture("old")
    machine.lock()
    assert "base" not in gc.plan(machine.scope()).text()
    report = gc.apply(machine.scope())
    assert machine.backend.bases == set()
    assert [item.description for item in report.garbage if item.kind is GarbageKind.LITTER] == ["base (memory)"]
