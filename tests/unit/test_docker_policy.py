"""A session's policy in the engine's words, and what is refused."""

import os

import pytest

from prewarm.backends.docker import policy
from prewarm.definition.model import Network, Resources, SessionOptions
from prewarm.errors import SessionFailedError, UnsupportedOptionError


def made(**options):
    return policy.Policy(user="sandbox", workdir="/w", env={"A": "b"}, options=SessionOptions(**options))


def test_a_session_has_no_rights_and_no_network_by_default():
    config = policy.host_config(made(), ())

    assert config["cap_drop"] == ["ALL"]
    assert config["security_opt"] == ["no-new-privileges"]
    assert config["network_mode"] == "none"
    assert config["init"] is True
    assert config["pids_limit"] == 256


def test_limits_are_said_in_the_engines_units_and_swap_is_no_way_around_them():
    config = policy.host_config(made(resources=Resources(memory=1 << 30, cpus=0.5, pids=8)), ())

    assert (config["mem_limit"], config["memswap_limit"]) == (1 << 30, 1 << 30)
    assert config["nano_cpus"] == 500_000_000
    assert config["pids_limit"] == 8


def test_a_policy_survives_its_label():
    whole = made(
        network=Network.ALL,
        resources=Resources(memory=5, cpus=1.5, pids=None, disk=7),
        idle_timeout_s=3.0,
        max_lifetime_s=4.0,
        options={"expose": [80]},
    )

    assert policy.from_json(whole.to_json()) == whole


def test_a_label_that_is_none_is_an_error():
    with pytest.raises(SessionFailedError, match="cannot be read"):
        policy.from_json('{"user": "x"}')


def test_a_mount_must_be_on_the_list():
    options = {"mounts": [{"source": "/srv/data", "target": "/data"}]}

    with pytest.raises(UnsupportedOptionError, match="'/srv/data' is not allowed") as caught:
        policy.host_config(made(options=options), ["/srv/database"])
    assert "PREWARM_DOCKER_MOUNTS" in caught.value.hint
    assert policy.host_config(made(options=options), ["/srv"])["mounts"] == [
        {"Type": "bind", "Source": "/srv/data", "Target": "/data", "ReadOnly": True}
    ]


def test_a_mount_cannot_climb_out_of_the_list():
    options = {"mounts": [{"source": "/srv/../etc", "target": "/data"}]}

    with pytest.raises(UnsupportedOptionError, match="'/etc'"):
        policy.host_config(made(options=options), ["/srv"])


def test_a_port_is_bound_to_loopback_with_a_number_of_the_engines_choosing():
    exposing = made(network=Network.ALL, options={"expose": [8000]})
    assert policy.host_config(exposing, ())["port_bindings"] == {8000: ("127.0.0.1", None)}


def test_a_port_is_not_exposed_without_a_network():
    with pytest.raises(UnsupportedOptionError, match="port 8000 cannot be exposed") as caught:
        policy.host_config(made(options={"expose": [8000]}), ())
    assert "network: all" in caught.value.hint


def test_a_mount_cannot_leave_the_list_through_a_link(tmp_path):
    root = tmp_path / "allowed"
    (root / "data").mkdir(parents=True)
    (root / "out").symlink_to("/etc")
    (root / "in").symlink_to("data")
    (tmp_path / "other").symlink_to(root)

    def source(path, allowed):
        options = {"mounts": [{"source": str(path), "target": "/data"}]}
        (mount,) = policy.host_config(made(options=options), [str(allowed)], os.path.realpath)["mounts"]
        return mount["Source"]

    with pytest.raises(UnsupportedOptionError, match="it leads to '/etc'"):
        source(root / "out", root)
    assert source(root / "in", root) == f"{root}/data"
    assert source(tmp_path / "other" / "data", tmp_path / "other") == f"{root}/data"


def test_only_what_differs_is_updated():
    limits = made(resources=Resources(memory=5, cpus=1, pids=7))

    assert policy.update(limits, {"Memory": 5, "NanoCpus": 1_000_000_000, "PidsLimit": 7}) == {}
    assert policy.update(limits, {"Memory": 4, "NanoCpus": 1_000_000_000, "PidsLimit": 9}) == {
        "Memory": 5,
        "MemorySwap": 5,
        "PidsLimit": 7,
    }


@pytest.mark.parametrize(
    ("template", "session", "complaint"),
    [
        ({"cache": True}, {}, "unknown option 'cache'"),
        ({}, {"privileged": True}, "unknown option 'privileged'"),
        ({"cache_mounts": "no"}, {}, "'cache_mounts'"),
        ({"entrypoint": "sh"}, {}, "'entrypoint'"),
        ({}, {"tmpfs": {"/scratch": "banana"}}, "such as 64m"),
        ({}, {"tmpfs": {"/scratch": "1m,exec"}}, "such as 64m"),
        ({}, {"expose": [0]}, "'expose'"),
        ({}, {"expose": 80}, "'expose'"),
        ({}, {"mounts": [{"source": "a", "target": "/b"}]}, "'mounts'"),
        ({}, {"tmpfs": ["/tmp"]}, "'tmpfs'"),
        ({}, {"runtime": 1}, "'runtime'"),
        ({}, {"read_only": "yes"}, "'read_only'"),
    ],
)
def test_an_option_that_is_wrong_is_named(template, session, complaint):
    assert any(complaint in problem for problem in policy.problems(template, session))


def test_options_that_are_right_have_no_problems():
    session = {
        "runtime": "runsc",
        "read_only": True,
        "tmpfs": {"/tmp": "64m", "/a": 4096, "/b": "5%", "/c": ""},
        "expose": [80],
        "mounts": [{"source": "/a", "target": "/b", "read_only": False}],
    }

    assert policy.problems({"cache_mounts": False, "entrypoint": [], "cmd": ["a"]}, session) == []
