"""Registries that want a login, that are down, or that lack what is asked for: each its own words, and no password in any."""

import base64
import json
import shutil
import signal
import socket
import stat
import uuid
from pathlib import Path

import pytest
from locked import ANSWERS, ENCODED, PASSWORD, USER, configure, write_helper
from ports import refusing_port


@pytest.fixture
def story(docker_story, tmp_path):
    """A project whose Docker has a configuration of its own."""
    one = docker_story("node")
    one.write_one("echo one > /workspace/one")
    config = tmp_path / "docker-config"
    shutil.copytree(one.environment.get("DOCKER_CONFIG") or Path.home() / ".docker", config)
    one.environment["DOCKER_CONFIG"] = str(config)
    one.said = []
    return one


@pytest.fixture
def where(locked):
    return f"{locked}/{uuid.uuid4().hex[:8]}"


def say(story, *arguments, **options):
    """Run a command and keep what it says."""
    done = story.prewarm(*arguments, **options)
    story.said.append(done.stdout + done.stderr)
    return done


def assert_nothing_of_the_password(story):
    """Check what was said, and every file that was written, for the password in any of its forms."""
    secrets = [PASSWORD.encode(), ENCODED.encode()]
    files = [
        path for root in (story.project, story.home) for path in root.rglob("*") if stat.S_ISREG(path.stat().st_mode)
    ]
    texts = [text.encode() for text in story.said] + [path.read_bytes() for path in files]
    assert files
    assert [text for text in texts if any(secret in text for secret in secrets)] == []


def travels(story, where):
    """Push, forget, pull, forget, build from the registry."""
    say(story, "build", "--json")
    assert "moved" in say(story, "push", where).stdout
    assert "already there" in say(story, "push", where).stdout
    story.forget()
    assert "moved" in say(story, "pull", where).stdout
    say(story, "check")
    story.forget()
    (story.project / "prewarm.lock").unlink()
    for path in story.home.glob("state.db*"):
        path.unlink()
    built = json.loads(say(story, "build", "--from", where, "--json").stdout)["templates"][0]
    assert (built["status"], built["reason"]) == ("reused", "found in registry")
    assert_nothing_of_the_password(story)


def test_a_login_of_docker_is_used(story, where, locked):
    configure(story, auths={locked: {"auth": ENCODED}})
    travels(story, where)


def test_an_older_login_that_is_an_address_is_used(story, where, locked):
    configure(story, auths={f"http://{locked}/v1/": {"auth": ENCODED}})
    say(story, "build")
    assert "moved" in say(story, "push", where).stdout


@pytest.mark.parametrize("kind", ["credsStore", "credHelpers"])
def test_a_credential_helper_is_asked(story, where, locked, tmp_path, kind):
    asked = write_helper(story, tmp_path, ANSWERS)
    configure(story, **{kind: "vault" if kind == "credsStore" else {locked: "vault"}})
    travels(story, where)
    assert set(asked.read_text().splitlines()) == {f"get {locked}"}


def test_a_helper_that_knows_no_login_leaves_it_to_the_rest(story, where, locked, tmp_path):
    write_helper(story, tmp_path, "echo 'credentials not found in native keychain'; exit 1")
    configure(story, credsStore="vault", auths={locked: {"auth": ENCODED}})
    say(story, "build")
    assert "moved" in say(story, "push", where).stdout


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "wants a login"),
        ({"auth": base64.b64encode(b"warden:wrong-3f1c").decode()}, "does not accept the login"),
    ],
)
def test_no_login_and_a_wrong_one_are_said_to_be_so(story, where, locked, settings, words):
    configure(story, auths={locked: settings})
    say(story, "build")

    for command in (("push", where), ("pull", where), ("build", "--from", where, "--force")):
        arguments = command if command[0] != "build" else command[:-1]
        if command[0] != "push":
            story.forget()
        failed = say(story, *arguments, code=4)
        assert words in failed.stderr
        assert f"hint: run 'docker login {locked}'" in failed.stderr
        assert "wrong-3f1c" not in failed.stdout + failed.stderr


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (f"echo 'the vault says {PASSWORD}'; echo '{PASSWORD}' >&2; exit 3", "gives nothing for"),
        (f"echo '{PASSWORD}'", "gives nothing for"),
    ],
)
def test_a_helper_that_fails_is_named_and_not_quoted(story, where, locked, tmp_path, answer, words):
    write_helper(story, tmp_path, answer)
    configure(story, credsStore="vault")
    say(story, "build")

    failed = say(story, "push", where, code=4)

    assert f"the credential helper 'docker-credential-vault' {words} {locked}" in failed.stderr
    assert f"hint: try: echo {locked} | docker-credential-vault get" in failed.stderr
    assert_nothing_of_the_password(story)


def test_a_helper_that_is_not_there_is_named(story, where):
    configure(story, credsStore="nowhere")
    say(story, "build")
    failed = say(story, "push", where, code=4)
    assert "the credential helper 'docker-credential-nowhere' is not installed" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert "Warning" not in failed.stderr


def test_a_registry_that_is_down_is_said_to_be_so(story):
    say(story, "build")

    with refusing_port() as port:
        where = f"127.0.0.1:{port}"
        for command in (("push", where), ("pull", where), ("build", "--from", where)):
            if command[0] != "push":
                story.forget()
            failed = say(story, *command, code=4)
            assert "does not answer as one" in failed.stderr
            assert f"hint: check the name and the network between the engine and {where}" in failed.stderr


def test_a_registry_that_lacks_the_template_says_so(story, where, locked):
    configure(story, auths={locked: {"auth": ENCODED}})
    say(story, "build")
    story.forget()
    failed = say(story, "pull", where, code=7)
    assert "has no template" in failed.stderr
    assert "hint: run 'prewarm push'" in failed.stderr
    built = json.loads(say(story, "build", "--from", where, "--json").stdout)["templates"][0]
    assert (built["status"], built["reason"]) == ("fresh", "missing")


@pytest.mark.parametrize(
    "name", ["https://registry.example.org/team", "prewarm", f"{USER}:{PASSWORD}@registry.example.org", "/"]
)
def test_what_is_no_name_of_a_registry_is_refused(story, name):
    say(story, "build")
    failed = say(story, "push", name, code=2)
    assert "hint: " in failed.stderr
    assert_nothing_of_the_password(story)


@pytest.mark.parametrize("command", [("pull",), ("push",), ("build", "--from")])
def test_ctrl_c_ends_what_waits_for_a_registry_that_says_nothing(story, command):
    say(story, "build")
    if command[0] != "push":
        story.forget()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.settimeout(120)
        running = story.start(*command, f"127.0.0.1:{silent.getsockname()[1]}")
        asked, _ = silent.accept()
        with asked:
            running.send_signal(signal.SIGINT)
            _, stderr = running.communicate(timeout=120)

    assert running.returncode == 130
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
