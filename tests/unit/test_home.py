"""The state directory: found, made, locked, repaired."""

import multiprocessing
import os
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from prewarm.errors import HomeError
from prewarm.home import CACHEDIR_TAG, Home, default_home


def test_prewarm_home_wins_over_everything():
    assert default_home({"PREWARM_HOME": "/srv/p", "XDG_DATA_HOME": "/x"}) == Path("/srv/p")


def test_a_relative_xdg_directory_is_ignored_as_its_rules_say():
    assert default_home({"XDG_DATA_HOME": "relative"}) == Path.home() / ".local" / "share" / "prewarm"
    assert default_home({"XDG_DATA_HOME": "/x"}) == Path("/x/prewarm")


def test_it_is_private_and_tagged(tmp_path):
    home = Home(tmp_path / "deep" / "home")
    home.ensure()
    assert (home.path.stat().st_mode & 0o777) == 0o700
    assert (home.path / CACHEDIR_TAG).read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")


def test_a_home_that_cannot_be_made_says_where_why_and_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError) as caught:
        Home(tmp_path / "file" / "home").ensure()
    assert str(tmp_path / "file" / "home") in caught.value.message
    assert "Not a directory" in caught.value.message
    with pytest.raises(HomeError, match="file: Not a directory"):
        Home(tmp_path / "file").ensure()
    assert "PREWARM_HOME" in caught.value.hint


def test_a_damaged_database_is_set_aside_and_begun_anew(tmp_path):
    home = Home(tmp_path)
    home.ensure()
    (tmp_path / "state.db").write_bytes(b"this is no database at all" * 100)
    connection = home.connect()
    connection.execute("CREATE TABLE fine (x)")
    connection.close()
    assert (tmp_path / "state.db.damaged").exists()


def test_a_database_in_use_by_threads_is_not_taken_for_damaged(tmp_path):
    home = Home(tmp_path)
    failures = []

    def work():
        try:
            connection = home.connect()
            connection.execute("CREATE TABLE IF NOT EXISTS t (x)")
            for n in range(50):
                connection.execute("INSERT INTO t VALUES (?)", (n,))
            connection.close()
        except (sqlite3.Error, HomeError) as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert not list(tmp_path.glob("*.damaged*"))


def _begin_together(path, gate, failures):
    gate.wait()
    try:
        Home(path).connect().close()
    except HomeError as error:
        failures.put(error.message)


def test_processes_that_make_the_database_at_the_same_moment_all_get_it(tmp_path):
    context = multiprocessing.get_context("fork")
    failures = context.SimpleQueue()
    for attempt in range(40):
        gate = context.Barrier(6)
        processes = [
            context.Process(target=_begin_together, args=(tmp_path / str(attempt), gate, failures)) for _ in range(6)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    assert failures.empty()


def test_a_lock_names_its_holder_to_who_waits(tmp_path):
    home = Home(tmp_path)
    with home.lock("k"), pytest.raises(TimeoutError, match=f"held by process {os.getpid()}"), home.lock("k", timeout=0):
        pass
    with home.lock("k", timeout=0):
        assert home.lock_holder("k") == f"process {os.getpid()}"


def _hold(path, ready):
    with Home(path).lock("k"):
        ready.set()
        time.sleep(300)


def test_the_lock_of_a_killed_holder_is_free_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(tmp_path, ready))
    holder.start()
    assert ready.wait(60)
    with pytest.raises(TimeoutError), Home(tmp_path).lock("k", timeout=0):
        pass
    holder.kill()
    holder.join()
    with Home(tmp_path).lock("k", timeout=60):
        pass


def test_shared_holders_do_not_exclude_each_other(tmp_path):
    home = Home(tmp_path)
    one, two = home.lock("k", exclusive=False), home.lock("k", exclusive=False, timeout=0)
    with one, two, pytest.raises(TimeoutError), home.lock("k", timeout=0):
        pass


def test_a_lock_file_that_nobody_holds_can_be_forgotten(tmp_path):
    home = Home(tmp_path)
    with home.lock("k"):
        assert not home.forget_lock("k")
    assert home.forget_lock("k")
    assert not (tmp_path / "locks" / "k").exists()


def test_forgetting_lock_files_never_gives_two_holders(tmp_path):
    home = Home(tmp_path)
    inside, seen, stop = [], [], threading.Event()

    def hold():
        while not stop.is_set():
            with home.lock("k"):
                inside.append(1)
                seen.append(len(inside))
                time.sleep(0.0005)
                inside.pop()

    threads = [threading.Thread(target=hold) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        home.forget_lock("k")
        time.sleep(0.0003)
    stop.set()
    for thread in threads:
        thread.join()
    assert set(seen) == {1}


def test_a_sound_database_is_not_set_aside_by_a_repair(tmp_path):
    home = Home(tmp_path)
    home.connect().close()
    home.repair()
    assert not list(tmp_path.glob("*.damaged*"))


def test_a_database_damaged_inside_is_set_aside_by_a_repair(tmp_path):
    home = Home(tmp_path)
    connection = home.connect()
    connection.execute("CREATE TABLE t (x)")
    connection.executemany("INSERT INTO t VALUES (?)", [("y" * 3000,)] * 50)
    connection.close()
    damaged = bytearray((tmp_path / "state.db").read_bytes())
    damaged[4096 * 3 : 4096 * 9] = b"\xff" * (4096 * 6)
    (tmp_path / "state.db").write_bytes(damaged)
    home.repair()
    assert (tmp_path / "state.db.damaged").exists()
