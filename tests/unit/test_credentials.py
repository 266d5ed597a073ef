"""Secrets and passed variables: read once, missing ones named, none shown."""

from __future__ import annotations

import pytest

from prewarm.capture.credentials import read_all
from prewarm.definition.model import BuildOptions, Definition, HostBase, RunAction, Secret, Step, Template
from prewarm.errors import DefinitionError


def define(name="analyst", *, secrets=(), named=None, pass_env=()) -> Definition:
    names = tuple(secret.id for secret in secrets) if named is None else named
    step = Step(action=RunAction(command="true"), secrets=names)
    return Definition(
        name=name,
        template=Template(base=HostBase(), bootstrap=(step,)),
        build=BuildOptions(secrets=secrets, pass_env=pass_env),
    )


NPM = Secret(id="npm", env="NPM_TOKEN")


def read(tmp_path, *definitions, **environment):
    return read_all(definitions, project=tmp_path, environment=environment)


def test_a_secret_comes_from_the_environment(tmp_path):
    found = read(tmp_path, define(secrets=(NPM,)), NPM_TOKEN="hunter22")
    assert found["analyst"].secrets == {"npm": b"hunter22"}
    assert found["analyst"].redact("curl -H hunter22") == "curl -H ***"


def test_a_secret_comes_from_a_file_byte_for_byte(tmp_path):
    (tmp_path / "key.pem").write_bytes(b"-----BEGIN-----\nabcdefgh\n\xff\n")
    found = read(tmp_path, define(secrets=(Secret(id="pem", file="key.pem"),)))["analyst"]
    assert found.secrets == {"pem": b"-----BEGIN-----\nabcdefgh\n\xff\n"}
    assert "abcdefgh" not in found.redact("it says abcdefgh")


def test_a_secret_below_home_is_found_there(tmp_path):
    (tmp_path / "h").mkdir()
    (tmp_path / "h" / ".netrc").write_text("machine x")
    found = read(tmp_path, define(secrets=(Secret(id="netrc", file="~/.netrc"),)), HOME=str(tmp_path / "h"))
    assert found["analyst"].secrets == {"netrc": b"machine x"}


def test_a_secret_that_no_step_names_is_not_asked_for(tmp_path):
    assert read(tmp_path, define(secrets=(NPM,), named=()))["analyst"].secrets == {}


def test_all_missing_secrets_are_named_before_anything_runs(tmp_path):
    file = Secret(id="pem", file="key.pem")
    with pytest.raises(DefinitionError) as caught:
        read(tmp_path, define(secrets=(NPM,)), define("other", secrets=(file,)), NPM_TOKEN="")
    assert caught.value.problems == (
        "sandbox 'analyst': secret 'npm': the variable NPM_TOKEN is not set",
        f"sandbox 'other': secret 'pem': cannot read {tmp_path}/key.pem: No such file or directory",
    )
    assert "before the build" in caught.value.hint


def test_variables_are_passed_where_they_are_set(tmp_path):
    found = read(tmp_path, define(pass_env=("HTTPS_PROXY", "PIP_CERT")), HTTPS_PROXY="http://proxy:3128", OTHER="x")
    assert found["analyst"].pass_env == {"HTTPS_PROXY": "http://proxy:3128"}
    assert found["analyst"].redact("via http://proxy:3128") == "via http://proxy:3128"


def test_the_password_of_a_proxy_and_tokens_by_name_are_hidden(tmp_path):
    found = read(
        tmp_path,
        define(pass_env=("HTTPS_PROXY", "CI_JOB_TOKEN")),
        HTTPS_PROXY="http://me:swordfish@proxy:3128",
        CI_JOB_TOKEN="glpat-123456",
    )["analyst"]
    told = found.redact("http://me:swordfish@proxy:3128 swordfish glpat-123456")
    assert "swordfish" not in told
    assert "glpat-123456" not in told
    assert "proxy:3128" in told


def test_values_are_not_in_what_is_printed_of_them(tmp_path):
    assert "hunter22" not in repr(read(tmp_path, define(secrets=(NPM,)), NPM_TOKEN="hunter22"))
