"""Sessions: exit codes, streams, what a key finds again, what two sessions do not see of each other, and their end."""

import json
import os
import re
import subprocess

import pytest
from stories import COMMAND


def _sessions(story, *arguments):
    return json.loads(story.prewarm("sessions", "--json", *arguments).stdout)["sessions"]


@pytest.fixture
def built(story):
    story.build()
    return story


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 42"], 42),
        (["sh", "-c", "kill -9 $$"], 137),
        (["no-such-command"], 127),
        (["/workspace/seed.txt"], 126),
    ],
)
def test_the_exit_code_is_that_of_the_command(built, argv, code):
    built.prewarm("open", "box", "--", *argv, code=code)


def test_a_session_that_ends_under_its_command_is_told_from_a_command_that_was_killed(built):
    running = built.start("open", "box", "--", "sh", "-c", "echo runs; exec sleep 7341")
    assert running.stdout.readline() == "runs\n"
    built.prewarm("sessions", "--remove-all")
    _, said = running.communicate(timeout=60)
    assert running.returncode == 6
    assert "has ended" in said
    assert "hint: open it anew" in said


def test_the_list_of_sessions_fits_a_terminal_and_its_ids_are_enough_to_end_one(built):
    key = "user-" + "4" * 60
    built.prewarm("open", "box", "--key", key, "--", "true")
    (session,) = _sessions(built)
    screen = built.screen("sessions", columns=80)
    assert screen.end() == 0
    assert len(screen.lines) == 2
    assert session["id"][:12] in screen.text
    assert key not in screen.text
    assert f"{key}  " in built.prewarm("sessions").stdout

    built.prewarm("sessions", "--remove", session["id"][:12])

    assert _sessions(built) == []


def test_streams_stay_apart_and_input_goes_in(built):
    done = built.prewarm("open", "box", "--", "sh", "-c", "cat; echo err >&2", stdin="in\n")
    assert (done.stdout, done.stderr) == ("in\n", "err\n")


def test_binary_goes_through_exactly(built):
    data = os.urandom(300_000)
    done = subprocess.run(
        [COMMAND, "open", "box", "--", "cat"],
        cwd=built.project,
        env=built.environment,
        input=data,
        capture_output=True,
        check=True,
    )
    assert done.stdout == data


def test_who_where_and_with_which_environment(built):
    assert built.inside("box", "sh", "-c", "id -un; pwd; echo $FROM_DEFINITION $BOTH") == (
        "sandbox\n/workspace\ndefinition definition\n"
    )
    done = built.prewarm(
        "open", "box", "--user", "root", "--workdir", "/tmp", "--env", "BOTH=option",
        "--", "sh", "-c", "id -u; pwd; echo $FROM_DEFINITION $BOTH",
    )  # fmt: skip
    assert done.stdout == "0\n/tmp\ndefinition option\n"


def test_without_a_key_the_session_is_gone_afterwards(built):
    built.inside("box", "touch", "mine")
    assert _sessions(built) == []
    assert built.inside("box", "ls") == "seed.txt\n"


def test_a_key_finds_the_same_session_again(built):
    built.prewarm("open", "box", "--key", "user-42", "--", "sh", "-c", "echo mine > mine")
    assert built.prewarm("open", "box", "--key", "user-42", "--", "cat", "mine").stdout == "mine\n"
    assert built.prewarm("exec", "user-42", "--", "cat", "mine").stdout == "mine\n"
    assert built.prewarm("exec", "user-42", "--", "sh", "-c", "exit 3", code=3).stdout == ""
    (session,) = _sessions(built)
    assert (session["namespace"], session["name"], session["session_key"]) == ("story-sessions", "box", "user-42")
    assert session["running"] is True
    assert built.prewarm("exec", session["id"], "--", "cat", "mine").stdout == "mine\n"
    assert "user-42" in built.prewarm("sessions").stdout
    assert built.inside("box", "ls") == "seed.txt\n"

    built.prewarm("sessions", "--remove", "user-42")
    assert _sessions(built) == []
    gone = built.prewarm("exec", "user-42", "--", "true", code=6)
    assert "no session with the key 'user-42'" in gone.stderr
    assert "hint: " in gone.stderr


def test_keep_and_remove_say_otherwise(built):
    kept = built.prewarm("open", "box", "--keep", "--", "touch", "mine")
    key = re.search(r"prewarm exec (\S+) -- COMMAND", kept.stderr)[1]
    assert built.prewarm("exec", key, "--", "ls", "mine").stdout == "mine\n"
    built.prewarm("open", "box", "--key", "short", "--remove", "--", "true")
    assert [session["session_key"] for session in _sessions(built)] == [key]


def test_a_background_process_lives_on_between_commands(built):
    built.prewarm(
        "open", "box", "--key", "bg", "--", "sh", "-c", "(sleep 60; echo never) >/dev/null 2>&1 & echo $! > pid"
    )
    assert built.prewarm("exec", "bg", "--", "sh", "-c", "kill -0 $(cat pid) && echo alive").stdout == "alive\n"


def test_a_session_keeps_the_template_it_was_born_from(built):
    built.prewarm("open", "box", "--key", "old", "--", "true")
    built.edit("prewarm.yaml", '"seed\\n"', '"new seed\\n"')
    built.build()
    assert built.prewarm("exec", "old", "--", "cat", "seed.txt").stdout == "seed\n"
    assert built.inside("box", "cat", "seed.txt") == "new seed\n"
    kept = json.loads(built.prewarm("gc", "--json").stdout)["kept"]
    assert any("live session 'old'" in one["reason"] for one in kept)


def test_no_network_unless_asked_for(built):
    look = ["sh", "-c", "ls /sys/class/net 2>/dev/null; cat /proc/net/dev | tail -n +3 | cut -d: -f1"]
    assert set(built.inside("box", *look).split()) <= {"lo"}


@pytest.mark.parametrize("key", ["../escape", "", "a b", "x" * 200])
def test_a_session_key_that_is_none_is_refused(built, key):
    refused = built.prewarm("open", "box", "--key", key, "--", "true", code=2)
    assert "is not a session key" in refused.stderr


def test_an_unknown_sandbox_is_an_error_that_names_the_nearest(built):
    refused = built.prewarm("open", "bxo", "--", "true", code=7)
    assert "did you mean 'box'?" in refused.stderr


def test_a_missing_template_is_an_error_and_never_the_bare_base(built):
    lock = (built.project / "prewarm.lock").read_text()
    (built.project / "prewarm.lock").unlink()
    built.prewarm("gc", "--apply")
    built.write("prewarm.lock", lock)
    missing = built.prewarm("open", "box", "--", "true", code=7)
    assert "hint: run 'prewarm build' on this machine" in missing.stderr
    assert built.prewarm("check", code=7).stdout.startswith("missing  box")
