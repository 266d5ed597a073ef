"""Docker's own credentials: from its configuration, and from helpers."""

import base64
import json

import pytest

from prewarm.backends.logins import login, registry_host
from prewarm.errors import BackendUnavailableError

NAME = "registry.example.org/team/x"
HOST = "registry.example.org"


def auth(text):
    return {"auth": base64.b64encode(text.encode()).decode()}


@pytest.fixture
def environment(tmp_path):
    def make(helper="", **config):
        (tmp_path / "config.json").write_text(json.dumps(config))
        if helper:
            program = tmp_path / "docker-credential-vault"
            program.write_text(f"#!/bin/sh\n{helper}\n")
            program.chmod(0o755)
        return {"DOCKER_CONFIG": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"}

    return make


@pytest.mark.parametrize(
    ("name", "host"),
    [
        (NAME, HOST),
        ("localhost/x", "localhost"),
        ("127.0.0.1:5000/x", "127.0.0.1:5000"),
        ("team/x", "docker.io"),
        ("x", "docker.io"),
    ],
)
def test_the_registry_of_a_name_is_read_as_docker_reads_it(name, host):
    assert registry_host(name) == host


def test_without_a_configuration_there_is_no_login(tmp_path):
    assert login({"DOCKER_CONFIG": str(tmp_path / "none")}, NAME) == {}


def test_a_login_is_read_with_every_colon_of_its_password(environment):
    assert login(environment(auths={HOST: auth("me:a:b")}), NAME) == {
        "username": "me",
        "password": "a:b",
        "serveraddress": HOST,
    }


@pytest.mark.parametrize("written", [f"https://{HOST}", f"https://{HOST}/v1/", f"http://{HOST}/v2/"])
def test_a_login_under_an_address_is_read(environment, written):
    assert login(environment(auths={written: auth("me:pw")}), NAME)["username"] == "me"


def test_a_login_of_docker_hub_is_read_under_its_address(environment):
    found = login(environment(auths={"https://index.docker.io/v1/": auth("me:pw")}), "team/x")
    assert (found["username"], found["serveraddress"]) == ("me", "https://index.docker.io/v1/")


def test_tokens_are_handed_on(environment):
    assert login(environment(auths={HOST: {"identitytoken": "t"}}), NAME) == {
        "identitytoken": "t",
        "serveraddress": HOST,
    }


@pytest.mark.parametrize(
    "entry", [{}, None, 7, {"auth": "%%%"}, {"auth": ""}, {"auth": 7}, {"auth": base64.b64encode(b"me").decode()}]
)
def test_an_entry_that_says_nothing_is_no_login(environment, entry):
    assert login(environment(auths={HOST: entry}), NAME) == {}


def test_a_helper_of_the_registry_goes_before_the_one_of_all(environment):
    answer = """printf '{"Username": "me", "Secret": "pw"}'"""
    found = login(environment(answer, credHelpers={HOST: "vault"}, credsStore="nowhere"), NAME)
    assert found == {"username": "me", "password": "pw", "serveraddress": HOST}


def test_a_helpers_token_is_handed_on(environment):
    found = login(environment("""printf '{"Username": "<token>", "Secret": "t"}'""", credsStore="vault"), NAME)
    assert found == {"identitytoken": "t", "serveraddress": HOST}


@pytest.mark.parametrize(
    "answer", ["echo credentials not found in native keychain; exit 1", """echo '{"Username": "", "Secret": ""}'"""]
)
def test_a_helper_that_knows_none_leaves_it_to_the_configuration(environment, answer):
    assert login(environment(answer, credsStore="vault", auths={HOST: auth("me:pw")}), NAME)["username"] == "me"


@pytest.mark.parametrize("answer", ["echo pw-81; exit 1", "echo pw-81", "echo '[]'", """echo '{"Username": 7}'"""])
def test_a_helper_that_fails_is_an_error_that_does_not_quote_it(environment, answer):
    with pytest.raises(BackendUnavailableError, match="gives nothing for") as caught:
        login(environment(answer, credsStore="vault"), NAME)
    assert "pw-81" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("helper", ["nowhere", "../../bin/sh"])
def test_a_helper_that_is_not_there_is_an_error(environment, helper):
    with pytest.raises(BackendUnavailableError, match="is not installed"):
        login(environment(credsStore=helper), NAME)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\xff"])
def test_a_configuration_that_cannot_be_read_is_an_error(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BackendUnavailableError, match="cannot be read"):
        login({"DOCKER_CONFIG": str(tmp_path)}, NAME)
