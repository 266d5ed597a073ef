"""Whole runs: definitions to templates, report and lock file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import building
import pytest
from building import Listener, Workshop, define, reasons, statuses, steps

from prewarm import lockfile, pipeline
from prewarm.cancellation import Cancellation
from prewarm.catalog import Catalog
from prewarm.catalog.keylock import key_lock
from prewarm.catalog.records import Place
from prewarm.definition.model import BuildOptions, Resources, RunAction, Secret, SessionOptions, Step
from prewarm.errors import (
    BackendUnavailableError,
    DefinitionError,
    HomeError,
    LockFileError,
    TemplateNotFoundError,
    UnsupportedOptionError,
)
from prewarm.home import Home
from prewarm.lockfile import EntryStatus


@pytest.fixture
def shop(tmp_path):
    def make(*definitions, **changes):
        return Workshop(tmp_path, *definitions, **changes)

    return make


# fresh, reused, changed


def test_the_first_build_captures_and_the_second_runs_nothing(shop):
    workshop = shop(define("a", "mark a"), define("b", "mark b"))
    first, ran = workshop.build(), sorted(workshop.ran)
    second = workshop.build()
    assert (statuses(first), reasons(first)) == (
        {"a": "fresh", "b": "fresh"},
        {"a": "first capture", "b": "first capture"},
    )
    assert ran == ["a", "b"]
    assert (statuses(second), reasons(second)) == ({"a": "reused", "b": "reused"}, {"a": "unchanged", "b": "unchanged"})
    assert workshop.ran == []
    assert second.exit_code == 0


def test_a_changed_seed_is_named_old_and_new(shop):
    workshop = shop(define("a", seeds=["data"]))
    (workshop.directory / "data").mkdir()
    (workshop.directory / "data" / "one.txt").write_text("old")
    workshop.build()
    (workshop.directory / "data" / "one.txt").write_text("new!")
    (report,) = workshop.build().templates
    assert (report.status.value, report.reason.value) == ("fresh", "inputs changed")
    assert len(report.changes) == 1
    assert report.changes[0].startswith("seed /workspace/one.txt: content ")


def test_seconds_are_reported_by_phase_and_saved_when_reused(shop):
    workshop = shop(define("a", "mark a", verify=["mark verified"]))
    (fresh,) = workshop.build().templates
    assert set(fresh.seconds) == {"base", "seed", "bootstrap", "seal", "verify", "publish"}
    (reused,) = workshop.build().templates
    assert reused.saved_s == pytest.approx(fresh.total_s)
    assert (reused.seconds, reused.size) == ({}, fresh.size)


def test_a_template_deleted_behind_our_back_is_captured_again(shop):
    workshop = shop(define("a", "mark a"))
    workshop.build()
    workshop.backend.store.lose(workshop.identity("a"))
    assert reasons(workshop.plan()) == {"a": "missing"}
    assert (reasons(workshop.build()), workshop.ran) == ({"a": "missing"}, ["a"])
    assert reasons(workshop.build()) == {"a": "unchanged"}


def test_a_template_damaged_behind_our_back_is_captured_again_and_right_after_that(shop):
    workshop = shop(define("a", "mark a"))
    workshop.build()
    workshop.backend.store.damage(workshop.identity("a"))
    report = workshop.build()
    assert (statuses(report), reasons(report)) == ({"a": "fresh"}, {"a": "corrupt"})
    assert reasons(workshop.build()) == {"a": "unchanged"}


def test_a_lost_catalog_costs_nothing_but_explanations(shop):
    workshop = shop(define("a", "mark a"))
    workshop.build()
    for path in workshop.home.path.glob("state.db*"):
        path.unlink()
    report = workshop.build()
    assert (reasons(report), workshop.ran) == ({"a": "found at the backend"}, [])
    assert reasons(workshop.build()) == {"a": "unchanged"}


def test_going_back_to_an_earlier_definition_reuses_its_template(shop):
    workshop = shop(define("a", "mark a"))
    workshop.build()
    workshop.change("a", bootstrap=steps("mark b"))
    workshop.build()
    workshop.change("a", bootstrap=steps("mark a"))
    assert reasons(workshop.build()) == {"a": "unchanged"}


def test_a_plan_changes_nothing_and_says_what_a_build_then_does(shop):
    workshop = shop(define("a", "mark a"), define("b", "mark b", extends="a"))
    planned = workshop.plan()
    assert (statuses(planned), workshop.ran, workshop.lock.exists()) == ({"a": "fresh", "b": "fresh"}, [], False)
    built = workshop.build()
    assert statuses(built) == statuses(planned)
    assert reasons(built) == reasons(planned)


def test_every_backend_is_chosen_once_and_asked_once(shop):
    workshop = shop(*(define(f"n{number}", f"mark {number}") for number in range(20)))
    workshop.build()
    asked = []
    probe = workshop.backend.probe
    workshop.backend.probe = lambda wanted: asked.append(len(wanted)) or probe(wanted)
    workshop.chosen.clear()
    workshop.build()
    assert (workshop.chosen, asked) == (["memory"], [20])


# force, only


def test_force_captures_again_and_the_new_template_takes_the_place_of_the_old(shop):
    count = iter(range(100))
    commands = {"count": lambda call: call.files.write("/workspace/n", str(next(count)).encode()) or 0}
    workshop = shop(define("a", "count"), commands=commands)
    workshop.build()
    old = workshop.ref("a")
    report = workshop.build(force=True)
    assert (statuses(report), reasons(report)) == ({"a": "fresh"}, {"a": "forced"})
    assert workshop.ref("a") == report.templates[0].ref != old
    assert [record.ref for record in workshop.backend.templates()] == [workshop.ref("a")]


def test_only_builds_those_named_and_what_they_extend(shop):
    workshop = shop(define("base", "mark base"), define("leaf", "mark leaf", extends="base"), define("other", "mark o"))
    assert statuses(workshop.build("leaf")) == {"base": "fresh", "leaf": "fresh"}
    assert workshop.ran == ["base", "leaf"]


def test_force_with_only_captures_that_one_alone(shop):
    workshop = shop(define("base", "mark base"), define("leaf", "mark leaf", extends="base"))
    workshop.build()
    report = workshop.build("leaf", force=True)
    assert (reasons(report), workshop.ran) == ({"base": "unchanged", "leaf": "forced"}, ["leaf"])


def test_a_build_of_some_leaves_the_other_entries_of_the_lock_file_as_they_are(shop):
    workshop = shop(define("a", "mark a"), define("b", "mark b"), define("gone", "mark gone"))
    workshop.build()
    before = {entry.name: entry for entry in lockfile.read(workshop.lock).entries}
    workshop.change("a", bootstrap=steps("mark a2"))
    workshop.change("b", bootstrap=steps("mark b2"))
    workshop.definitions = workshop.definitions[:2]
    workshop.build("a")
    after = {entry.name: entry for entry in lockfile.read(workshop.lock).entries}
    assert set(after) == {"a", "b"}
    assert after["b"] == before["b"]
    assert after["a"].key != before["a"].key


# parents


def test_a_parent_is_captured_before_its_child_which_sees_its_files(shop):
    workshop = shop(
        define("leaf", "cat /workspace/from-base", extends="base"), define("base", "echo yes > /workspace/from-base")
    )
    report = workshop.build()
    assert statuses(report) == {"base": "fresh", "leaf": "fresh"}
    assert [one.name for one in report.templates] == ["base", "leaf"]


def test_a_changed_parent_captures_its_children_again_with_that_reason(shop):
    workshop = shop(define("base", "mark base"), define("leaf", "mark leaf", extends="base"))
    workshop.build()
    workshop.change("base", bootstrap=steps("mark base2"))
    report = workshop.build()
    assert reasons(report) == {"base": "inputs changed", "leaf": "parent captured again"}
    assert report.templates[1].changes[0].startswith("extends: key ")


def test_a_parent_that_comes_out_as_it_was_leaves_its_children_alone(shop):
    workshop = shop(define("base", "mark base"), define("leaf", "mark leaf", extends="base"))
    workshop.build()
    workshop.backend.store.lose(workshop.identity("base"))
    report = workshop.build()
    assert (reasons(report), workshop.ran) == ({"base": "missing", "leaf": "unchanged"}, ["base"])


def test_a_parent_that_comes_out_otherwise_captures_its_children_again(shop):
    count = iter(range(100))
    commands = {"count": lambda call: call.files.write("/workspace/n", str(next(count)).encode()) or 0}
    workshop = shop(define("base", "count"), define("leaf", "mark leaf", extends="base"), commands=commands)
    workshop.build()
    report = workshop.build("base", force=True)
    assert statuses(report) == {"base": "fresh"}
    report = workshop.build()
    assert (reasons(report), workshop.ran) == ({"base": "unchanged", "leaf": "parent captured again"}, ["leaf"])


def test_a_child_of_another_backend_than_its_parents_is_refused(shop):
    workshop = shop(define("base"), define("leaf", extends="base", backend="local"))
    other = Workshop(workshop.directory / "x")
    other.backend.__class__ = type("Other", (other.backend.__class__,), {"name": property(lambda self: "local")})
    workshop.choose = lambda name: (other.backend if name == "local" else workshop.backend, "")
    with pytest.raises(
        DefinitionError, match="'leaf' is for backend 'local' and extends 'base', which is for 'memory'"
    ):
        workshop.build()


def test_auto_follows_the_parent_and_is_chosen_once(shop):
    workshop = shop(
        define("base"), define("leaf", "mark l", extends="base", backend="auto"), define("other", backend="auto")
    )
    report = workshop.build()
    assert workshop.chosen == ["memory", "auto"]
    assert report.backends == {"memory": "the test says so"}


# identical


def test_two_sandboxes_that_are_alike_are_captured_once_and_both_reported(shop):
    workshop = shop(define("one", "mark x"), define("two", "mark x"))
    report = workshop.build()
    assert workshop.ran == ["x"]
    assert statuses(report) == {"one": "fresh", "two": "reused"}
    assert reasons(report)["two"] == "identical"
    assert report.templates[0].ref == report.templates[1].ref
    assert {entry.status for entry in lockfile.read(workshop.lock).entries} == {EntryStatus.CAPTURED}


def test_two_that_are_alike_fail_together(shop):
    workshop = shop(define("one", "false"), define("two", "false"), define("leaf", "mark x", extends="two"))
    report = workshop.build()
    assert statuses(report) == {"one": "failed", "two": "failed", "leaf": "skipped"}


# failures


def test_a_failure_leaves_no_template_and_does_not_stop_the_others(shop):
    workshop = shop(define("bad", "mark before", "exit 100", "mark after"), define("good", "mark good"))
    report = workshop.build()
    assert statuses(report) == {"bad": "failed", "good": "fresh"}
    error = report.templates[0].error
    assert (error.kind, error.step, error.command_exit_code) == ("StepFailedError", 2, 100)
    assert sorted(workshop.ran) == ["before", "good"]
    assert [record.name for record in workshop.backend.templates()] == ["good"]
    assert report.exit_code == 5


def test_a_failure_says_how_long_its_phases_took(shop):
    report = shop(define("bad", "exit 1")).build()
    assert set(report.templates[0].seconds) == {"base", "seed", "bootstrap"}


def test_every_failure_is_reported(shop):
    workshop = shop(*(define(f"bad{number}", f"exit {number + 1}") for number in range(6)))
    report = workshop.build(jobs=2)
    assert [one.error.command_exit_code for one in report.templates] == [1, 2, 3, 4, 5, 6]


def test_what_extends_a_failed_one_is_skipped_down_to_the_last(shop):
    workshop = shop(
        define("base", "false"), define("middle", "mark m", extends="base"), define("leaf", "mark l", extends="middle")
    )
    report = workshop.build()
    assert statuses(report) == {"base": "failed", "middle": "skipped", "leaf": "skipped"}
    assert [one.sentence for one in report.templates[1:]] == [
        "parent failed: 'base' failed",
        "parent failed: 'middle' was skipped",
    ]
    assert workshop.ran == []


def test_fail_fast_begins_nothing_more(shop):
    workshop = shop(define("bad", "false"), *(define(f"n{number}", f"mark {number}") for number in range(5)))
    report = workshop.build(jobs=1, fail_fast=True)
    assert workshop.ran == []
    assert reasons(report)["n4"] == "stopped"
    assert report.exit_code == 5


def test_a_failed_sandbox_is_in_the_lock_file_with_its_reason(shop):
    workshop = shop(define("bad", "exit 7"), define("leaf", "mark l", extends="bad"))
    workshop.build()
    lock = lockfile.read(workshop.lock)
    with pytest.raises(TemplateNotFoundError, match=r"'bad' was not captured: bootstrap step 1 of 1 .* exited 7"):
        lock.entry("bad")
    with pytest.raises(TemplateNotFoundError, match="'leaf' was not captured: parent failed"):
        lock.entry("leaf")


def test_what_failed_is_tried_again_and_its_first_success_is_its_first_capture(shop):
    workshop = shop(define("a", "false"))
    workshop.build()
    workshop.change("a", bootstrap=steps("mark a"))
    assert reasons(workshop.build()) == {"a": "first capture"}


def test_an_input_that_cannot_be_read_fails_that_sandbox_alone(shop):
    workshop = shop(define("bad", seeds=["nothing-there"]), define("leaf", extends="bad"), define("good", "mark good"))
    listener = Listener()
    report = workshop.build(listener=listener)
    assert statuses(report) == {"bad": "failed", "leaf": "skipped", "good": "fresh"}
    assert (report.exit_code, report.templates[0].key) == (3, None)
    assert ("bad", "failed") in listener.finished
    entry = {one.name: one for one in lockfile.read(workshop.lock).entries}["bad"]
    assert entry.status is EntryStatus.FAILED
    assert str(workshop.directory) not in entry.reason


def test_an_error_of_no_kind_we_know_fails_its_template_and_is_told_as_a_bug(shop):
    workshop = shop(define("bad", "mark bad"), define("good", "mark good"))
    capture = workshop.backend.capture

    def broken(request, observer):
        if request.name == "bad":
            raise ZeroDivisionError("layers")
        return capture(request, observer)

    workshop.backend.capture = broken
    report = workshop.build()
    assert statuses(report) == {"bad": "failed", "good": "fresh"}
    assert "ZeroDivisionError: layers" in report.templates[0].error.message


# verify


def test_verify_runs_in_a_session_of_its_own_which_is_removed(shop):
    workshop = shop(define("a", "echo built > /workspace/f", verify=["cat /workspace/f", "echo dirt > /workspace/g"]))
    assert statuses(workshop.build()) == {"a": "fresh"}
    assert list(workshop.backend.sessions()) == []


def test_a_failed_verification_publishes_nothing_and_leaves_no_session(shop):
    workshop = shop(define("a", "mark a", verify=["true", "exit 3"]))
    report = workshop.build()
    assert report.templates[0].error.message.startswith("verify step 2 of 2 of 'a'")
    assert (list(workshop.backend.templates()), list(workshop.backend.sessions())) == ([], [])
    assert workshop.backend.store.templates == {}
    assert statuses(workshop.plan()) == {"a": "fresh"}


def test_a_template_that_no_session_opens_from_is_a_failed_capture(shop):
    workshop = shop(define("a", "mark a"))

    def broken(request):
        raise TemplateNotFoundError("the layer is gone")

    workshop.backend.open = broken
    report = workshop.build()
    assert report.templates[0].error.kind == "CaptureFailedError"
    assert "no session opens from it: the layer is gone" in report.templates[0].error.message
    assert list(workshop.backend.templates()) == []


# concurrency


def test_captures_run_at_once_but_never_more_than_asked(shop):
    running, most, lock, together = [0], [0], threading.Lock(), threading.Barrier(3, timeout=60)

    def busy(call):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        together.wait()
        call.sleep(0.01)
        with lock:
            running[0] -= 1
        return 0

    workshop = shop(*(define(f"n{number}", f"busy {number}") for number in range(9)), commands={"busy": busy})
    workshop.build(jobs=3)
    assert most[0] == 3


def test_results_come_in_the_order_asked_whatever_finishes_first(shop):
    listener = Listener()

    def after(call):
        while call.argv[1] not in [name for name, _ in listener.finished]:
            call.sleep(0.01)
        return 0

    workshop = shop(
        define("slow", "after mid"), define("mid", "after quick"), define("quick", "true"), commands={"after": after}
    )
    report = workshop.build(listener=listener)
    assert [one.name for one in report.templates] == ["slow", "mid", "quick"]
    assert [name for name, _ in listener.finished] == ["quick", "mid", "slow"]


def test_two_builds_at_once_capture_once_and_the_second_adopts(shop):
    began, go = threading.Event(), threading.Event()

    def slow(call):
        began.set()
        go.wait(60)
        return 0

    workshop = shop(define("a", "slow", "mark a"), commands={"slow": slow})
    reports, listener = {}, Listener()
    first = threading.Thread(target=lambda: reports.update(first=workshop.build()))
    first.start()
    assert began.wait(30)
    second = threading.Thread(
        target=lambda: reports.update(
            second=pipeline.build(
                workshop.project, home=workshop.home, environment={}, listener=listener, choose=workshop.choose
            )
        )
    )
    second.start()
    deadline = time.monotonic() + 60
    while not listener.notes and time.monotonic() < deadline:
        time.sleep(0.01)
    go.set()
    first.join(60)
    second.join(60)
    assert reasons(reports["first"]) == {"a": "first capture"}
    assert (statuses(reports["second"]), reasons(reports["second"])) == ({"a": "reused"}, {"a": "captured meanwhile"})
    assert workshop.ran == ["a"]
    assert listener.notes[0].startswith(f"'a' waits for process {os.getpid()}")


def test_builds_of_different_sandboxes_at_once_both_end_in_the_lock_file(shop):
    names = [f"n{number}" for number in range(8)]
    workshop = shop(*(define(name, f"mark {name}") for name in names))
    threads = [threading.Thread(target=workshop.build, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [entry.name for entry in lockfile.read(workshop.lock).entries] == names


# stopping


def stopping(shop, stop):
    """Build a chain and some others, with ``stop`` called once the second one is under way."""
    reached = threading.Event()

    def hang(call):
        reached.set()
        call.sleep(600)
        return 0

    workshop = shop(
        define("done", "mark done"),
        define("hangs", "hang", extends="done"),
        define("leaf", "mark leaf", extends="hangs"),
        commands={"hang": hang},
    )
    listener = Listener()

    def watch():
        assert reached.wait(30)
        stop()

    watcher = threading.Thread(target=watch)
    watcher.start()
    return workshop, listener, watcher


def check_stopped(workshop, report, listener):
    assert report.interrupted
    assert report.exit_code == 130
    assert statuses(report) == {"done": "fresh", "hangs": "skipped", "leaf": "skipped"}
    assert reasons(report)["hangs"] == reasons(report)["leaf"] == "interrupted"
    assert [record.name for record in workshop.backend.templates()] == ["done"]
    assert {entry.name: entry.status.value for entry in lockfile.read(workshop.lock).entries} == {
        "done": "captured",
        "hangs": "skipped",
        "leaf": "skipped",
    }
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prewarm-capture")]
    place = Place(backend="memory", key=report.templates[1].key)
    with workshop.home.lock(key_lock("acme", place), timeout=0):
        pass


def test_ctrl_c_stops_what_runs_keeps_what_is_done_and_leaves_nothing_half_made(shop):
    workshop, listener, watcher = stopping(shop, lambda: os.kill(os.getpid(), signal.SIGINT))
    report = workshop.build(listener=listener)
    watcher.join()
    check_stopped(workshop, report, listener)


def test_ctrl_c_is_heard_whichever_thread_the_kernel_gives_it_to(shop):
    def to_this_thread():  # As with a closed terminal: SIGHUP and SIGCONT at once, and either thread takes either.
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    workshop, listener, watcher = stopping(shop, to_this_thread)
    report = workshop.build(listener=listener)
    watcher.join()
    check_stopped(workshop, report, listener)


_PRESSED_OVER_AND_OVER = """
import os, signal, sys, threading, time
from pathlib import Path
from building import Workshop, define, statuses

reached, over = threading.Event(), threading.Event()

def hang(call):
    reached.set()
    call.sleep(60)

def press():
    reached.wait()
    for _ in range(int(sys.argv[2])):
        if over.is_set():
            break
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(float(sys.argv[3]))

workshop = Workshop(Path(sys.argv[1]), define("a", "hang"), define("b", "mark b", extends="a"), commands={"hang": hang})
threading.Thread(target=press, daemon=True).start()
try:
    report = workshop.build()
    over.set()
    print(statuses(report), report.exit_code)
except KeyboardInterrupt:
    over.set()  # One that came before the report was there, or just after.
signal.signal(signal.SIGINT, signal.SIG_IGN)
print([thread.name for thread in threading.enumerate() if thread.name.startswith("prewarm")])
print(len(workshop.backend.store.templates), list(workshop.backend.sessions()))
"""


@pytest.mark.parametrize(("times", "apart"), [(3, 0.0), (20, 0.001), (200, 0.0001)])
def test_ctrl_c_pressed_over_and_over_still_cleans_up(tmp_path, times, apart):
    command = [sys.executable, "-c", _PRESSED_OVER_AND_OVER, str(tmp_path), str(times), str(apart)]
    ended = subprocess.run(
        command, check=False, cwd=os.path.dirname(building.__file__), capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-2:] == ["[]", "0 []"]


def test_an_application_can_stop_a_build_from_another_thread(shop):
    cancellation = Cancellation()
    workshop, listener, watcher = stopping(shop, cancellation.cancel)
    report = workshop.build(listener=listener, cancellation=cancellation)
    watcher.join()
    check_stopped(workshop, report, listener)


def test_an_interrupt_while_an_outcome_is_told_loses_none(shop):
    workshop = shop(define("a", "mark a"), define("b", "mark b"))
    told = []

    class Interrupted(Listener):
        def template_finished(self, report):
            told.append(report.name)
            if len(told) == 1:
                raise KeyboardInterrupt

    report = workshop.build(listener=Interrupted(), jobs=1)
    assert report.interrupted
    assert sorted(set(told)) == ["a", "b"]
    assert told.count(told[0]) == 2
    assert [one.name for one in report.templates] == ["a", "b"]


def test_what_was_interrupted_is_captured_by_the_next_build(shop):
    cancellation = Cancellation()
    cancellation.cancel()
    workshop = shop(define("a", "mark a"))
    assert reasons(workshop.build(cancellation=cancellation)) == {"a": "interrupted"}
    assert reasons(workshop.build()) == {"a": "first capture"}


def test_who_waits_for_another_build_can_be_stopped(shop):
    workshop = shop(define("a", "mark a"))
    key = workshop.plan().templates[0].key
    cancellation, listener = Cancellation(), Listener()
    listener.note = lambda text: cancellation.cancel()
    with workshop.home.lock(key_lock("acme", Place(backend="memory", key=key))):
        report = workshop.build(listener=listener, cancellation=cancellation)
    assert reasons(report) == {"a": "interrupted"}


# refused before anything runs


def test_what_the_backend_cannot_honour_is_refused_and_nothing_runs(shop):
    limited = define("limited", session=SessionOptions(resources=Resources(memory=1 << 30)))
    workshop = shop(define("fine", "mark fine"), limited)
    with pytest.raises(UnsupportedOptionError, match="cannot limit resources"):
        workshop.build()
    assert (workshop.ran, workshop.lock.exists()) == ([], False)


def test_a_missing_secret_is_named_and_nothing_runs(shop):
    secret = define(
        "secret",
        Step(action=RunAction(command="mark secret"), secrets=("npm",)),
        build=BuildOptions(secrets=(Secret(id="npm", env="NPM_TOKEN"),)),
    )
    workshop = shop(define("fine", "mark fine"), secret)
    with pytest.raises(DefinitionError, match="secret 'npm': the variable NPM_TOKEN is not set"):
        workshop.build()
    assert workshop.ran == []


def test_a_secret_is_not_needed_where_nothing_is_captured(shop):
    secret = define(
        "secret",
        Step(action=RunAction(command="mark secret"), secrets=("npm",)),
        build=BuildOptions(secrets=(Secret(id="npm", env="NPM_TOKEN"),)),
    )
    workshop = shop(secret, environment={"NPM_TOKEN": "hunter22"})
    workshop.build()
    workshop.environment.clear()
    assert reasons(workshop.build()) == {"secret": "unchanged"}


def test_a_secrets_value_is_nowhere(shop):
    def leak(call):
        value = call.files.read("/run/secrets/npm").decode()
        call.say(f"the token is {value}")
        call.complain(value)
        return 3

    secret = define(
        "secret",
        Step(action=RunAction(command="leak; echo hunter22"), secrets=("npm",)),
        build=BuildOptions(secrets=(Secret(id="npm", env="NPM_TOKEN"),)),
    )
    listener = Listener()
    workshop = shop(secret, environment={"NPM_TOKEN": "hunter22"}, commands={"leak": leak})
    report = workshop.build(listener=listener)
    assert ("secret", "the token is ***") in listener.lines
    told = json.dumps([report.to_json(), report.text(), report.summary_markdown(), listener.lines, listener.steps])
    kept = b"".join(path.read_bytes() for path in [workshop.lock, *workshop.home.path.glob("state.db*")])
    assert statuses(report) == {"secret": "failed"}
    assert "hunter22" not in told
    assert b"hunter22" not in kept


def test_an_unknown_name_is_refused(shop):
    with pytest.raises(DefinitionError, match="no sandbox is named 'analist'"):
        shop(define("analyst")).build("analist")


def test_a_backend_that_does_not_answer_is_never_taken_for_missing(shop):
    workshop = shop(define("a", "mark a"))
    workshop.build()

    def silent(wanted):
        raise BackendUnavailableError("the daemon does not answer")

    workshop.backend.probe = silent
    before = workshop.lock.read_bytes()
    with pytest.raises(BackendUnavailableError):
        workshop.build()
    assert (workshop.ran, workshop.lock.read_bytes()) == ([], before)


def test_a_damaged_lock_file_is_said_before_anything_runs(shop):
    workshop = shop(define("a", "mark a"))
    workshop.lock.write_text("<<<<<<< HEAD")
    with pytest.raises(LockFileError, match="is damaged"):
        workshop.build()
    assert workshop.ran == []


def test_a_lock_file_without_a_directory_is_said_before_anything_runs(shop, tmp_path):
    workshop = shop(define("a", "mark a"))
    with pytest.raises(LockFileError, match="there is no directory"):
        workshop.build(lock=tmp_path / "gone" / "prewarm.lock")
    assert workshop.ran == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_project_is_said_before_anything_runs_and_only_if_something_has_to(shop):
    workshop = shop(define("a", "mark a"))
    workshop.build()
    workshop.directory.chmod(0o555)
    try:
        assert statuses(workshop.build()) == {"a": "reused"}
        workshop.ran.clear()
        with pytest.raises(LockFileError, match="is read-only") as caught:
            workshop.build(force=True)
    finally:
        workshop.directory.chmod(0o755)
    assert caught.value.hint == "make its directory writable, or free some space"
    assert workshop.ran == []


def test_a_home_that_cannot_be_used_is_said_before_anything_runs(shop, tmp_path):
    workshop = shop(define("a", "mark a"))
    (tmp_path / "file").write_text("")
    workshop.home = Home(tmp_path / "file" / "home")
    with pytest.raises(HomeError):
        workshop.build()
    assert workshop.ran == []


def test_a_capture_that_cannot_be_recorded_fails_and_is_found_by_the_next_build(shop, monkeypatch):
    workshop = shop(define("a", "mark a"))
    with monkeypatch.context() as patch:

        def full(*arguments):
            raise HomeError("cannot use the state directory: database or disk is full")

        patch.setattr(Catalog, "add", full)
        report = workshop.build()
    assert (statuses(report), report.exit_code) == ({"a": "failed"}, 9)
    assert reasons(workshop.build()) == {"a": "found at the backend"}


# lock file


def test_the_lock_file_says_how_to_open(shop):
    session = SessionOptions(idle_timeout_s=60.0)
    workshop = shop(define("a", "mark a", env={"A": "1"}, user="root", workdir="/srv", session=session))
    report = workshop.build()
    entry = lockfile.read(workshop.lock).entry("a")
    assert (entry.key, entry.ref) == (report.templates[0].key, report.templates[0].ref)
    assert (entry.user, entry.workdir, entry.env, entry.session) == ("root", "/srv", {"A": "1"}, session)


def test_an_unchanged_lock_file_is_not_written_again(shop):
    workshop = shop(define("a", "mark a"))
    workshop.build()
    before = workshop.lock.stat().st_mtime_ns
    workshop.build()
    assert workshop.lock.stat().st_mtime_ns == before


def test_the_lock_file_is_the_same_from_another_checkout_and_another_home(tmp_path):
    locks = []
    for place in ("one", "two/deeper"):
        workshop = Workshop(tmp_path / place, define("a", "echo hi > /workspace/f"), define("bad", seeds=["none"]))
        workshop.build()
        locks.append(workshop.lock.read_bytes())
    assert locks[0] == locks[1]
    assert str(tmp_path).encode() not in locks[0]


def test_a_lock_file_of_another_namespace_is_replaced(shop):
    workshop = shop(define("a", "mark a"))
    workshop.build()
    workshop.namespace = "other"
    workshop.build()
    assert lockfile.read(workshop.lock).namespace == "other"


def test_builds_of_two_platforms_share_a_lock_file(shop):
    workshop = shop(define("a", "mark a"))
    workshop.build(platform="linux/amd64")
    workshop.build(platform="linux/arm64")
    assert [entry.platform for entry in lockfile.read(workshop.lock).entries] == ["linux/amd64", "linux/arm64"]


def test_a_platform_that_is_none_leaves_the_lock_file_alone(shop):
    workshop = shop(define("a", "mark a"))
    workshop.build()
    before = workshop.lock.read_bytes()
    with pytest.raises(DefinitionError, match="'zz' is not a platform"):
        workshop.build(platform="zz")
    assert workshop.lock.read_bytes() == before


# keys, check, explain


def check(workshop, **options):
    return pipeline.check(workshop.lock, home=workshop.home, environment={}, choose=workshop.choose, **options)


def test_keys_are_those_of_the_build_and_ask_no_backend(shop):
    workshop = shop(define("a", "mark a"), define("leaf", extends="a"), define("bad", seeds=["none"]))
    report = workshop.build()
    workshop.backend.probe = workshop.backend.find = None
    answer = pipeline.keys(workshop.project, home=workshop.home, environment={}, choose=workshop.choose)
    assert [one.key for one in answer.templates] == [one.key for one in report.templates]
    document = json.loads(json.dumps(answer.to_json()))
    assert document["templates"][0]["key"] == report.templates[0].key
    assert (document["templates"][2]["error"]["class"], answer.exit_code) == ("UnkeyableInputError", 3)


def test_a_lock_file_whose_templates_are_there_holds(shop):
    workshop = shop(define("a", "mark a"), define("b", "mark b"))
    workshop.build()
    answer = check(workshop)
    assert [entry.status.value for entry in answer.entries] == ["present", "present"]
    assert (answer.exit_code, answer.hint) == (0, None)


def test_a_lock_file_that_was_checked_is_remembered(shop, tmp_path):
    workshop = shop(define("a", "mark a"))
    workshop.build()
    elsewhere = Home(tmp_path / "elsewhere")
    pipeline.check(workshop.lock, home=elsewhere, environment={}, choose=workshop.choose)
    with Catalog(elsewhere) as catalog:
        assert catalog.lock_files() == ((workshop.lock.absolute(), workshop.project.namespace),)
        assert catalog.built_namespaces() == ()


def test_a_check_needs_no_state_directory_that_can_be_written(shop, tmp_path):
    workshop = shop(define("a", "mark a"))
    workshop.build()
    (tmp_path / "file").touch()
    nowhere = Home(tmp_path / "file" / "home")
    assert pipeline.check(workshop.lock, home=nowhere, environment={}, choose=workshop.choose).exit_code == 0


def test_what_is_missing_corrupt_or_failed_fails_the_check(shop):
    workshop = shop(define("a", "mark a"), define("b", "mark b"), define("bad", "false"))
    workshop.build()
    store = workshop.backend.store
    store.lose(workshop.identity("a"))
    answer = check(workshop)
    assert [entry.status.value for entry in answer.entries] == ["missing", "present", "failed"]
    assert answer.exit_code == 7
    store.damage(workshop.identity("b"))
    answer = check(workshop)
    assert (answer.exit_code, answer.to_json()["ok"]) == (8, False)
    assert "prewarm build" in answer.hint


def test_entries_of_other_platforms_do_not_count_unless_there_is_no_other(shop):
    workshop = shop(define("a", "mark a"))
    workshop.build(platform="plan9/mips")
    assert [entry.status.value for entry in check(workshop).entries] == ["missing"]
    workshop.build()
    answer = check(workshop)
    assert sorted(entry.status.value for entry in answer.entries) == ["other platform", "present"]
    assert answer.exit_code == 0


def test_a_backend_that_does_not_work_here_fails_its_entries(shop):
    workshop = shop(define("a", "mark a"))
    workshop.build()

    def choose(name):
        raise BackendUnavailableError("no daemon here", hint="start it")

    workshop.choose = choose
    answer = check(workshop)
    assert [(entry.status.value, entry.detail) for entry in answer.entries] == [("unavailable", "no daemon here")]
    assert answer.hint == "start it"
    assert answer.exit_code == 4


def explain(workshop, name="a"):
    return pipeline.explain(workshop.project, name, home=workshop.home, environment={}, choose=workshop.choose)


def test_explain_says_what_would_happen_and_what_changed(shop):
    workshop = shop(define("a", "mark a"))
    assert explain(workshop).text().endswith("would be captured: it was not captured before")
    workshop.build()
    assert "would be reused" in explain(workshop).text()
    workshop.change("a", user="root")
    answer = explain(workshop)
    assert 'user: "sandbox" -> "root"' in answer.text()
    assert answer.to_json()["changes"] == list(answer.now.changes)


def test_explain_remembers_what_made_the_difference_the_last_time(shop):
    workshop = shop(define("a", "mark a"))
    workshop.build()
    workshop.change("a", user="root")
    workshop.build()
    answer = explain(workshop)
    assert answer.last_changes == ('user: "sandbox" -> "root"',)
    assert answer.to_json()["before"]["changes"] == ['user: "sandbox" -> "root"']


def test_explain_refuses_an_unknown_name(shop):
    with pytest.raises(DefinitionError, match="no sandbox is named 'x'"):
        explain(shop(define("a")), "x")


# listening, speed


def test_a_listener_hears_the_whole_story_one_call_at_a_time(shop):
    listener = Listener()
    workshop = shop(define("a", "echo hello", verify=["echo checked"]), define("b", "mark b"))
    workshop.build(listener=listener)
    assert ("a", "first capture") in listener.started
    assert [phase for name, phase in listener.phases if name == "a"] == [
        "base",
        "seed",
        "bootstrap",
        "seal",
        "verify",
        "publish",
    ]
    assert [text for name, text in listener.lines if name == "a"] == ["hello", "checked"]
    assert sorted(listener.finished) == [("a", "fresh"), ("b", "fresh")]


def test_nothing_to_do_costs_next_to_nothing(shop):
    workshop = shop(*(define(f"n{number:03}", f"mark {number}", inline=str(number)) for number in range(100)))
    workshop.build()
    took = []
    for _ in range(5):
        began = time.process_time()
        report = workshop.build()
        took.append(time.process_time() - began)
    assert set(statuses(report).values()) == {"reused"}
    assert min(took) < 0.25  # Of the processor, whatever else runs on it; it takes about 50 ms.


def test_a_lock_file_keeps_the_words_of_another_machine_for_the_same_template(shop):
    workshop = shop(define("a", "mark a"))
    workshop.build()
    written = json.loads(workshop.lock.read_text())
    here = dict(written["templates"][0]["ref"]["value"])

    def said(**changes):
        written["templates"][0]["ref"]["value"] = here | changes
        workshop.lock.write_text(json.dumps(written))
        workshop.build()
        return lockfile.read(workshop.lock).entries[0].ref.value

    assert said(content="c") == here | {"content": "c"}
    assert said(content="c", identity="elsewhere") == here
