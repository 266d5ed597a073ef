"""An engine that is killed, full, emptied, or not to be had: each its own error, and the next build is right."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from prewarm.backends.capturing import Presence
from prewarm.backends.context import BackendContext
from prewarm.backends.docker import DockerBackend
from prewarm.definition.model import ImageBase
from prewarm.errors import BackendUnavailableError, CaptureFailedError, StepFailedError
from prewarm.machine import host_platform
from prewarm.testing.builders import capture_request, seed_file, shell
from prewarm.testing.fakes import RecordingObserver

SERVICES = Path(__file__).parents[2] / "ci" / "services.sh"
BUSYBOX = "prewarm-test/busybox:2"


def answers(address):
    """Say whether anybody listens at a socket."""
    with socket.socket(socket.AF_UNIX) as knock:
        return knock.connect_ex(address) == 0


def await_(holds):
    """Wait until something is so."""
    until = time.monotonic() + 100.0
    while not holds():
        assert time.monotonic() < until, "it does not come to be"
        time.sleep(0.05)


class OwnEngine:
    """An engine of a test's own, which may be killed; its store is a small file system in memory."""

    def __init__(self, directory, megabytes=160):
        self.store = directory / "store"
        self.store.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(self.store)], check=True)
        # Sockets have short names.
        self.run = Path(f"/run/prewarm-fault-{os.getpid()}")
        self.environment = {
            **os.environ,
            "PREWARM_TEST_RUN": str(self.run),
            "PREWARM_TEST_DATA": str(self.store),
            "PREWARM_TEST_BRIDGE_NAME": "none",
            "PREWARM_TEST_REGISTRY_PORT": "0",
        }
        self.services("up")
        self.client = {
            **os.environ,
            "DOCKER_HOST": f"unix://{self.run}/docker.sock",
            "DOCKER_CONFIG": str(self.run / "config"),
        }
        self.backend = DockerBackend(BackendContext(home=directory / "home", environment=self.client))

    def services(self, command):
        subprocess.run([str(SERVICES), command], env=self.environment, check=True, timeout=120)

    def kill(self):
        os.kill(int((self.run / "docker.pid").read_text()), signal.SIGKILL)
        self.backend.close()
        door = f"{self.run}/docker.sock"
        await_(lambda: not answers(door))

    def base(self):
        return self.backend.resolve_base(
            ImageBase(reference=BUSYBOX),
            project=Path("/"),
            platform=host_platform(),
            sha256=lambda path: pytest.fail(str(path)),
        )

    def end(self):
        self.backend.close()
        with contextlib.suppress(subprocess.CalledProcessError):
            self.services("down")
        subprocess.run(["umount", "-l", str(self.store)], check=False)


@pytest.fixture
def engine(tmp_path, absent):
    if os.getuid() != 0:
        absent("docker", "an engine of its own needs root")
    if "DOCKER_HOST" not in os.environ:
        absent("docker", "DOCKER_HOST is not set; see ci/services.sh")
    own = OwnEngine(tmp_path)
    yield own
    own.end()


def test_an_engine_killed_during_a_capture_fails_it_and_the_next_build_is_right(engine):
    request = capture_request(engine.base(), shell("echo begun; sleep 600", timeout_s=900), env={})
    observer = RecordingObserver()

    def kill_when_begun():
        with contextlib.suppress(AssertionError):  # What is wrong then is told by the capture.
            await_(lambda: "begun" in observer.lines)
        engine.kill()

    killer = threading.Thread(target=kill_when_begun)
    killer.start()
    with pytest.raises((CaptureFailedError, BackendUnavailableError)), engine.backend.capture(request, observer):
        pass
    killer.join()
    with pytest.raises(BackendUnavailableError) as caught:
        engine.backend.find("contract", request.key)
    assert "start Docker" in caught.value.hint

    engine.services("start-engine")
    assert engine.backend.find("contract", request.key) is None
    quick = capture_request(engine.base(), shell("echo done > /workspace/done"), key=request.key, env={})
    with engine.backend.capture(quick, RecordingObserver()) as staged:
        staged.publish()
    assert engine.backend.probe([(request.key, staged.ref)])[0].presence is Presence.PRESENT
    for litter in engine.backend.litter():
        litter.remove()
    assert engine.backend.litter() == []


def test_a_step_that_fills_the_disk_fails_with_its_own_words(engine):
    request = capture_request(engine.base(), shell("dd if=/dev/zero of=/workspace/big bs=1M count=400"), env={})

    with pytest.raises(StepFailedError) as caught, engine.backend.capture(request, RecordingObserver()):
        pass

    assert any("No space left on device" in line for line in caught.value.tail)
    assert "free space" in caught.value.hint


def test_a_seed_that_the_engine_has_no_room_for_is_told_apart_from_a_failing_step(engine, tmp_path):
    big = tmp_path / "big"
    with big.open("wb") as file:
        for _ in range(200):
            file.write(os.urandom(1 << 20))
    request = capture_request(engine.base(), shell("true"), seeds=(seed_file("/workspace/big", big),), env={})

    with (
        pytest.raises(BackendUnavailableError, match="disk is full") as caught,
        engine.backend.capture(request, RecordingObserver()),
    ):
        pass

    assert "free space" in caught.value.hint


def test_an_image_store_that_is_gone_is_missing_and_not_an_excuse(engine):
    request = capture_request(engine.base(), shell("true"), env={})
    with engine.backend.capture(request, RecordingObserver()) as staged:
        staged.publish()
    engine.kill()
    subprocess.run(["rm", "-rf", str(engine.store / "image"), str(engine.store / "overlay2")], check=False)

    engine.services("up")

    assert engine.backend.probe([(request.key, staged.ref)])[0].presence is Presence.MISSING
