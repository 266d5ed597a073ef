"""An engine that is not there, too old, or does not let this user in: each its own error, with the way out."""

import json
import os
import socket
import threading

import pytest

from prewarm.backends.context import BackendContext
from prewarm.backends.docker import DockerBackend
from prewarm.backends.docker.engine import Engine, version_numbers
from prewarm.errors import BackendUnavailableError


def failing(environment):
    with pytest.raises(BackendUnavailableError) as caught:
        assert Engine(environment).api
    return caught.value


@pytest.fixture
def old_engine(tmp_path):
    """A socket that answers every request as an engine of long ago would."""
    path = tmp_path / "old.sock"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    body = json.dumps({"Version": "1.13.1", "ApiVersion": "1.26"}).encode()
    answer = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        % len(body)
    )

    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                if connection.recv(65536):
                    connection.sendall(answer + body)

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"unix://{path}"
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


def test_no_engine_says_how_to_get_one(tmp_path):
    error = failing({"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})

    assert "no Docker engine answers" in error.message
    assert "start Docker" in error.hint


def test_nobody_listening_says_how_to_get_an_engine():
    error = failing({"DOCKER_HOST": "tcp://127.0.0.1:1"})

    assert "no Docker engine answers" in error.message


def test_an_engine_that_is_too_old_is_told(old_engine):
    error = failing({"DOCKER_HOST": old_engine})

    assert "too old" in error.message
    assert "20.10" in error.hint


def test_an_address_that_is_none_is_told():
    error = failing({"DOCKER_HOST": "nonsense://x"})

    assert "DOCKER_HOST" in error.hint


def test_no_permission_says_how_to_get_it(tmp_path):
    path = tmp_path / "shut.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        path.chmod(0)
        told = _as_nobody(lambda: failing({"DOCKER_HOST": f"unix://{path}"}), path)

    assert "no permission" in told["message"]
    assert "group 'docker'" in told["hint"]


def _as_nobody(work, path):
    """Run something without root's rights, in a child process if need be; give the error's parts."""
    if os.getuid() != 0:
        error = work()
        return {"message": error.message, "hint": error.hint}
    for parent in path.parents:
        if parent.stat().st_uid == 0 and parent != parent.parent:
            parent.chmod(parent.stat().st_mode | 0o011)
    import docker.api.client
    import docker.tls  # noqa: F401

    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            error = work()
            os.write(write, json.dumps({"message": error.message, "hint": error.hint}).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return json.loads(text)


def test_a_check_never_raises(tmp_path):
    backend = DockerBackend(BackendContext(home=tmp_path, environment={"DOCKER_HOST": f"unix://{tmp_path}/none.sock"}))

    health = backend.check()

    assert not health.ok
    assert "docker engine" in health.reason
    assert health.findings[0].hint


def test_versions_are_compared_as_numbers():
    assert version_numbers("1.9") < version_numbers("1.41")
