"""The catalog: what was captured here, by namespace, backend and key."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from prewarm.catalog import Catalog
from prewarm.catalog.records import Place, Record
from prewarm.errors import HomeError
from prewarm.home import Home
from prewarm.key import KeyInputs, TemplateKey
from prewarm.request import TemplateRef


def key(digit: str) -> TemplateKey:
    return TemplateKey(digit * 64)


def place(digit="a", backend="memory") -> Place:
    return Place(backend=backend, key=key(digit))


def ref(value="x") -> TemplateRef:
    return TemplateRef(backend="memory", format="memory/1", value={"id": value, "layers": ["1", "2"]})


def inputs(**changes) -> KeyInputs:
    values = {
        "backend": "memory",
        "capture_format": "memory/1",
        "platform": "linux/amd64",
        "base": "sha256:00",
        "parent": None,
        "user": "sandbox",
        "workdir": "/workspace",
    }
    return KeyInputs(**(values | changes))


def record(digit="a", namespace="acme", **changes) -> Record:
    values = {"name": "analyst", "ref": ref(), "parent": ref("p"), "seconds": {"seed": 1.5, "seal": 0.5}, "size": 7}
    return Record(namespace=namespace, place=place(digit), **(values | changes))


@pytest.fixture
def catalog(tmp_path):
    with Catalog(Home(tmp_path / "home"), clock=lambda: 1000.0) as opened:
        yield opened


def test_a_capture_is_found_by_its_key_with_all_it_had(catalog):
    catalog.add(record(), inputs())
    assert catalog.records("acme", [key("a"), key("b")]) == {place(): record(captured_at=1000.0)}


def test_captures_of_another_namespace_or_key_are_not_found(catalog):
    catalog.add(record(), inputs())
    assert catalog.records("other", [key("a")]) == {}
    assert catalog.records("acme", [key("b")]) == {}


def test_key_inputs_come_back_equal(catalog):
    catalog.add(record(), inputs(env={"A": "1"}))
    assert catalog.inputs("acme", place()) == inputs(env={"A": "1"})
    assert catalog.inputs("acme", place("b")) is None


def test_a_second_capture_of_a_key_takes_the_place_of_the_first(catalog):
    catalog.add(record(), inputs())
    catalog.add(record(ref=ref("new")), inputs())
    assert catalog.records("acme", [key("a")])[place()].ref == ref("new")


def test_a_name_remembers_what_it_was_built_to(catalog):
    catalog.remember("acme", "linux/amd64", {"analyst": place("a")})
    catalog.remember("acme", "linux/amd64", {"analyst": place("a")})
    catalog.remember("acme", "linux/amd64", {"analyst": place("b")})
    catalog.remember("acme", "linux/arm64", {"analyst": place("c")})
    assert [built.place.key for built in catalog.history("acme", "linux/amd64", "analyst")] == [key("a"), key("b")]
    assert catalog.latest("acme", "linux/amd64")["analyst"].place == place("b")


def test_history_is_bounded(catalog):
    for number in range(60):
        catalog.remember("acme", "linux/amd64", {"analyst": place(f"{number % 10}")})
    history = catalog.history("acme", "linux/amd64", "analyst")
    assert len(history) == 20
    assert history[-1].place == place("9")


def test_what_is_forgotten_is_gone(catalog):
    catalog.add(record(), inputs())
    catalog.forget("acme", place())
    catalog.forget("acme", place())
    assert catalog.records("acme", [key("a")]) == {}
    assert catalog.all_records() == ()


def test_lock_files_are_known_until_forgotten(catalog):
    catalog.add_lock_file(Path("/p/prewarm.lock"), "acme")
    catalog.add_lock_file(Path("/p/prewarm.lock"), "acme")
    assert catalog.lock_files() == ((Path("/p/prewarm.lock"), "acme"),)
    catalog.forget_lock_file(Path("/p/prewarm.lock"))
    assert catalog.lock_files() == ()


def test_records_survive_the_process(tmp_path):
    with Catalog(Home(tmp_path)) as first:
        first.add(record(), inputs())
    with Catalog(Home(tmp_path)) as second:
        assert place() in second.records("acme", [key("a")])


def test_thousands_of_keys_are_asked_about_in_one_query(catalog):
    catalog.add(record(), inputs())
    keys = [TemplateKey(f"{number:064x}") for number in range(50_000)]
    assert set(catalog.records("acme", [*keys, key("a")])) == {place()}


def test_a_row_of_another_version_is_no_record(catalog, tmp_path):
    catalog.add(record(), inputs())
    with closing(sqlite3.connect(tmp_path / "home" / "state.db")) as db:
        db.execute("UPDATE captures_1 SET ref = 'nonsense', inputs = '[]'")
        db.commit()
    assert catalog.records("acme", [key("a")]) == {}
    assert catalog.inputs("acme", place()) is None


def test_a_database_damaged_inside_is_begun_anew_without_a_word(tmp_path):
    home = Home(tmp_path)
    with Catalog(home) as catalog:
        for digit in "0123456789abcdef":
            catalog.add(record(digit), inputs(env={"X": "y" * 3000}))
    data = bytearray((tmp_path / "state.db").read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    (tmp_path / "state.db").write_bytes(data)
    with Catalog(home) as catalog:
        assert catalog.records("acme", [key("a")]) == {}
        catalog.add(record(), inputs())
        assert place() in catalog.records("acme", [key("a")])
    assert list(tmp_path.glob("state.db.damaged*"))


def test_a_full_database_records_nothing_and_says_what_to_do(tmp_path):
    home = Home(tmp_path)
    with Catalog(home) as catalog:
        catalog.add(record("a"), inputs())
        catalog._connection.execute("PRAGMA max_page_count = 1")  # As full as a disk can be.
        with pytest.raises(HomeError, match="full") as caught:
            catalog.add(record("b"), inputs(env={"X": "y" * 300_000}))
        assert "free some space" in caught.value.hint
    with Catalog(home) as catalog:
        assert set(catalog.records("acme", [key("a"), key("b")])) == {place("a")}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_home_is_said_to_be_one(tmp_path):
    with Catalog(Home(tmp_path / "home")) as catalog:
        catalog.add(record(), inputs())
    for path in [*(tmp_path / "home").iterdir(), tmp_path / "home"]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    with Catalog(Home(tmp_path / "home")) as catalog, pytest.raises(HomeError, match="cannot use the state directory"):
        catalog.add(record("b"), inputs())


def test_eight_processes_record_at_once_and_nothing_is_lost(tmp_path):
    program = (
        "import sys; sys.path[:0] = [sys.argv[3]]\n"
        "from pathlib import Path\n"
        "from test_catalog import Catalog, Home, inputs, record\n"
        "with Catalog(Home(Path(sys.argv[1]))) as catalog:\n"
        "    for n in range(20): catalog.add(record(namespace=f'n{sys.argv[2]}-{n}'), inputs())\n"
    )
    here = os.path.dirname(__file__)
    children = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(number), here]) for number in range(8)
    ]
    assert [child.wait(120) for child in children] == [0] * 8
    with Catalog(Home(tmp_path)) as catalog:
        assert len(catalog.all_records()) == 160
