"""Lock files: the same captures give the same bytes, and nothing hostile gets through."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewarm import lockfile
from prewarm.backends.base import TemplateRef
from prewarm.definition.model import Network, Resources, SessionOptions
from prewarm.errors import LockFileError, TemplateNotFoundError
from prewarm.key import TemplateKey
from prewarm.lockfile import EntryStatus, LockEntry, LockFile
from prewarm.machine import host_platform

KEY = TemplateKey("ab" * 32)


def captured(name="analyst", platform="linux/amd64", **changes) -> LockEntry:
    entry = LockEntry(
        name=name,
        platform=platform,
        status=EntryStatus.CAPTURED,
        key=KEY,
        backend="memory",
        ref=TemplateRef(backend="memory", format="memory/1", value={"layers": ["b", "a"], "b": {"y": 1, "x": None}}),
        user="sandbox",
        workdir="/workspace",
        env={"B": "2", "A": "eins=1\n"},
        session=SessionOptions(
            network=Network.ALL,
            resources=Resources(memory=1 << 30, cpus=1.5),
            idle_timeout_s=60.0,
            options={"runtime": "runsc"},
        ),
    )
    return replace(entry, **changes)


def failed(name="broken", platform="linux/amd64") -> LockEntry:
    return LockEntry(name=name, platform=platform, status=EntryStatus.FAILED, reason="step 2 exited 100")


def lock(*entries: LockEntry) -> LockFile:
    return LockFile(namespace="acme-bot", entries=entries)


def test_what_is_written_is_read_back(tmp_path):
    written = lock(captured(), failed())
    assert lockfile.write(tmp_path / "prewarm.lock", written)
    assert lockfile.read(tmp_path / "prewarm.lock") == written


def test_the_order_of_entries_and_of_names_in_them_does_not_show_in_the_bytes():
    one = lock(captured(env={"A": "1", "B": "2"}), failed())
    other = lock(failed(), captured(env={"B": "2", "A": "1"}))
    assert lockfile.dumps(one) == lockfile.dumps(other)
    assert lockfile.dumps(one).endswith(b"}\n")


def test_an_unchanged_lock_file_is_not_written_again(tmp_path):
    path = tmp_path / "prewarm.lock"
    lockfile.write(path, lock(captured()))
    before = path.stat()
    assert not lockfile.write(path, lock(captured()))
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_writing_through_a_link_keeps_the_link(tmp_path):
    (tmp_path / "prewarm.lock").symlink_to(tmp_path / "real.lock")
    lockfile.write(tmp_path / "prewarm.lock", lock(captured()))
    assert (tmp_path / "prewarm.lock").is_symlink()
    assert lockfile.read(tmp_path / "real.lock") == lock(captured())


def test_a_lock_file_that_cannot_be_written_leaves_the_old_one_and_no_litter(tmp_path):
    (tmp_path / "prewarm.lock").mkdir()
    with pytest.raises(LockFileError, match="cannot write the lock file") as caught:
        lockfile.write(tmp_path / "prewarm.lock", lock(captured()))
    assert caught.value.hint is not None
    assert os.listdir(tmp_path) == ["prewarm.lock"]


def test_an_entry_is_found_by_name_and_platform():
    both = lock(captured(platform="linux/amd64"), captured(platform="linux/arm64"))
    assert both.entry("analyst", "linux/arm64").platform == "linux/arm64"


def test_without_a_platform_this_machines_entry_is_meant():
    both = lock(captured(platform=host_platform()), captured(platform="plan9/mips"))
    assert both.entry("analyst").platform == host_platform()


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(TemplateNotFoundError, match="knows no sandbox 'analist'") as caught:
        lock(captured()).entry("analist", "linux/amd64")
    assert caught.value.hint == "did you mean 'analyst'?"


def test_an_unknown_name_with_none_near_names_all():
    with pytest.raises(TemplateNotFoundError) as caught:
        lock(captured(), failed()).entry("zzz", "linux/amd64")
    assert caught.value.hint == "it knows: analyst, broken"


def test_another_platforms_capture_is_not_opened():
    with pytest.raises(TemplateNotFoundError, match="captured for linux/arm64, not for linux/amd64") as caught:
        lock(captured(platform="linux/arm64")).entry("analyst", "linux/amd64")
    assert "prewarm build --platform linux/amd64" in (caught.value.hint or "")


def test_a_failed_entry_fails_with_its_reason():
    with pytest.raises(TemplateNotFoundError, match="'broken' was not captured: step 2 exited 100"):
        lock(failed()).entry("broken", "linux/amd64")


def test_merging_replaces_what_was_built_and_keeps_the_rest():
    old = lock(captured("a"), captured("b", platform="linux/arm64"), captured("b"))
    new = old.merged([failed("b")], defined={"a", "b"})
    assert [(e.name, e.platform, e.status.value) for e in new.entries] == [
        ("a", "linux/amd64", "captured"),
        ("b", "linux/amd64", "failed"),
        ("b", "linux/arm64", "captured"),
    ]


def test_merging_drops_what_is_defined_no_more():
    assert lock(captured("gone")).merged([captured("a")], defined={"a"}).entries == (captured("a"),)


def test_a_missing_lock_file_names_the_build(tmp_path):
    with pytest.raises(LockFileError, match="no lock file at") as caught:
        lockfile.read(tmp_path / "prewarm.lock")
    assert "prewarm build" in (caught.value.hint or "")


def test_a_newer_schema_says_which_prewarm_is_needed(tmp_path):
    path = tmp_path / "prewarm.lock"
    path.write_text('{"schema": "prewarm.lock/7", "later": true}')
    with pytest.raises(LockFileError, match=r"has schema prewarm.lock/7, this prewarm reads prewarm.lock/1") as caught:
        lockfile.read(path)
    assert "a prewarm that reads prewarm.lock/7" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("place", "value", "complaint"),
    [
        (("schema",), "cargo/1", "not a prewarm lock file"),
        (("namespace",), "../up", "top.namespace is not well-formed"),
        (("templates",), {}, "top.templates is not a list"),
        (("templates", 0), 3, r"top.templates\[0\] is not an object"),
        (("templates", 0, "name"), "-x", "name is not well-formed"),
        (("templates", 0, "name"), "a/b", "name is not well-formed"),
        (("templates", 0, "platform"), "linux", "platform is not well-formed"),
        (("templates", 0, "status"), "fine", "status is not one of captured, failed, skipped"),
        (("templates", 0, "key"), "ab" * 31, "key is not well-formed"),
        (("templates", 0, "key"), "AB" * 32, "key is not well-formed"),
        (("templates", 0, "ref", "backend"), "../x", "backend is not well-formed"),
        (("templates", 0, "ref", "value"), [], "value is not an object"),
        (("templates", 0, "user"), "--root", "user is not well-formed"),
        (("templates", 0, "workdir"), "tmp", "workdir is not well-formed"),
        (("templates", 0, "workdir"), "/a\0b", "workdir is not text"),
        (("templates", 0, "env"), {"A=B": "x"}, "env is not an environment"),
        (("templates", 0, "env"), {"A": "x\0"}, "env.A is not text"),
        (("templates", 0, "session", "network"), "host", "network is not one of all, none"),
        (("templates", 0, "session", "idle_timeout_s"), True, "idle_timeout_s is not a number"),
        (("templates", 0, "session", "max_lifetime_s"), -1, "max_lifetime_s is not a positive number"),
        (("templates", 0, "session", "resources", "pids"), 0, "pids is not a positive whole number or null"),
        (("templates", 0, "session", "resources", "cpus"), "1", "cpus is not a number"),
    ],
)
def test_hostile_content_is_refused_by_place(tmp_path, place, value, complaint):
    path = tmp_path / "prewarm.lock"
    document = json.loads(lockfile.dumps(lock(captured())))
    inner = document
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value
    path.write_text(json.dumps(document))
    with pytest.raises(LockFileError, match=complaint) as caught:
        lockfile.read(path)
    assert caught.value.hint == "it is generated: delete it and run 'prewarm build'"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "damaged"),
        ("<<<<<<< HEAD\n{}\n=======", "damaged: it holds the marks of a merge that was left unfinished"),
        ("[" * 100_000, "nested too deeply"),
        ('{"schema": "prewarm.lock/1", "schema": "prewarm.lock/1"}', "a name twice"),
        ('{"schema": NaN}', "NaN is no number"),
        ("\udcff".encode("utf-8", "surrogateescape"), "damaged"),
    ],
)
def test_what_is_no_json_is_damaged(tmp_path, text, complaint):
    path = tmp_path / "prewarm.lock"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(LockFileError, match=complaint):
        lockfile.read(path)


def test_one_sandbox_twice_is_refused(tmp_path):
    path = tmp_path / "prewarm.lock"
    lockfile.write(path, lock(failed(), failed()))
    with pytest.raises(LockFileError, match="twice for one platform"):
        lockfile.read(path)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["schema", "namespace", "templates"]), inner),
    )
)
def test_no_json_at_all_brings_anything_but_a_lock_file_error(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "any.lock"
    path.write_text(json.dumps(value))
    with pytest.raises(LockFileError):
        lockfile.read(path)
