from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time

import pytest

from prewarm.errors import UnkeyableInputError
from prewarm.home import Home
from prewarm.inputs import FileDigests, hashing
from prewarm.inputs.hashing import hash_files
from prewarm.inputs.trees import Tree

LATER = time.time_ns() + 3600 * 10**9  # A clock by which every file was written long ago.


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def rows(home: Home) -> list[tuple]:
    connection = home.connect()
    try:
        return connection.execute("SELECT path, sha256 FROM file_digests ORDER BY path").fetchall()
    finally:
        connection.close()


def plant_wrong_digest(home: Home) -> None:
    """Make what is remembered differ from what is on disk, so that it shows which of the two was used."""
    connection = home.connect()
    connection.execute("UPDATE file_digests SET sha256 = ?", ("f" * 64,))
    connection.close()


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "project" / "a"
    path.parent.mkdir()
    path.write_bytes(b"one")
    return path


def digest(file, home, now=LATER) -> str:
    with FileDigests(home, now=lambda: now) as digests:
        return digests.sha256(file)


def test_a_digest_is_that_of_the_content(file):
    assert digest(file, None) == sha256(b"one")


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, (1 << 20) + 1, 5 << 20])
def test_files_of_any_size_are_read_whole(tmp_path, size):
    data = os.urandom(size)
    (tmp_path / "a").write_bytes(data)

    assert digest(tmp_path / "a", None) == sha256(data)


def test_many_large_files_keep_their_order(tmp_path):
    contents = [os.urandom(70_000 + number) if number % 3 else b"small" for number in range(30)]
    files = []
    for number, content in enumerate(contents):
        (tmp_path / str(number)).write_bytes(content)
        files.append((os.fsencode(tmp_path / str(number)), os.stat(tmp_path / str(number))))

    assert [one.sha256 for one in hash_files(files, 4)] == [sha256(content) for content in contents]


def test_a_file_that_is_as_it_was_is_not_read_again(file, home):
    digest(file, home)
    plant_wrong_digest(home)

    assert digest(file, home) == "f" * 64


CHANGES = {
    "size": lambda file: file.write_bytes(b"three"),
    "content of the same size": lambda file: file.write_bytes(b"two"),
    "content and its old time stamp": lambda file: (file.write_bytes(b"two"), os.utime(file, ns=(0, 0))),
    "another file moved there": lambda file: (
        file.with_name("b").write_bytes(b"two"),
        os.utime(file.with_name("b"), ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns)),
        os.replace(file.with_name("b"), file),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changed_is_read_again(file, home, change):
    digest(file, home)
    plant_wrong_digest(home)
    time.sleep(0.02)  # A tick of the kernel's clock.
    CHANGES[change](file)

    assert digest(file, home) == sha256(file.read_bytes())


def test_a_file_written_just_before_it_was_read_is_read_again(file, home):
    with FileDigests(home, now=lambda: file.stat().st_ctime_ns + 50_000_000) as digests:
        digests.sha256(file)

    assert rows(home) == []


def test_a_file_from_the_future_is_read_again(file, home):
    digest(file, home, now=file.stat().st_ctime_ns - 3600 * 10**9)

    assert rows(home) == []


def test_a_moment_later_it_is_remembered(file, home):
    digest(file, home, now=file.stat().st_ctime_ns + 200_000_000)

    assert rows(home) == [(os.fsencode(file), sha256(b"one"))]


def test_a_coarse_clock_needs_more_time():
    from prewarm.inputs.digests import Row, _is_racy

    coarse = Row(b"a", 1, 0, 10 * 10**9, 1, 1, "")
    fine = coarse._replace(ctime=10 * 10**9 + 1)

    assert _is_racy(coarse, 12 * 10**9)
    assert not _is_racy(coarse, 13 * 10**9)
    assert _is_racy(fine, 10 * 10**9 + 90_000_000)
    assert not _is_racy(fine, 10 * 10**9 + 200_000_000)


def test_inodes_as_large_as_overlayfs_makes_them_are_remembered(home):
    class Status:
        st_size, st_mtime_ns, st_ctime_ns, st_ino, st_dev = 1, 2, 3, (1 << 64) - 5, 7

    from prewarm.inputs.digests import Row, _stamp

    with FileDigests(home) as digests:
        digests._new = {b"/x/a": Row(b"/x/a", *_stamp(Status), "c" * 64)}
    with FileDigests(home) as digests:
        digests.load(b"/x")
        assert digests.remembered(b"/x/a", Status) == "c" * 64


def test_a_tree_is_asked_about_in_one_query(tmp_path, home):
    for number in range(20):
        path = tmp_path / f"project/d/s{number % 3}/{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(number))
    with FileDigests(home, now=lambda: LATER) as digests:
        first = Tree(tmp_path / "project", digests).entries("d", "/t")
    statements = []
    with FileDigests(home, now=lambda: LATER) as digests:
        connection = digests._connect()
        assert connection is not None
        connection.set_trace_callback(statements.append)
        second = Tree(tmp_path / "project", digests).entries("d", "/t")
        Tree(tmp_path / "project", digests).entries("d/s1", "/t")
        connection.set_trace_callback(None)

    assert second == first
    assert len([one for one in statements if "SELECT" in one]) == 1


def test_neighbours_of_similar_names_are_not_loaded(tmp_path, home):
    for name in ("a", "a-b", "a0", "ab"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text(name)
        digest(tmp_path / name / "x", home)

    with FileDigests(home) as digests:
        digests.load(os.fsencode(tmp_path / "a"))

        assert list(digests.known) == [os.fsencode(tmp_path / "a/x")]


def test_rows_of_files_that_are_gone_are_taken_away_in_time(tmp_path, home):
    (tmp_path / "old").write_text("1")
    (tmp_path / "new").write_text("2")
    digest(tmp_path / "old", home)
    (tmp_path / "old").unlink()

    digest(tmp_path / "new", home)

    assert [path for path, _ in rows(home)] == [os.fsencode(tmp_path / "new")]


# without a cache


def test_a_home_that_cannot_be_made_costs_nothing_but_time(tmp_path, file):
    (tmp_path / "a-file").write_text("")

    assert digest(file, Home(tmp_path / "a-file" / "home")) == sha256(b"one")


def test_a_damaged_database_costs_nothing_but_time(file, home):
    digest(file, home)
    for name in os.listdir(home.path):
        if name.startswith("state.db"):
            (home.path / name).write_bytes(b"not a database" * 1000)

    assert digest(file, home) == sha256(b"one")


def test_a_table_of_another_shape_costs_nothing_but_time(file, home):
    connection = home.connect()
    connection.execute("CREATE TABLE file_digests (other)")
    connection.close()

    assert digest(file, home) == sha256(b"one")


def test_a_full_disk_costs_nothing_but_time(file, home):
    digest(file, home)
    other = file.with_name("b")
    other.write_bytes(b"two")
    with FileDigests(home, now=lambda: LATER) as digests:
        connection = digests._connect()
        assert connection is not None
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        digests._new = {}
        for number in range(2000):
            path = file.with_name(f"n{number}")
            path.write_bytes(b"x")
        files = [(os.fsencode(p), os.stat(p)) for p in file.parent.iterdir()]
        digested = digests.digest(files)

    assert len(digested) == len(files)
    assert rows(home) == [(os.fsencode(file), sha256(b"one"))]


def test_somebody_else_writing_costs_nothing_but_time(file, home, monkeypatch):
    monkeypatch.setattr("prewarm.inputs.digests._BUSY_MS", 50)
    digest(file.with_name("a"), home)
    blocker = sqlite3.connect(home.path / "state.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        file.write_bytes(b"four")
        assert digest(file, home) == sha256(b"four")
    finally:
        blocker.close()


# what cannot be read


def test_what_is_no_file_or_not_there_is_an_error(tmp_path):
    with pytest.raises(UnkeyableInputError, match="it is not a file"):
        digest(tmp_path, None)
    with pytest.raises(UnkeyableInputError, match="nowhere: No such file or directory"):
        digest(tmp_path / "nowhere", None)


def test_a_file_that_turned_into_something_else_is_an_error(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x")
    status = os.stat(path)
    path.unlink()
    os.mkfifo(path)

    with pytest.raises(UnkeyableInputError, match="cannot read"):
        hash_files([(os.fsencode(path), status)], 1)


def test_a_file_that_was_replaced_is_keyed_as_it_is_now(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x")
    status = os.stat(path)
    path.write_bytes(b"longer")

    (digested,) = hash_files([(os.fsencode(path), status)], 1)

    assert digested.sha256 == sha256(b"longer")
    assert digested.status.st_size == 6


def test_a_file_that_keeps_changing_is_an_error(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"x")

    def read_while_somebody_appends(descriptor, size):
        with open(path, "ab") as file:
            file.write(b"y")
        return read(descriptor, size)

    read = hashing._read
    monkeypatch.setattr(hashing, "_read", read_while_somebody_appends)

    with pytest.raises(UnkeyableInputError, match="it keeps changing") as caught:
        hash_files([(os.fsencode(path), os.stat(path))], 1)
    assert caught.value.hint == "stop what is writing it, or list it under 'ignore'"


def test_what_was_made_once_is_not_made_again():
    digests = FileDigests(None)
    made = []

    assert [digests.once("a", lambda: made.append(1) or "x") for _ in range(3)] == ["x"] * 3
    assert made == [1]


def test_threads_share_one_view(tmp_path, home):
    for number in range(40):
        (tmp_path / f"{number}").write_text(str(number))
    found: dict[int, str] = {}
    with FileDigests(home, now=lambda: LATER) as digests:

        def work(number):
            found[number] = digests.sha256(tmp_path / str(number))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert found == {number: sha256(str(number).encode()) for number in range(40)}
    assert len(rows(home)) == 40
