"""The content digest of an image: one for what stores and engines write differently, another for anything that counts."""

import copy

import pytest

from prewarm.backends.docker import content

LAYERS = ["sha256:" + "1" * 64, "sha256:" + "2" * 64]
CONFIG = {
    "User": "sandbox",
    "Env": ["PATH=/bin", "A=1"],
    "Cmd": ["/bin/sh"],
    "WorkingDir": "/workspace",
    "Labels": {"dev.prewarm.key": "ab" * 32},
}
INSPECTED = {"Id": "sha256:x", "Os": "linux", "Architecture": "amd64", "Config": CONFIG, "RootFS": {"Layers": LAYERS}}
STORED = {"os": "linux", "architecture": "amd64", "config": CONFIG, "rootfs": {"type": "layers", "diff_ids": LAYERS}}
GOLDEN = "sha256:c28df8a4d0ecb0472f133d5bc7597081d8cd108aa1fdd0adb1a9a7b511ff5644"


def changed(**config):
    return {**copy.deepcopy(INSPECTED), "Config": {**CONFIG, **config}}


def test_the_digest_of_a_configuration_stays_what_it_is():
    assert content.of_config(STORED) == GOLDEN


def test_an_inspected_image_has_the_digest_of_its_configuration():
    assert content.of_inspected(INSPECTED) == content.of_config(STORED)


@pytest.mark.parametrize(
    "noise",
    [
        {"Entrypoint": None, "Volumes": None, "OnBuild": [], "ExposedPorts": {}, "Healthcheck": {}, "StopSignal": ""},
        {"Hostname": "", "Tty": False, "AttachStdin": False, "Image": "sha256:y", "ArgsEscaped": True},
        {"Healthcheck": {"Interval": 0, "Test": None}},
    ],
)
def test_what_engines_write_as_nothing_in_several_ways_is_one(noise):
    assert content.of_inspected(changed(**noise)) == GOLDEN


def test_ids_sizes_names_and_times_do_not_count():
    found = {**INSPECTED, "Id": "sha256:z", "Size": 7, "RepoTags": ["x:1"], "Created": "2026-01-01T00:00:00Z"}
    assert content.of_inspected(found) == GOLDEN


@pytest.mark.parametrize(
    "config",
    [
        {"Env": ["A=1", "PATH=/bin"]},
        {"Env": ["PATH=/bin", "A=1", "LD_PRELOAD=/x.so"]},
        {"Cmd": ["/bin/sh", ""]},
        {"Entrypoint": ["/x"]},
        {"User": "root"},
        {"WorkingDir": "/"},
        {"Labels": {"dev.prewarm.key": "cd" * 32}},
        {"Labels": None},
        {"Volumes": {"/data": {}}},
        {"ExposedPorts": {"80/tcp": {}}},
        {"Healthcheck": {"Test": ["CMD", "/x"]}},
        {"OnBuild": ["RUN x"]},
        {"Shell": ["/x"]},
        {"StopSignal": "SIGINT"},
    ],
)
def test_what_a_session_can_see_counts(config):
    assert content.of_inspected(changed(**config)) != GOLDEN


@pytest.mark.parametrize(
    "part",
    [
        {"RootFS": {"Layers": LAYERS[:1]}},
        {"RootFS": {"Layers": LAYERS[::-1]}},
        {"RootFS": None},
        {"Architecture": "arm64"},
        {"Variant": "v8"},
        {"Os": "windows"},
    ],
)
def test_layers_and_platform_count(part):
    assert content.of_inspected({**INSPECTED, **part}) != GOLDEN


@pytest.mark.parametrize("value", [None, [], 7, "x", {"config": []}, {"rootfs": 7}, {"config": {"Labels": ["x"]}}])
def test_what_is_no_configuration_is_refused(value):
    with pytest.raises(TypeError, match="no object"):
        content.of_config(value)
