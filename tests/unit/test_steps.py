import contextvars
import threading
import time

import pytest
from local import eventually

from prewarm.backends.capturing import Phase
from prewarm.backends.commands import LINE_LIMIT, LineSplitter, command_argv, run_command
from prewarm.backends.environment import default_environment
from prewarm.backends.hosting import ProcessRequest
from prewarm.backends.memory.files import MemoryFiles, bare_tree
from prewarm.backends.memory.making import _Workbench
from prewarm.backends.memory.programs import execute_with
from prewarm.backends.memory.session import Sandbox
from prewarm.backends.paths import session_path
from prewarm.backends.steps import run_step
from prewarm.cancellation import Cancellation
from prewarm.definition.model import Network
from prewarm.errors import InterruptedBuildError, PathEscapesError, SessionFileError, StepFailedError
from prewarm.process import Redactor
from prewarm.request import HOOK_THREAD, ScriptStep
from prewarm.testing.builders import hook, key_of, script, shell
from prewarm.testing.fakes import RecordingObserver

KEY = key_of("step")


@pytest.fixture
def handle():
    files = MemoryFiles(bare_tree(), clock=time.time, alive=lambda: None)
    files.mkdir("/workspace")
    commands = {"argv": lambda call: call.say(" ".join(call.argv)) or 0}
    return _Workbench(Sandbox(files, execute=execute_with(commands), network=Network.NONE), KEY)


def run(handle, step, *, observer=None, secrets=(), deadline=None, **changes):
    run_step(
        handle,
        step,
        **{
            "number": 2,
            "total": 3,
            "phase": Phase.BOOTSTRAP,
            "name": "analyst",
            "key": KEY,
            "env": {"COLOUR": "red"},
            "workdir": "/workspace",
            "observer": observer or RecordingObserver(),
            "redact": Redactor(secrets),
            "deadline": deadline,
            **changes,
        },
    )


def failure(handle, step, **changes):
    with pytest.raises(StepFailedError) as caught:
        run(handle, step, **changes)
    return caught.value


def split(*chunks, secrets=()):
    lines = []
    splitter = LineSplitter(Redactor(secrets), lines.append)
    for chunk in chunks:
        splitter(chunk)
    splitter.flush()
    return lines


# steps


def test_a_step_that_succeeds_tells_its_lines(handle):
    observer = RecordingObserver()
    run(handle, shell("echo $COLOUR; pwd"), observer=observer)
    assert observer.steps == ((2, 3, "echo $COLOUR; pwd"),)
    assert observer.lines == ("red", "/workspace")


def test_a_failure_says_which_step_of_what_failed_how(handle):
    error = failure(handle, shell("echo last words; exit 100"))
    assert error.message == (f"bootstrap step 2 of 3 of 'analyst' ({KEY.short}) exited 100: echo last words; exit 100")
    assert (error.step, error.command_exit_code, error.reason, error.tail) == (2, 100, "exited 100", ("last words",))


def test_a_failure_of_a_long_step_shows_its_first_line(handle):
    error = failure(handle, shell("echo one\nexit 1\n"), phase=Phase.VERIFY)
    assert error.message.endswith("exited 1: echo one …")
    assert error.message.startswith("verify step")
    assert error.text == "echo one\nexit 1\n"


def test_secrets_are_hidden_in_all_that_is_told(handle):
    observer = RecordingObserver()
    step = shell("echo hunter2; echo xhunter2x; exit 1")
    error = failure(handle, step, observer=observer, secrets=("hunter2",))
    assert "hunter2" not in f"{error} {error.text} {error.tail} {observer.lines} {observer.steps}"
    assert error.tail == ("***", "x***x")


def test_a_step_that_takes_too_long_says_what_to_raise(handle):
    error = failure(handle, shell("sleep 30", timeout_s=0.2))
    assert (error.reason, error.command_exit_code) == ("timed out after 0s", None)
    assert error.hint == "raise the step's 'timeout'"


def test_a_capture_that_takes_too_long_says_what_to_raise(handle):
    error = failure(handle, shell("sleep 30"), deadline=time.monotonic() + 0.2)
    assert "the time of the whole capture" in error.reason
    assert error.hint == "raise 'timeout' under 'build'"


def test_a_workdir_that_is_not_there_fails_the_step(handle):
    error = failure(handle, shell("true"), workdir="/missing")
    assert "could not run" in error.reason


@pytest.mark.parametrize(
    ("content", "argv"),
    [
        ("#!/bin/argv\n", "/bin/argv PATH one two"),
        ("#! /usr/bin/argv  -x -y \nbody", "/usr/bin/argv -x -y PATH one two"),
        ("argv $1 $2\n", "argv one two"),
    ],
)
def test_a_scripts_interpreter_line_is_read_as_the_kernel_does(handle, content, argv):
    observer = RecordingObserver()
    run(handle, script(content, "one", "two"), observer=observer)
    (line,) = observer.lines
    path = next((word for word in line.split() if word.startswith("/tmp/prewarm-script-")), "PATH")
    assert line.replace(path, "PATH") == argv


def test_a_script_leaves_nothing_behind_also_when_it_fails(handle):
    failure(handle, script("exit 1\n"))
    run(handle, script("rm $0\n"))
    assert list(handle.files.list("/tmp")) == []


def test_a_script_is_placed_at_the_root_where_there_is_no_tmp(handle):
    handle.files.remove("/tmp", recursive=True)
    before = [info.path for info in handle.files.list("/")]
    run(handle, script("true\n"))
    assert [info.path for info in handle.files.list("/")] == before


def test_a_program_is_run_as_it_is(handle):
    step = script("x")
    binary = ScriptStep(
        text=step.text,
        content=b"\x7fELF\x00",
        arguments=(),
        user="root",
        timeout_s=5.0,
        network=Network.NONE,
    )
    assert failure(handle, binary).command_exit_code is not None


# hooks


def test_a_hook_has_the_steps_environment_and_its_lines_are_told(handle):
    observer = RecordingObserver()

    def call(sandbox):
        assert sandbox.run("echo $COLOUR $SHAPE", env={"SHAPE": "round"}).stdout == "red round\n"
        assert sandbox.run(["cat"], stdin="tëxt").stdout == "tëxt"

    run(handle, hook(call), observer=observer)
    assert observer.lines == ("red round", "tëxt")


def test_a_hooks_failing_command_fails_the_step(handle):
    error = failure(handle, hook(lambda sandbox: sandbox.run("echo said; exit 7")))
    assert (error.step, error.command_exit_code, error.tail) == (2, 7, ("said",))
    assert error.message.startswith("bootstrap step 2 of 3 of 'analyst'")


def test_a_hooks_file_error_fails_the_step(handle):
    error = failure(handle, hook(lambda sandbox: sandbox.read("/missing")))
    assert "/missing does not exist" in error.reason


def test_a_hook_may_look_at_a_failing_command(handle):
    seen = []
    run(handle, hook(lambda sandbox: seen.append(sandbox.run("exit 7", check=False).exit_code)))
    assert seen == [7]


def test_a_hooks_command_may_take_as_long_as_the_step(handle):
    error = failure(handle, hook(lambda sandbox: sandbox.run("sleep 30", check=False), timeout_s=0.2))
    assert "timed out" in error.reason


def test_a_hook_that_goes_on_after_its_time_fails_the_step(handle):
    error = failure(handle, hook(lambda sandbox: time.sleep(0.3), timeout_s=0.1))
    assert "timed out" in error.reason


def test_a_hook_that_does_not_come_back_is_not_waited_for(handle):
    release, seen = threading.Event(), []

    def call(sandbox):
        while not release.wait(0.01):  # Calls nothing of the sandbox, so nothing of it can end this.
            pass
        try:
            sandbox.write("/workspace/late", b"")
        except InterruptedBuildError as error:
            seen.append(error.message)

    began = time.monotonic()
    error = failure(handle, hook(call, timeout_s=0.2))
    assert time.monotonic() - began < 60
    assert "timed out after" in error.message
    assert error.hint == "raise the step's 'timeout'"
    release.set()
    eventually(lambda: seen)
    assert "was left behind" in seen[0]
    with pytest.raises(SessionFileError):
        handle.files.stat("/workspace/late")


def test_a_cancelled_hook_that_does_not_come_back_is_not_waited_for(handle):
    cancellation, release, began = Cancellation(), threading.Event(), threading.Event()

    def call(_sandbox):
        began.set()
        release.wait(600)

    def cancel():
        assert began.wait(60)
        cancellation.cancel()

    threading.Thread(target=cancel).start()
    try:
        with pytest.raises(InterruptedBuildError):
            run(handle, hook(call, timeout_s=600), cancellation=cancellation)
    finally:
        release.set()
    eventually(lambda: not any(thread.name == HOOK_THREAD for thread in threading.enumerate()))


def test_a_cancelled_hook_may_clean_up(handle):
    cancellation, cleaned = Cancellation(), []

    def call(sandbox):
        threading.Timer(0.2, cancellation.cancel).start()
        try:
            sandbox.run("sleep 600")
        finally:
            time.sleep(0.2)
            cleaned.append(1)

    with pytest.raises(InterruptedBuildError):
        run(handle, hook(call, timeout_s=600), cancellation=cancellation)
    assert cleaned == [1]


def test_a_hook_sees_the_context_of_the_build(handle):
    setting, seen = contextvars.ContextVar("setting", default="none"), []
    setting.set("given")
    run(handle, hook(lambda sandbox: seen.append(setting.get())))
    assert seen == ["given"]


def test_a_hook_uploads_from_the_project(handle, tmp_path):
    (tmp_path / "a.txt").write_text("x")
    run(handle, hook(lambda sandbox: sandbox.upload("a.txt", "/workspace/b.txt")), project=tmp_path)
    assert handle.files.read("/workspace/b.txt") == b"x"


# commands


def test_cancelling_kills_a_command(handle):
    cancellation = Cancellation()
    threading.Timer(0.2, cancellation.cancel).start()
    request = ProcessRequest(argv=("sleep", "600"), cwd="/workspace", env={}, user="root")
    began = time.monotonic()
    with pytest.raises(InterruptedBuildError):
        run_command(handle, request, max_output=10, cancellation=cancellation)
    assert time.monotonic() - began < 60


def test_an_exception_while_reading_kills_the_command(handle):
    def interrupt(chunk):
        raise KeyboardInterrupt

    request = ProcessRequest(argv=("sh", "-c", "echo x; sleep 600"), cwd="/workspace", env={}, user="root")
    with pytest.raises(KeyboardInterrupt):
        run_command(handle, request, max_output=10, on_output=interrupt)


def test_text_is_for_the_shell_and_a_list_is_not():
    assert command_argv("a b") == ("/bin/sh", "-c", "a b")
    assert command_argv(["a b", "c"]) == ("a b", "c")


# lines


def test_lines_are_put_together_from_chunks():
    assert split(b"one\ntw", b"o\n", b"three") == ["one", "two", "three"]


def test_blank_lines_are_dropped_and_carriage_returns_redraw():
    assert split(b"a\r\n\n  \n10%\r50%\r100%\n") == ["a", "100%"]


def test_bytes_that_are_no_text_are_shown_as_such():
    assert split(b"caf\xe9\n") == ["caf\ufffd"]


def test_a_secret_across_two_chunks_is_hidden():
    assert split(b"the hun", b"ter2 is\n", secrets=["hunter2"]) == ["the *** is"]


def test_a_long_line_is_cut_and_a_secret_across_the_cut_is_hidden():
    (line,) = split(b"x" * (LINE_LIMIT - 3) + b"hunter2" + b"y" * 100_000 + b"\n", secrets=["hunter2"])
    assert len(line) == LINE_LIMIT
    assert "hun" not in line


def test_a_line_without_end_is_kept_to_a_limit():
    splitter = LineSplitter(Redactor(), lambda line: None)
    for _ in range(100):
        splitter(b"x" * 65536)
    assert len(splitter._line) < 200_000


# paths and environment


@pytest.mark.parametrize(
    ("path", "normal"), [("/", "/"), ("//a//b/", "/a/b"), ("/a/./b", "/a/b"), ("/a/...", "/a/...")]
)
def test_a_path_is_normalised(path, normal):
    assert session_path(path) == normal


@pytest.mark.parametrize("path", ["/a/../b", "/..", "/a/.."])
def test_a_path_with_dots_is_refused(path):
    with pytest.raises(PathEscapesError, match=r"'\.\.'"):
        session_path(path)


def test_a_path_with_a_zero_byte_is_refused():
    with pytest.raises(SessionFileError, match="must not hold a zero byte"):
        session_path("/a\0b")


@pytest.mark.parametrize("path", ["", "a", "./a"])
def test_a_path_that_is_not_absolute_is_refused(path):
    with pytest.raises(SessionFileError, match="not an absolute path"):
        session_path(path)


@pytest.mark.parametrize(
    ("user", "home", "name"),
    [
        ("root", "/root", "root"),
        ("0:0", "/root", "root"),
        ("sandbox", "/home/sandbox", "sandbox"),
        ("1234:1", "/", "1234"),
    ],
)
def test_a_user_has_a_home(user, home, name):
    given = default_environment(user)
    assert (given["HOME"], given["USER"], given["LOGNAME"]) == (home, name, name)
    assert default_environment(user, "/elsewhere")["HOME"] == "/elsewhere"
