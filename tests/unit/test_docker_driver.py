"""Which driver the builder in use has, by buildx's own files."""

import json

import pytest

from prewarm.backends.docker.driver import Builder
from prewarm.errors import BackendUnavailableError


@pytest.fixture
def config(tmp_path):
    for name in ("instances", "defaults"):
        (tmp_path / "buildx" / name).mkdir(parents=True)
    return tmp_path


def record(config, name, driver):
    (config / "buildx" / "instances" / name).write_text(json.dumps({"Name": name, "Driver": driver}))


def driver(config, **more):
    return Builder({"DOCKER_CONFIG": str(config), **more}).driver


def test_where_buildx_was_never_told_of_another_it_is_the_engines_own(tmp_path, config):
    assert driver(tmp_path / "nowhere") == "docker"
    assert driver(config) == "docker"
    assert Builder({"DOCKER_CONFIG": str(config)}).is_engines_own
    assert driver(config, BUILDX_BUILDER="default") == "docker"


@pytest.mark.parametrize("name", ["remote", "kubernetes", "docker-container"])
def test_a_builder_by_name_has_the_driver_that_is_recorded(config, name):
    record(config, "far", name)
    assert driver(config, BUILDX_BUILDER="far") == name
    assert driver(config) == "docker"  # It exists, and nobody has chosen it.


def test_a_builder_has_a_name(config):
    assert Builder({"DOCKER_CONFIG": str(config)}).name == "default"
    record(config, "far", "docker-container")
    assert Builder({"DOCKER_CONFIG": str(config), "BUILDX_BUILDER": "far"}).name == "far"


def test_buildx_may_keep_its_files_elsewhere(config, tmp_path):
    record(config, "far", "remote")
    (tmp_path / "other").mkdir()
    assert driver(tmp_path / "other", BUILDX_CONFIG=str(config / "buildx"), BUILDX_BUILDER="far") == "remote"


def test_a_chosen_builder_that_is_the_engines_own_asks_nobody(config):
    record(config, "mine", "docker")
    (config / "buildx" / "current").write_text(json.dumps({"Key": "unix:///x", "Name": "mine"}))
    (config / "buildx" / "defaults" / "0").write_text("default")
    assert driver(config) == "docker"


@pytest.mark.parametrize("text", ["", "[]", "{}", "\udcff"])
def test_a_record_that_cannot_be_read_is_an_error(config, text):
    (config / "buildx" / "instances" / "far").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BackendUnavailableError, match=r"buildx's record .* cannot be read") as caught:
        driver(config, BUILDX_BUILDER="far")
    assert "docker buildx ls" in caught.value.hint


def test_what_was_chosen_and_cannot_be_read_is_an_error(config):
    (config / "buildx" / "current").write_text("[")
    with pytest.raises(BackendUnavailableError, match=r"what buildx keeps in .* cannot be read"):
        driver(config)
