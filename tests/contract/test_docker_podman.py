"""The docker backend on Podman's Docker API, as far as it goes: sessions of a template that Docker captured, and checks.

A Podman service of the test's own, with its storage in a directory of the test's. Needs root, podman, runc, and an
engine that captures (ci/services.sh).
"""

import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from bridge import Bridge, registered
from engines import containerd_engine

from prewarm.backends.capturing import Presence
from prewarm.backends.context import BackendContext
from prewarm.backends.docker import DockerBackend
from prewarm.definition.model import ImageBase
from prewarm.errors import SessionGoneError
from prewarm.machine import host_platform
from prewarm.testing import Harness
from prewarm.testing.builders import capture_request, seed_file, shell
from prewarm.testing.fakes import RecordingObserver
from prewarm.testing.workplace import PATIENCE_S, Captured

BUSYBOX = os.environ.get("PREWARM_TEST_BUSYBOX", "busybox:latest")


def await_socket(address, server):
    """Wait until somebody listens."""
    until = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as knock:
            knock.connect(str(address))
            return
        assert server.poll() is None, "the service has ended"
        assert time.monotonic() < until, "the service does not answer"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def podman(tmp_path_factory, absent):
    """The address of a Podman service."""
    if os.getuid() != 0 or shutil.which("podman") is None or shutil.which("runc", path="/usr/sbin:/usr/bin") is None:
        absent("podman", "its service needs root, podman and runc")
    if "DOCKER_HOST" not in os.environ:
        absent("podman", "DOCKER_HOST is not set, and templates are captured there; see ci/services.sh")
    root = tmp_path_factory.mktemp("podman")
    argv = ["podman", "--root", str(root / "root"), "--runroot", str(root / "run"), "--tmpdir", str(root / "tmp")]
    argv += ["--cgroup-manager", "cgroupfs", "--runtime", "runc", "--storage-driver", "vfs", "--events-backend", "file"]
    address = root / "podman.sock"
    # Its own default may be more than this machine lets anybody have.
    (root / "containers.conf").write_text('[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n')
    (root / "left").mkdir()  # It leaves the archive of every load.
    environment = {**os.environ, "CONTAINERS_CONF": str(root / "containers.conf"), "TMPDIR": str(root / "left")}
    with (root / "log").open("wb") as log:
        service = subprocess.Popen(
            [*argv, "system", "service", "--time", "0", f"unix://{address}"], env=environment, stdout=log, stderr=log
        )
    await_socket(address, service)
    yield f"unix://{address}"
    subprocess.run([*argv, "rm", "--all", "--force", "--time", "0"], check=False, capture_output=True)
    service.terminate()
    service.wait(PATIENCE_S)
    # What watched a command stays for five minutes after it.
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(root).encode() in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)


class TestSessionsOnPodman(Harness):
    """What a session must do, on Podman."""

    @classmethod
    def teardown_class(cls):
        super().teardown_class()
        if "_shared_at" in cls.__dict__:
            cls._shared_at.close()  # It was closed after its test, and has connected once more.

    @pytest.fixture
    def backend(self, context, podman):
        made = DockerBackend(dataclasses.replace(context, environment={**context.environment, "DOCKER_HOST": podman}))
        yield made
        made.close()

    @pytest.fixture
    def base(self):
        return None

    @pytest.fixture
    def template(self, context, backend):
        """A template that Docker captured, loaded into Podman."""
        cls = type(self)
        if "_shared" in cls.__dict__:
            return cls._shared
        capturing = DockerBackend(context)
        base = capturing.resolve_base(
            ImageBase(reference=BUSYBOX), project=Path.cwd(), platform=host_platform(), sha256=str
        )
        request = capture_request(
            base,
            shell("echo written by bootstrap > /workspace/written"),
            seeds=(seed_file("/workspace/seeded", b"a seed\n"),),
            namespace=self.namespace(),
        )
        with capturing.capture(request, RecordingObserver()) as staged:
            staged.publish()
            ref = staged.ref
        image = b"".join(capturing.engine.api.get_image(str(ref.value["tag"])))
        list(backend.engine.api.load_image(image))
        capturing.remove(ref)
        capturing.close()
        found = backend.find(request.namespace, request.key)
        assert found is not None
        cls._shared, cls._shared_at = Captured(request=request, ref=found, observer=RecordingObserver()), backend
        return cls._shared

    def test_a_loaded_template_is_present_by_its_key(self, backend, template):
        (answer,) = backend.probe([(template.key, template.ref)])

        assert answer.presence is Presence.PRESENT
        assert [record.key for record in backend.templates(self.namespace())] == [template.key]

    def test_commands_run_with_both_streams_and_their_exit_code(self, place, session):
        result = place.run(session, "cat seeded; echo err >&2; exit 3")

        assert (result.stdout, result.stderr, result.exit_code) == ("a seed\n", "err\n", 3)
        assert place.text(session, "id -un") == "sandbox"
        assert place.run(session, "ip route | grep -q default").exit_code != 0

    def test_a_kill_takes_what_a_command_started(self, place, session):
        running = place.start(session, "sleep 7334 & setsid sleep 7334 & sleep 7334")
        place.await_line(session, "ps -o args | grep -cx 'sleep 7334'", "3")

        running.kill()

        assert running.wait(PATIENCE_S) == 137
        running.close()
        assert place.run(session, "ps | grep '[s]leep 7334'").stdout == ""

    def test_files_go_there_and_come_back(self, session):
        session.files.write("/workspace/deep/down", b"\0\xff")

        assert session.files.read("/workspace/deep/down") == b"\0\xff"
        assert [entry.path for entry in session.files.list("/workspace/deep")] == ["/workspace/deep/down"]

    def test_a_session_is_listed_attached_to_and_removed(self, place, session):
        session.files.write("/workspace/kept", b"1")

        again = place.backend.attach(session.state())
        listed = place.backend.sessions(place.namespace)
        session.remove()

        assert again.id == session.id
        assert len(listed) == 1
        with pytest.raises(SessionGoneError):
            place.backend.attach(session.state())

    def test_standard_input_reaches_a_command(self, place, session):
        assert place.run(session, "head -n 1", stdin=b"a line\n").stdout == "a line\n"

    def test_captures_are_said_to_need_a_builder(self, backend):
        finding = next(one for one in backend.check().findings if one.subject == "buildkit")

        assert not finding.ok
        assert "BUILDX_BUILDER" in finding.hint


@pytest.fixture
def builder(tmp_path, absent):
    """The settings of a builder that is in no engine of the test: another's BuildKit, over the network."""
    if "DOCKER_CONFIG" not in os.environ:
        absent("docker", "DOCKER_CONFIG is not set; see ci/services.sh")
    with containerd_engine(tmp_path) as lender, Bridge(lender["DOCKER_HOST"].removeprefix("unix://")) as bridge:
        yield registered(bridge, tmp_path / "config")


def test_a_builder_elsewhere_captures_for_podman(podman, builder, tmp_path):
    settings = {**os.environ, **builder, "DOCKER_HOST": podman}
    container = docker("create", BUSYBOX, "none").stdout.decode().strip()
    exported = docker("export", container).stdout
    docker("rm", container)
    docker("import", "-", "builder-base:1", settings=settings, content=exported)
    backend = DockerBackend(BackendContext(home=tmp_path / "home", environment=settings))
    base = backend.resolve_base(
        ImageBase(reference="builder-base:1"), project=tmp_path, platform=host_platform(), sha256=str
    )
    request = capture_request(base, shell("echo one > /one"), shell("cat /one > /two"), env={"PATH": "/bin"})

    assert backend.check().ok
    with backend.capture(request, RecordingObserver()) as staged:
        staged.publish()
    (found,) = backend.probe([(request.key, staged.ref)])
    backend.remove(staged.ref)
    backend.close()

    assert found.presence is Presence.PRESENT


def docker(*arguments, settings=None, content=b""):
    """Run Docker's own command line."""
    environment = {**os.environ, **(settings or {})}
    return subprocess.run(["docker", *arguments], env=environment, input=content, check=True, capture_output=True)
