import json
import os
import sqlite3
import subprocess
import sys

import pytest

import prewarm
from prewarm.backends.context import BackendContext, Feature
from prewarm.backends.memory import MemoryBackend
from prewarm.definition.model import HostBase
from prewarm.errors import HomeError
from prewarm.home import Home
from prewarm.machine import host_platform
from prewarm.request import TemplateRef
from prewarm.session.ledger import Lease, Ledger
from prewarm.testing.builders import key_of
from prewarm.testing.fakes import FakeClock
from prewarm.testing.locks import lock_entry, write_lock
from prewarm.testing.workplace import Workplace


def lease(identity="one", **changes):
    return Lease(
        **{
            "backend": "local",
            "id": identity,
            "namespace": "acme",
            "name": "analyst",
            "session_key": "user-42",
            "template_key": key_of("template"),
            "ref": TemplateRef(backend="local", format="local/1", value={"layers": ["a", "b"]}),
            "state": '{"schema":"prewarm.session/1"}',
            "created": 1000.0,
            "used": 1000.0,
            "expires": 2000.0,
            **changes,
        }
    )


@pytest.fixture
def clock():
    return FakeClock(1000.0)


@pytest.fixture
def ledger(tmp_path, clock):
    return Ledger(Home(tmp_path / "home"), clock)


class Lasting(MemoryBackend):
    """A memory backend that says that its sessions outlive the process, so that they are remembered."""

    @property
    def features(self):
        return super().features | {Feature.CROSS_PROCESS}


@pytest.fixture
def project(tmp_path):
    backend = Lasting(BackendContext(home=tmp_path / "home", environment={}))
    base = backend.resolve_base(HostBase(), project=tmp_path, platform=host_platform(), sha256=str)
    place = Workplace(backend, base, "contract")
    captured = place.publish(place.request(name="analyst"))
    write_lock(tmp_path, lock_entry(captured))

    def opened(**keywords):
        return prewarm.open_session(
            "analyst", **{"lock": tmp_path, "home": tmp_path / "home", "backend": backend, **keywords}
        )

    opened.backend = backend
    opened.captured = captured
    return opened


def test_a_session_is_remembered_whole(ledger):
    ledger.record(lease())
    assert ledger.leases() == (lease(),)


def test_sessions_are_given_oldest_first_and_by_namespace(ledger):
    ledger.record(lease("two", created=20.0))
    ledger.record(lease("one", created=10.0))
    ledger.record(lease("other", created=5.0, namespace="other"))
    assert [one.id for one in ledger.leases("acme")] == ["one", "two"]
    assert [one.id for one in ledger.leases()] == ["other", "one", "two"]


def test_recording_again_keeps_the_beginning_and_the_template(ledger):
    ledger.record(lease())
    ledger.record(lease(created=1500.0, used=1500.0, expires=2500.0, state="{}", template_key=key_of("newer")))
    assert ledger.leases() == (lease(used=1500.0, expires=2500.0, state="{}"),)


def test_a_use_is_written_down(ledger, clock):
    ledger.record(lease())
    clock.advance(100)
    ledger.touch("local", "one")
    assert ledger.leases() == (lease(used=1100.0),)


def test_a_session_is_forgotten_and_twice_is_fine(ledger):
    ledger.record(lease())
    ledger.forget("local", "one")
    ledger.forget("local", "one")
    assert ledger.leases() == ()


def test_a_clock_that_jumps_drops_nothing(ledger, clock):
    ledger.record(lease())
    clock.advance(10**9)
    assert ledger.leases() == (lease(),)


def test_what_a_backend_does_not_list_is_dropped_and_other_backends_are_left_alone(ledger):
    ledger.record(lease(id="lives"))
    ledger.record(lease(id="ended"))
    ledger.record(lease(id="elsewhere", backend="other"))
    ledger.retain({"local": {"lives"}})
    assert {one.id for one in ledger.leases()} == {"lives", "elsewhere"}


def test_a_home_that_cannot_be_used_is_an_error(tmp_path):
    (tmp_path / "home").write_text("a file")
    with pytest.raises(HomeError) as caught:
        Ledger(Home(tmp_path / "home")).leases()
    assert caught.value.hint


def test_a_table_of_another_shape_is_an_error_that_names_the_remedy(tmp_path):
    home = Home(tmp_path / "home")
    connection = home.connect()
    connection.execute("CREATE TABLE session (x)")
    connection.close()
    with pytest.raises(HomeError, match="sessions") as caught:
        Ledger(home).record(lease())
    assert "state.db" in caught.value.hint


def test_opening_writes_a_session_down_and_removing_strikes_it_out(project, tmp_path):
    ledger = Ledger(Home(tmp_path / "home"))
    session = project(key="user-42", max_lifetime=100)
    (found,) = ledger.leases("contract")
    assert (found.backend, found.id, found.name, found.session_key) == ("memory", session.id, "analyst", "user-42")
    assert (found.template_key, found.ref) == (project.captured.key, project.captured.ref)
    assert 90 < found.expires - found.created <= 100
    assert json.loads(found.state) == session.state()
    session.close(remove=True)
    assert ledger.leases() == ()


def test_a_session_that_is_kept_stays_written_down(project, tmp_path):
    with project(key="user-42"):
        pass
    assert len(Ledger(Home(tmp_path / "home")).leases()) == 1


def test_attaching_is_a_use(project, tmp_path):
    session = project(key="user-42")
    connection = sqlite3.connect(tmp_path / "home" / "state.db")
    connection.execute("UPDATE session SET used = 5")
    connection.commit()
    connection.close()
    prewarm.attach_session(session.state(), home=tmp_path / "home", backend=project.backend)
    (found,) = Ledger(Home(tmp_path / "home")).leases()
    assert found.used > 5


def test_a_session_in_use_is_touched_now_and_then(project, tmp_path, monkeypatch):
    session = project(key="user-42")
    (before,) = Ledger(Home(tmp_path / "home")).leases()
    session._touched -= 61
    session.run("true")
    (after,) = Ledger(Home(tmp_path / "home")).leases()
    assert after.used > before.used


def test_a_home_that_is_a_file_does_not_keep_a_session_from_opening(project, tmp_path):
    (tmp_path / "file").write_text("not a directory")
    with project(home=tmp_path / "file") as session:
        session._touched -= 61
        assert session.run("echo works").stdout == "works\n"


def test_a_damaged_database_does_not_keep_a_session_from_opening(project, tmp_path):
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / "state.db").write_bytes(b"this is no database" * 1000)
    with project() as session:
        assert session.run("echo works").stdout == "works\n"


def test_a_backend_whose_sessions_end_with_the_process_writes_none_down(tmp_path):
    backend = MemoryBackend(BackendContext(home=tmp_path / "home", environment={}))
    base = backend.resolve_base(HostBase(), project=tmp_path, platform=host_platform(), sha256=str)
    place = Workplace(backend, base, "contract")
    write_lock(tmp_path, lock_entry(place.publish(place.request(name="analyst"))))
    with prewarm.open_session("analyst", lock=tmp_path, home=tmp_path / "home", backend=backend):
        assert not (tmp_path / "home" / "state.db").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_home_that_is_read_only_does_not_keep_a_session_from_opening(project, tmp_path):
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home").chmod(0o500)
    try:
        with project() as session:
            assert session.run("true").ok
    finally:
        (tmp_path / "home").chmod(0o700)


def test_the_sessions_of_many_processes_are_all_written_down(tmp_path):
    code = """
import sys
from prewarm.home import Home
from prewarm.key import TemplateKey
from prewarm.request import TemplateRef
from prewarm.session.ledger import Lease, Ledger
from pathlib import Path
ledger = Ledger(Home(Path(sys.argv[1])))
for number in range(20):
    ledger.record(Lease(backend="local", id=f"{sys.argv[2]}-{number}", namespace="n", name="a", session_key="k",
        template_key=TemplateKey("a" * 64), ref=TemplateRef(backend="local", format="1", value={}), state="{}",
        created=1.0, used=1.0, expires=9e9))
"""
    children = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "home"), str(number)]) for number in range(4)
    ]
    assert [child.wait(60) for child in children] == [0] * 4
    assert len(Ledger(Home(tmp_path / "home")).leases()) == 80
