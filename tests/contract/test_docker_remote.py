"""The docker backend over what lies between it and an engine elsewhere: TLS, ssh, contexts.

ci/services.sh up; eval "$(ci/services.sh env)"
"""

import dataclasses
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
from ports import await_port, free_port, refusing_port

from prewarm.backends.context import BackendContext
from prewarm.backends.docker import DockerBackend
from prewarm.backends.travel import Traveller
from prewarm.definition.model import ImageBase
from prewarm.errors import BackendUnavailableError
from prewarm.machine import host_platform
from prewarm.testing import Harness
from prewarm.testing.builders import hook, shell
from prewarm.testing.workplace import PATIENCE_S

SERVICES = Path(__file__).parents[2] / "ci" / "services.sh"
BUSYBOX = os.environ.get("PREWARM_TEST_BUSYBOX", "busybox:latest")
MEGABYTE = 1024 * 1024


class Core(Harness):
    """What the contract says of captures, commands and files, once through everything that carries bytes."""

    @classmethod
    def teardown_class(cls):
        super().teardown_class()
        if "_shared_at" in cls.__dict__:
            cls._shared_at.close()  # It was closed after its test, and has connected once more.

    @pytest.fixture
    def remote(self):
        raise NotImplementedError

    @pytest.fixture
    def backend(self, context, remote):
        made = DockerBackend(dataclasses.replace(context, environment={**context.environment, **remote}))
        if "_works" not in type(self).__dict__:
            health = made.check()
            assert health.ok, health.reason
            type(self)._works = True
        yield made
        made.close()

    @pytest.fixture
    def base(self, backend):
        return backend.resolve_base(
            ImageBase(reference=BUSYBOX), project=Path.cwd(), platform=host_platform(), sha256=str
        )

    def test_a_capture_with_a_hook_opens_and_runs(self, place):
        captured = place.capture(
            shell("echo built > /workspace/built"), hook(lambda sandbox: sandbox.run("echo hooked > hooked"))
        )
        session = place.open(captured)

        assert place.text(session, "cat built hooked").split() == ["built", "hooked"]
        assert place.run(session, "echo out; echo err >&2; exit 3").exit_code == 3

    def test_standard_input_ends_and_what_is_said_after_it_arrives(self, place, session):
        data = os.urandom(MEGABYTE) * 3

        result = place.run(session, "cat; sleep 0.3; echo the end", stdin=data)

        assert result.stdout_bytes == data + b"the end\n"

    def test_both_streams_arrive_whole_and_apart(self, place, session):
        result = place.run(session, "head -c 700000 /dev/zero; head -c 500000 /dev/zero >&2; exit 7")

        assert (len(result.stdout_bytes), len(result.stderr_bytes), result.exit_code) == (700_000, 500_000, 7)

    def test_a_kill_takes_the_whole_tree(self, place, session):
        running = place.start(session, "sleep 7332 & (env -i setsid sleep 7332 &) ; sleep 7332")
        place.await_line(session, "ps -o args | grep -cx 'sleep 7332'", "3")

        running.kill()
        code = running.wait(PATIENCE_S)
        running.close()

        assert code == 137
        assert place.run(session, "ps | grep '[s]leep 7332'").stdout == ""

    def test_files_go_there_and_come_back(self, session):
        data = os.urandom(2 * MEGABYTE)

        session.files.write("/workspace/deep/down", data)

        assert session.files.read("/workspace/deep/down") == data
        assert [entry.path for entry in session.files.list("/workspace/deep")] == ["/workspace/deep/down"]

    def test_a_template_goes_there_in_an_archive(self, place, tmp_path):
        captured = place.capture(shell("head -c 3000000 /dev/urandom > /workspace/many"))
        traveller = Traveller(namespace=place.namespace, key=captured.key, ref=captured.ref)
        place.backend.export_templates([traveller], tmp_path / "one.tar")
        place.backend.remove(captured.ref)

        assert place.backend.import_templates(tmp_path / "one.tar") == [captured.key]

        assert place.text(place.open(captured), "wc -c < /workspace/many").strip() == "3000000"

    def test_a_command_that_is_let_go_of_holds_no_thread(self, place, session):
        before = threading.active_count()
        running = place.start(session, "sleep 7333")
        running.close()
        place.backend.close()

        until = time.monotonic() + PATIENCE_S
        while threading.active_count() > before and time.monotonic() < until:
            time.sleep(0.1)
        assert threading.active_count() <= before


def issue(directory, name, *extensions):
    """Sign a certificate with the authority in the directory."""
    key, request, certificate = (str(directory / f"{name}{end}") for end in ("-key.pem", ".csr", ".pem"))
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request]
    subprocess.run(new, check=True, capture_output=True)
    more = directory / f"{name}.ext"
    more.write_text("\n".join(extensions))
    sign = ["openssl", "x509", "-req", "-in", request, "-CA", str(directory / "ca.pem"), "-CAkey"]
    sign += [str(directory / "ca-key.pem"), "-CAcreateserial", "-days", "2", "-extfile", str(more), "-out", certificate]
    subprocess.run(sign, check=True, capture_output=True)


@pytest.fixture(scope="module")
def tls(tmp_path_factory, absent):
    """An engine of its own that listens on loopback with TLS and asks for a client's certificate."""
    if os.getuid() != 0 or "DOCKER_HOST" not in os.environ or shutil.which("openssl") is None:
        absent("docker", "an engine with TLS needs root, openssl and ci/services.sh")
    directory = tmp_path_factory.mktemp("tls")
    authority = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=authority"]
    authority += ["-keyout", str(directory / "ca-key.pem"), "-out", str(directory / "ca.pem")]
    subprocess.run(authority, check=True, capture_output=True)
    issue(directory, "engine", "subjectAltName=IP:127.0.0.1", "extendedKeyUsage=serverAuth")
    issue(directory, "cert", "extendedKeyUsage=clientAuth")
    (directory / "cert-key.pem").rename(directory / "key.pem")
    port, run = free_port(), Path(f"/run/prewarm-tls-{os.getpid()}")
    flags = f"--host tcp://127.0.0.1:{port} --tlsverify --tlscacert {directory}/ca.pem"
    flags += f" --tlscert {directory}/engine.pem --tlskey {directory}/engine-key.pem"
    environment = {
        **os.environ,
        "PREWARM_TEST_RUN": str(run),
        "PREWARM_TEST_DATA": str(tmp_path_factory.mktemp("data")),
        "PREWARM_TEST_BRIDGE_NAME": "none",
        "PREWARM_TEST_REGISTRY_PORT": "0",
        "PREWARM_TEST_DOCKERD_FLAGS": flags,
    }
    subprocess.run([str(SERVICES), "up"], env=environment, check=True, timeout=120)
    await_port(port)
    where = f"host=tcp://127.0.0.1:{port}"
    files = f"ca={directory}/ca.pem,cert={directory}/cert.pem,key={directory}/key.pem"
    client = {name: value for name, value in os.environ.items() if name != "DOCKER_HOST"}
    client["DOCKER_CONFIG"] = str(run / "config")
    make = ["docker", "context", "create", "elsewhere", "--docker", f"{where},{files}"]
    subprocess.run(make, env=client, check=True, capture_output=True)
    yield directory, port, str(run / "config")
    subprocess.run([str(SERVICES), "down"], env=environment, check=True, timeout=120)


class TestOverTls(Core):
    """``DOCKER_HOST=tcp://`` with ``DOCKER_TLS_VERIFY``."""

    @pytest.fixture
    def remote(self, tls):
        directory, port, config = tls
        return {
            "DOCKER_HOST": f"tcp://127.0.0.1:{port}",
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": str(directory),
            "DOCKER_CONFIG": config,
        }


class TestThroughAContext(Core):
    """A context of Docker's command line, with certificates, named by ``DOCKER_CONTEXT``."""

    @pytest.fixture
    def remote(self, tls):
        _, _, config = tls
        return {"DOCKER_HOST": "", "DOCKER_CONTEXT": "elsewhere", "DOCKER_CONFIG": config}


def test_an_engine_of_another_authority_is_not_trusted(tls, tmp_path):
    directory, port, _ = tls
    authority = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other"]
    authority += ["-keyout", str(tmp_path / "ca-key.pem"), "-out", str(tmp_path / "ca.pem")]
    subprocess.run(authority, check=True, capture_output=True)
    for name in ("cert.pem", "key.pem"):
        shutil.copy(directory / name, tmp_path)

    finding = check(tmp_path, DOCKER_HOST=f"tcp://127.0.0.1:{port}", DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH=tmp_path)

    assert "do not trust each other" in finding.detail
    assert "DOCKER_CERT_PATH" in finding.hint


def check(home, **environment):
    backend = DockerBackend(
        BackendContext(home=home, environment={**os.environ, **{name: str(one) for name, one in environment.items()}})
    )
    health = backend.check()
    backend.close()
    return health.findings[0]


@pytest.fixture(scope="module")
def shell_server(tmp_path_factory, absent):
    """An sshd on a port of its own, keys of its own, in front of the engine that the environment names."""
    root = Path(os.environ.get("PREWARM_TEST_SSHD", "/nonexistent"))
    if os.getuid() != 0 or not (root / "usr/sbin/sshd").exists() or "DOCKER_HOST" not in os.environ:
        absent("docker", "ssh to an engine needs root, ci/services.sh and its sshd (PREWARM_TEST_SSHD)")
    directory = tmp_path_factory.mktemp("ssh")
    for name in ("host", "user"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)]
        subprocess.run(make, check=True)
    port = free_port()
    docker = shutil.which("docker")
    (directory / "keys").write_text((directory / "user.pub").read_text())
    (directory / "keys").chmod(0o600)
    (directory / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {directory}/host\nAuthorizedKeysFile {directory}/keys\n"
        f"PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nMaxStartups 100\n"
        f"SetEnv DOCKER_HOST={os.environ['DOCKER_HOST']} PATH={Path(docker).parent}:/usr/bin:/bin\n"
    )
    (directory / "known").write_text(f"[127.0.0.1]:{port} {(directory / 'host.pub').read_text()}")
    (directory / "ssh_config").write_text(
        f"Host *\n IdentityFile {directory}/user\n IdentitiesOnly yes\n UserKnownHostsFile {directory}/known\n"
    )
    programs = directory / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {directory}/ssh_config "$@"\n')
    (programs / "ssh").chmod(0o755)
    # The account that sshd gives up its rights to exists in its view of the machine only.
    (directory / "passwd").write_text(Path("/etc/passwd").read_text() + "\nsshd:x:65533:65534::/run/sshd:/bin/false\n")
    start = f"mount --bind {directory}/passwd /etc/passwd && mkdir -p /run/sshd && exec {root}/usr/sbin/sshd -D -e -f"
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            ["unshare", "--mount", "/bin/sh", "-c", f"{start} {directory}/sshd_config"],
            env={**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, root.glob("usr/lib/*-linux-gnu")))},
            stdout=log,
            stderr=log,
        )
    await_port(port, server)
    yield f"ssh://root@127.0.0.1:{port}", f"{programs}:{os.environ['PATH']}"
    server.terminate()
    server.wait(PATIENCE_S)


class TestOverSsh(Core):
    """``DOCKER_HOST=ssh://``."""

    @pytest.fixture
    def remote(self, shell_server):
        address, path = shell_server
        return {"DOCKER_HOST": address, "PATH": path}


def test_an_ssh_server_that_does_not_let_us_in_is_told_in_its_own_words(shell_server, tmp_path):
    address, path = shell_server

    finding = check(tmp_path, DOCKER_HOST=address.replace("root@", "nobody@"), PATH=path)

    assert "Permission denied" in finding.detail
    assert "ssh" in finding.hint


def test_a_host_without_ssh_is_told_in_the_words_of_ssh(shell_server, tmp_path):
    _, path = shell_server

    with refusing_port() as port:
        finding = check(tmp_path, DOCKER_HOST=f"ssh://root@127.0.0.1:{port}", PATH=path)

    assert "Connection refused" in finding.detail


def test_no_ssh_program_is_told(tmp_path):
    with pytest.raises(BackendUnavailableError):
        assert DockerBackend(
            BackendContext(home=tmp_path, environment={"DOCKER_HOST": "ssh://x", "PATH": str(tmp_path)})
        ).engine.api
