import json
import os
import time
from pathlib import Path

import pytest

import prewarm
from prewarm.backends.context import BackendContext
from prewarm.backends.memory import MemoryBackend
from prewarm.definition.model import HostBase, Network, Resources, SessionOptions
from prewarm.errors import (
    BackendUnavailableError,
    CommandFailedError,
    InvalidNameError,
    LockFileError,
    SessionGoneError,
    SessionStateError,
    TemplateNotFoundError,
    UnsupportedOptionError,
)
from prewarm.lockfile import EntryStatus, LockEntry
from prewarm.machine import host_platform
from prewarm.session import Session, Stream, find_lock_file
from prewarm.testing.builders import seed_file, shell
from prewarm.testing.fakes import FakeClock
from prewarm.testing.locks import lock_entry, write_lock
from prewarm.testing.workplace import Workplace


class Bench:
    """A project with one captured sandbox on a memory backend, and its lock file."""

    def __init__(self, root):
        self.home = root / "home"
        self.project = root / "project"
        self.project.mkdir()
        self.backend = MemoryBackend(BackendContext(home=self.home, environment={}))
        base = self.backend.resolve_base(HostBase(), project=root, platform=host_platform(), sha256=str)
        self.place = Workplace(self.backend, base, "contract")
        self.captured = self.capture("first")
        self.lock(lock_entry(self.captured))

    def capture(self, text, **changes):
        request = self.place.request(
            shell(f"echo {text} > /workspace/version"),
            name="analyst",
            env={"COLOUR": "red"},
            seeds=(seed_file("/workspace/seeded", b"a seed"),),
        )
        return self.place.publish(request)

    def lock(self, *entries):
        write_lock(self.project, *entries)

    def open(self, name="analyst", **keywords):
        return prewarm.open_session(name, **{"lock": self.project, "home": self.home, **keywords})

    def attach(self, state, **keywords):
        return prewarm.attach_session(state, **{"home": self.home, **keywords})


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


# opening


def test_a_session_is_opened_from_the_lock_file(bench):
    with bench.open() as session:
        assert (session.name, session.backend, session.workdir) == ("analyst", "memory", "/workspace")
        assert session.template_key == bench.captured.key
        assert session.files.read("/workspace/seeded") == b"a seed"


def test_the_lock_file_is_found_from_below(bench, monkeypatch):
    below = bench.project / "src" / "deep"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert find_lock_file() == bench.project / "prewarm.lock"
    with prewarm.open_session("analyst", home=bench.home) as session:
        assert session.run("true").ok


def test_the_lock_file_is_taken_as_a_path_a_directory_or_text(bench):
    path = bench.project / "prewarm.lock"
    assert find_lock_file(path) == find_lock_file(bench.project) == find_lock_file(str(bench.project)) == path


def test_a_current_directory_that_was_removed_is_an_error_that_names_the_remedy(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(LockFileError, match="the current directory cannot be read") as caught:
        prewarm.open_session("analyst", home=tmp_path)
    assert "say where the lock file is" in caught.value.hint


def test_no_lock_file_is_an_error_that_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LockFileError, match=r"no prewarm\.lock in") as caught:
        prewarm.open_session("analyst", home=tmp_path)
    assert caught.value.exit_code == 7
    assert "prewarm build" in caught.value.hint


def test_an_unknown_sandbox_is_an_error_that_names_the_nearest(bench):
    with pytest.raises(TemplateNotFoundError, match="'analist'") as caught:
        bench.open("analist")
    assert caught.value.hint == "did you mean 'analyst'?"


def test_a_sandbox_that_failed_to_build_says_why(bench):
    bench.lock(LockEntry(name="analyst", platform=host_platform(), status=EntryStatus.FAILED, reason="pip exited 1"))
    with pytest.raises(TemplateNotFoundError, match="pip exited 1") as caught:
        bench.open()
    assert caught.value.hint


def test_a_template_that_is_gone_is_never_replaced_by_something_else(bench):
    bench.backend.store.lose(bench.captured.ref.value["id"])
    with pytest.raises(TemplateNotFoundError) as caught:
        bench.open()
    assert caught.value.message.startswith("sandbox 'analyst' cannot be opened: template ")
    assert caught.value.hint == "run 'prewarm build' on this machine"
    assert not bench.backend.sessions()


@pytest.mark.parametrize("name", ["", "Analyst", "a/b", "../a", "a" * 64, "-a", "a\n"])
def test_a_name_that_is_none_is_refused(bench, name):
    with pytest.raises(InvalidNameError) as caught:
        bench.open(name)
    assert caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("env", [{"": "x"}, {"A=B": "x"}, {"A\0": "x"}, {"A": "x\0"}])
def test_a_variable_that_no_command_can_have_is_refused(bench, env):
    with bench.open() as session, pytest.raises(ValueError, match="cannot be set"):
        session.run("true", env=env)


@pytest.mark.parametrize("key", ["", "a b", "a/b", "k" * 129, "a\n", "ü", "..", "."])
def test_a_session_key_that_is_none_is_refused(bench, key):
    with pytest.raises(InvalidNameError, match="session key") as caught:
        bench.open(key=key)
    assert caught.value.hint


def test_the_backend_may_be_given(bench):
    mine = MemoryBackend(
        BackendContext(home=bench.home, environment={}), commands={"greet": lambda call: call.say("hello") or 0}
    )
    with bench.open(backend=mine) as session:
        assert session.run("greet").stdout == "hello\n"


def test_a_backend_of_another_name_is_refused(bench):
    class Other(MemoryBackend):
        name = "other"

    with pytest.raises(BackendUnavailableError, match="'memory', not by 'other'"):
        bench.open(backend=Other(BackendContext(home=bench.home, environment={})))


def test_the_state_directory_comes_from_the_environment_given(bench):
    environment = {"PREWARM_HOME": str(bench.home)}
    with prewarm.open_session("analyst", lock=bench.project, environment=environment) as session:
        assert session.run("true").ok


# keys


def test_the_same_key_is_the_same_session(bench):
    first = bench.open(key="user-42")
    first.files.write("mark", "x")
    second = bench.open(key="user-42")
    assert (second.id, second.key, second.files.read_text("mark")) == (first.id, "user-42", "x")


def test_a_session_with_a_key_outlives_its_with_block(bench):
    with bench.open(key="user-42") as session:
        session.files.write("mark", "x")
    with bench.open(key="user-42") as session:
        assert session.files.read_text("mark") == "x"


def test_a_session_without_a_key_is_removed_at_the_end_of_its_with_block(bench):
    with bench.open() as session:
        assert len(bench.backend.sessions()) == 1
        state = session.state()
    assert not bench.backend.sessions()
    with pytest.raises(SessionGoneError):
        bench.attach(state)


def test_sessions_without_a_key_are_all_different(bench):
    with bench.open() as one, bench.open() as two:
        assert one.id != two.id
        assert one.key != two.key


def test_a_session_stays_bound_to_its_template_when_the_lock_file_moves_on(bench):
    bench.open(key="user-42").close()
    newer = bench.capture("second")
    bench.lock(lock_entry(newer))
    old, new = bench.open(key="user-42"), bench.open(key="user-43")
    assert (old.template_key, old.files.read_text("version")) == (bench.captured.key, "first\n")
    assert (new.template_key, new.files.read_text("version")) == (newer.key, "second\n")


# options


def opened_with(bench):
    (session,) = bench.backend.store.sessions.values()
    return session.request.options


def test_without_overrides_the_lock_files_options_hold(bench):
    options = SessionOptions(idle_timeout_s=77.0, max_lifetime_s=99.0)
    bench.lock(lock_entry(bench.captured, session=options))
    bench.open(key="k")
    assert opened_with(bench) == options


def test_overrides_hold_over_the_lock_files_options(bench):
    bench.open(key="k", network="all", idle_timeout="5m", max_lifetime=90)
    assert opened_with(bench) == SessionOptions(network=Network.ALL, idle_timeout_s=300.0, max_lifetime_s=90.0)


def test_options_are_applied_again_when_a_session_is_found(bench):
    bench.open(key="k", network="all", idle_timeout=50)
    bench.open(key="k", network=Network.NONE, idle_timeout=60)
    assert (opened_with(bench).network, opened_with(bench).idle_timeout_s) == (Network.NONE, 60.0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"network": "some"}, "network='some': expected 'all' or 'none'"),
        ({"memory": "lots"}, "memory='lots': expected a size"),
        ({"idle_timeout": "soon"}, "idle_timeout='soon': expected a duration"),
        ({"idle_timeout": 0}, "idle_timeout=0: expected a duration above zero"),
        ({"pids": 0}, "pids=0: expected a whole number above zero"),
        ({"cpus": -1}, "cpus=-1: expected a number of cores above zero"),
    ],
)
def test_an_override_without_meaning_is_refused(bench, override, message):
    with pytest.raises(ValueError, match=message):
        bench.open(**override)


def test_limits_that_the_backend_cannot_keep_are_refused_before_anything_is_opened(bench):
    with pytest.raises(UnsupportedOptionError, match="'memory' cannot limit resources") as caught:
        bench.open(memory="512m")
    assert caught.value.hint
    assert not bench.backend.sessions()


def test_options_that_the_backend_does_not_know_are_refused(bench):
    with pytest.raises(UnsupportedOptionError, match="'colour'"):
        bench.open(options={"colour": "red"})


def test_all_limits_are_read(bench):
    class Limiting(MemoryBackend):
        @property
        def features(self):
            from prewarm.backends.context import Feature

            return frozenset(Feature)

    backend = Limiting(BackendContext(home=bench.home, environment={}))
    bench.open(key="k", backend=backend, memory="1g", cpus=0.5, pids=64, disk="10m")
    assert opened_with(bench).resources == Resources(memory=2**30, cpus=0.5, pids=64, disk=10 * 2**20)


# commands


def test_shell_text_and_argv_lists_are_run(bench):
    with bench.open() as session:
        assert session.run("echo one; echo two").stdout == "one\ntwo\n"
        assert session.run(["echo", "a  b", "$COLOUR"]).stdout == "a  b $COLOUR\n"


def test_a_command_has_the_definitions_environment_the_sessions_and_its_own(bench):
    with bench.open(env={"SHAPE": "round", "SIZE": "big"}) as session:
        result = session.run('echo "$COLOUR $SHAPE $SIZE"', env={"SIZE": "small"})
        assert result.stdout == "red round small\n"


def test_a_command_starts_in_the_workdir_or_below_it(bench):
    with bench.open() as session:
        session.files.mkdir("sub")
        assert session.run("pwd").stdout == "/workspace\n"
        assert session.run("pwd", cwd="sub").stdout == "/workspace/sub\n"
        assert session.run("pwd", cwd="/tmp").stdout == "/tmp\n"


def test_standard_input_is_text_or_bytes(bench):
    with bench.open() as session:
        assert session.run("cat", stdin="tëxt").stdout == "tëxt"
        assert session.run("cat", stdin=b"\xff\x00").stdout_bytes == b"\xff\x00"


def test_a_non_zero_exit_is_data(bench):
    with bench.open() as session:
        result = session.run("echo out; echo err >&2; exit 3")
        assert (result.exit_code, result.ok, result.stdout, result.stderr) == (3, False, "out\n", "err\n")


def test_check_raises_with_what_the_command_said(bench):
    with bench.open(key="user-42") as session:
        with pytest.raises(CommandFailedError) as caught:
            session.run("echo out; echo it broke >&2; exit 3", check=True)
        error = caught.value
        assert error.message == (
            "command in session 'user-42' of 'analyst' exited 3: echo out; echo it broke >&2; exit 3: it broke"
        )
        assert (error.command_exit_code, error.stdout, error.stderr) == (3, b"out\n", b"it broke\n")


def test_a_timeout_is_data_and_raises_under_check(bench):
    with bench.open() as session:
        result = session.run("echo begun; sleep 600", timeout=1)
        assert (result.timed_out, result.exit_code, result.stdout) == (True, 124, "begun\n")
        with pytest.raises(CommandFailedError, match="timed out after") as caught:
            session.run("sleep 30", timeout=0.1, check=True)
        assert caught.value.command_exit_code is None


def test_output_is_capped(bench):
    with bench.open() as session:
        result = session.run("cat", stdin=b"x" * 100_000, max_output=10)
        assert (result.stdout, result.truncated) == ("x" * 10, True)


@pytest.mark.parametrize("command", ["", [], [""], "echo \0", ["echo", "\0"]])
def test_a_command_that_is_none_is_refused(bench, command):
    with bench.open() as session, pytest.raises(ValueError, match="a command must not"):
        session.run(command)


def test_a_spawned_command_gives_its_lines_as_they_come(bench):
    with bench.open() as session, session.spawn("echo one; echo two >&2; echo -n three") as process:
        lines = [(line.stream, line.text) for line in process.lines()]
        assert sorted(lines, key=lambda line: line[1]) == [
            (Stream.STDOUT, "one"),
            (Stream.STDOUT, "three"),
            (Stream.STDERR, "two"),
        ]
        assert process.wait(60) == 0


def test_a_spawned_command_is_written_to(bench):
    with bench.open() as session, session.spawn("cat", stdin=True) as process:
        process.write("text ")
        process.write(b"bytes")
        process.close_stdin()
        process.close_stdin()
        assert b"".join(chunk.data for chunk in process.chunks()) == b"text bytes"


def test_a_command_without_standard_input_is_not_written_to(bench):
    with bench.open() as session, session.spawn("sleep 600") as process, pytest.raises(ValueError, match="stdin=True"):
        process.write("x")


def test_reading_stops_when_time_is_up_and_goes_on_later(bench):
    with bench.open() as session, session.spawn("echo one; cat; echo two", stdin=True) as process:
        assert [line.text for line in process.lines(timeout=1)] == ["one"]
        process.close_stdin()
        assert [line.text for line in process.lines(timeout=60)] == ["two"]


def test_leaving_a_spawned_commands_block_kills_it(bench):
    with bench.open() as session:
        with session.spawn("sleep 600") as process:
            assert process.wait(0) is None
        assert process.wait(60) == 137


# state


def test_a_session_is_found_again_by_its_state(bench):
    with bench.open(key="user-42", env={"SHAPE": "round"}) as session:
        session.files.write("mark", "x")
        state = json.loads(json.dumps(session.state()))
    with bench.attach(state) as again:
        assert (again.id, again.key, again.name) == (session.id, "user-42", "analyst")
        assert again.template_key == bench.captured.key
        assert again.run('cat mark; echo " $COLOUR $SHAPE"').stdout == "x red round\n"
    assert bench.backend.sessions(), "an attached session is kept"


def test_a_state_says_its_version(bench):
    with bench.open() as session:
        assert session.state()["schema"] == "prewarm.session/1"


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "prewarm.session/2"},
        {"schema": None},
        {"backend": 7},
        {"template_key": "short"},
        {"env": {"A": 1}},
        {"handle": []},
        {"handle": {"schema": "prewarm.docker-session/1"}},
    ],
)
def test_a_state_that_is_none_is_refused(bench, change):
    with bench.open() as session:
        state = session.state()
        with pytest.raises(SessionStateError):
            bench.attach({**state, **change})


def test_a_state_with_something_missing_is_refused(bench):
    with bench.open() as session:
        for name in session.state():
            state = session.state()
            del state[name]
            with pytest.raises(SessionStateError) as caught:
                bench.attach(state)
            assert caught.value.exit_code == 6


def test_a_state_is_refused_by_another_backend(bench):
    class Other(MemoryBackend):
        name = "other"

    with bench.open() as session, pytest.raises(SessionStateError, match="'memory', not by 'other'"):
        bench.attach(session.state(), backend=Other(BackendContext(home=bench.home, environment={})))


# closing


def test_close_keeps_or_removes_as_told(bench):
    bench.open(key="kept").close(keep=True)
    bench.open(key="removed").close(remove=True)
    bench.open().close(keep=True)
    bench.open(key="not-kept").close(keep=False)
    assert sorted(record.session_key.split("-")[0] for record in bench.backend.sessions()) == ["anonymous", "kept"]


def test_closing_twice_is_fine_and_removing_after_closing_removes(bench):
    session = bench.open(key="k")
    session.close()
    session.close()
    session.close(remove=True)
    session.close(remove=True)
    assert not bench.backend.sessions()


def test_keeping_and_removing_at_once_is_refused(bench):
    with bench.open() as session, pytest.raises(ValueError, match="either removed or kept"):
        session.close(remove=True, keep=True)


def test_a_closed_session_cannot_be_used(bench):
    session = bench.open(key="k")
    session.close()
    for use in (lambda: session.run("true"), lambda: session.spawn("true"), lambda: session.files.read("seeded")):
        with pytest.raises(SessionGoneError, match="was closed here") as caught:
            use()
        assert caught.value.hint


def test_an_expired_session_says_that_it_is_gone(bench):
    clock = FakeClock()
    bench.backend.store.clock = clock
    session = bench.open(key="k", idle_timeout=10)
    clock.advance(11)
    with pytest.raises(SessionGoneError):
        session.run("true")


def test_many_threads_share_a_session(bench):
    from concurrent.futures import ThreadPoolExecutor

    with bench.open() as session, ThreadPoolExecutor(8) as pool:
        results = pool.map(lambda n: session.run(f"echo {n}; exit {n}"), range(40))
        assert [(r.stdout, r.exit_code) for r in results] == [(f"{n}\n", n) for n in range(40)]


def test_the_library_leaves_the_working_directory_and_environment_alone(bench):
    before = (Path.cwd(), dict(os.environ))
    with bench.open() as session:
        session.run("cd /tmp; export X=1")
    assert (Path.cwd(), dict(os.environ)) == before


def test_opening_is_quick(bench):
    began = time.perf_counter()
    for number in range(50):
        bench.open(key=str(number)).run("true")
    assert time.perf_counter() - began < 10


def test_a_session_is_of_the_public_class(bench):
    with bench.open() as session:
        assert isinstance(session, Session)
        assert prewarm.Session is Session


# ports


class Exposing:
    """A handle that shows every port under the next number."""

    def __init__(self, handle):
        self.handle = handle

    def __getattr__(self, name):
        return getattr(self.handle, name)

    def expose(self, port):
        return "127.0.0.1", port + 1


def test_a_port_is_shown_where_the_backend_shows_it(bench):
    with bench.open() as session:
        session._handle = Exposing(session._handle)
        assert session.expose(8000) == ("127.0.0.1", 8001)


def test_a_backend_that_shows_no_ports_says_so(bench):
    with bench.open() as session, pytest.raises(UnsupportedOptionError, match="memory backend expose no ports"):
        session.expose(8000)
