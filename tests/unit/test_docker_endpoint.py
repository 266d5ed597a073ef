"""Where the engine is: DOCKER_HOST, then the context by name, then the context in Docker's config."""

import hashlib
import json

import pytest

from prewarm.backends.docker.endpoint import find
from prewarm.errors import BackendUnavailableError


def context(directory, name, url):
    meta = directory / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": url}}}))


def test_docker_host_wins(tmp_path):
    context(tmp_path, "lab", "tcp://lab:2375")
    environment = {"DOCKER_HOST": "unix:///x", "DOCKER_CONTEXT": "lab", "DOCKER_CONFIG": str(tmp_path)}

    assert find(environment).url == "unix:///x"


def test_a_context_is_found_by_name(tmp_path):
    context(tmp_path, "lab", "ssh://lab")

    assert find({"DOCKER_CONTEXT": "lab", "DOCKER_CONFIG": str(tmp_path)}).url == "ssh://lab"


def test_the_chosen_context_counts(tmp_path):
    context(tmp_path, "lab", "tcp://lab:2375")
    (tmp_path / "config.json").write_text('{"currentContext": "lab"}')

    assert find({"DOCKER_CONFIG": str(tmp_path)}).url == "tcp://lab:2375"


def test_without_anything_it_is_the_usual_socket(tmp_path):
    assert find({"HOME": str(tmp_path)}).url == "unix:///var/run/docker.sock"


def test_certificates_of_the_environment_are_used(tmp_path):
    environment = {"DOCKER_HOST": "tcp://a:2376", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}

    place = find(environment)

    assert place.tls
    assert place.ca_cert == str(tmp_path / "ca.pem")
    assert place.client_cert is None


def test_a_context_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(BackendUnavailableError, match="context 'lab'") as caught:
        find({"DOCKER_CONTEXT": "lab", "DOCKER_CONFIG": str(tmp_path)})
    assert "docker context ls" in caught.value.hint


def test_a_broken_configuration_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")

    with pytest.raises(BackendUnavailableError, match=r"config\.json"):
        find({"DOCKER_CONFIG": str(tmp_path)})
