"""What prewarm adds to Docker: captures beside ``docker buildx build``, no-op builds beside ``bake``, opens beside the API.

eval "$(ci/services.sh env)" && python tests/bench/bench_docker.py
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from measure import medians, seconds, show

from prewarm import process
from prewarm.backends.commands import run_command
from prewarm.backends.context import BackendContext
from prewarm.backends.docker import DockerBackend
from prewarm.backends.docker import capture as capturing
from prewarm.backends.hosting import OpenRequest, ProcessRequest
from prewarm.definition.model import ImageBase, SessionOptions
from prewarm.machine import host_platform
from prewarm.testing.builders import capture_request, key_of, shell
from prewarm.testing.fakes import RecordingObserver

BASE = os.environ.get("PREWARM_TEST_BUSYBOX", "busybox:latest")
ROUNDS = 7
MANY = 50


def main() -> None:
    """Run all of it."""
    with tempfile.TemporaryDirectory(prefix="prewarm-bench-") as directory:
        backend = DockerBackend(BackendContext(home=Path(directory) / "home", environment=process.environment()))
        base = backend.resolve_base(
            ImageBase(reference=BASE), project=Path(directory), platform=host_platform(), sha256=lambda _: ""
        )
        fresh_capture(backend, base, Path(directory))
        last_of_ten(backend, base)
        nothing_to_do(Path(directory))
        sessions(backend, base)
        backend.close()


def fresh_capture(backend: DockerBackend, base: object, directory: Path) -> None:
    """Time a capture, and ``docker buildx build`` of the very context that the capture rendered."""
    kept = directory / "context"
    plain = capturing.build

    def keeping(what, **rest):
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(what.context, kept)
        return plain(what, **rest)

    taken: list[float] = []
    peers: list[float] = []
    for _ in range(ROUNDS):
        mark = uuid.uuid4().hex
        steps = [shell(f"echo {mark} {number} > /workspace/{number}; sleep 0.2") for number in range(5)]
        request = capture_request(base, *steps, env={}, key=key_of(mark), namespace="bench")
        with backend.capture(request, RecordingObserver()) as staged:
            pass
        # Again under another mark, this time by buildx alone.
        capturing.build = keeping
        with backend.capture(request, RecordingObserver()):
            pass
        capturing.build = plain
        text = (kept / "Dockerfile").read_text().replace(mark, uuid.uuid4().hex)
        lines = text.splitlines()
        lines[0] = f"FROM {BASE} AS template"
        (kept / "Dockerfile").write_text("\n".join(lines) + "\n")
        argv = ["docker", "buildx", "build", "--load", "--tag", "bench-peer", str(kept)]
        peers.append(seconds(lambda argv=argv: subprocess.run(argv, check=True, capture_output=True)))
        mark = uuid.uuid4().hex
        steps = [shell(f"echo {mark} {number} > /workspace/{number}; sleep 0.2") for number in range(5)]
        request = capture_request(base, *steps, env={}, key=key_of(mark), namespace="bench")
        began = time.perf_counter()
        with backend.capture(request, RecordingObserver()):
            taken.append(time.perf_counter() - began)
    subprocess.run(["docker", "rmi", "--force", "bench-peer"], check=True, capture_output=True)
    del staged
    show(
        "fresh capture of five steps of 0.2 s",
        statistics.median(taken),
        floor=statistics.median(peers),
        named="docker buildx build",
        limit=1.15,
    )


def last_of_ten(backend: DockerBackend, base: object) -> None:
    """Count the steps that run when the last of ten has changed."""
    mark = uuid.uuid4().hex
    steps = [shell(f"echo {mark} {number} > /workspace/{number}") for number in range(9)]
    for last in ("one", "two"):
        observer = RecordingObserver()
        with backend.capture(capture_request(base, *steps, shell(f"echo {last}"), env={}, namespace="bench"), observer):
            pass
    cached = sum("build cache" in line for line in observer.lines)
    print(f"{'steps that run when the last of ten has changed':<52} {10 - cached:9d}      (limit 1)", flush=True)


def nothing_to_do(directory: Path) -> None:
    """Time a build with nothing to do, beside ``docker buildx bake`` of as many targets, all cached."""
    root = directory / "many"
    root.mkdir()
    names = [f"s{number}" for number in range(MANY)]
    text = "version: 1\nnamespace: bench-docker\nsandboxes:\n" + "".join(
        f"  {name}: {{base: '{BASE}', backend: docker, bootstrap: [{{run: 'echo {name} > /workspace/x'}}]}}\n"
        for name in names
    )
    (root / "prewarm.yaml").write_text(text)
    for name in names:
        (root / f"{name}.Dockerfile").write_text(
            f"FROM {BASE}\nRUN mkdir -p /workspace && echo {name} > /workspace/x\n"
        )
    targets = {name: {"context": ".", "dockerfile": f"{name}.Dockerfile", "tags": [f"bench-{name}"]} for name in names}
    bake = {"group": {"default": {"targets": names}}, "target": targets}
    (root / "bake.json").write_text(json.dumps(bake))
    command = str(Path(sys.executable).with_name("prewarm"))
    environment = {**os.environ, "PREWARM_HOME": str(directory / "home")}

    def build() -> None:
        subprocess.run([command, "build"], cwd=root, env=environment, check=True, capture_output=True)

    def baked() -> None:
        argv = ["docker", "buildx", "bake", "--load", "-f", "bake.json"]
        subprocess.run(argv, cwd=root, check=True, capture_output=True)

    build()
    baked()
    ours, theirs = medians(build, baked, rounds=5)
    show(f"nothing to do, {MANY} definitions", ours, floor=theirs, named="docker buildx bake", limit=0.2)
    for repository in ("prewarm/bench-docker", *(f"bench-{name}" for name in names)):
        found = subprocess.run(["docker", "images", "-q", repository], check=True, capture_output=True, text=True)
        if images := sorted(set(found.stdout.split())):
            subprocess.run(["docker", "rmi", "--force", *images], check=False, capture_output=True)


def sessions(backend: DockerBackend, base: object) -> None:
    """Time opening a session, and its first command, beside the bare API and ``docker run``."""
    request = capture_request(base, shell("true"), env={}, namespace="bench")
    with backend.capture(request, RecordingObserver()) as staged:
        staged.publish()
    image = staged.ref.value["image"]
    api = backend.engine.api
    left: list[str] = []

    def opened():
        session = backend.open(
            OpenRequest(
                namespace="bench",
                name="subject",
                key=request.key,
                ref=staged.ref,
                session_key=uuid.uuid4().hex,
                user="sandbox",
                workdir="/workspace",
                env={},
                options=SessionOptions(),
            )
        )
        left.append(session.id)
        return session

    def bare() -> str:
        config = api.create_host_config(
            init=True, cap_drop=["ALL"], security_opt=["no-new-privileges"], network_mode="none", pids_limit=256
        )
        made = api.create_container(image, ["sleep", "1000"], host_config=config)["Id"]
        left.append(made)
        api.start(made)
        return made

    def first_command() -> None:
        request = ProcessRequest(argv=("/bin/echo", "hello"), cwd="/workspace", env={}, user="sandbox")
        assert run_command(opened(), request, max_output=100).stdout == "hello\n"

    def bare_command() -> None:
        made = api.exec_create(bare(), ["/bin/echo", "hello"], user="sandbox", workdir="/workspace")["Id"]
        assert api.exec_start(made) == b"hello\n"
        assert api.exec_inspect(made)["ExitCode"] == 0

    def docker_run() -> None:
        argv = ["docker", "run", "--rm", "--init", "--network", "none", image, "/bin/echo", "hello"]
        subprocess.run(argv, check=True, capture_output=True)

    open_s, bare_s, first_s, bare_first_s, run_s = medians(
        opened, bare, first_command, bare_command, docker_run, rounds=15
    )
    show("open", open_s, floor=bare_s, named="API create + start", limit=1.15)
    show("open + first command", first_s, floor=bare_first_s, named="API create + start + exec", limit=1.2)
    show("docker run", run_s)
    for container in left:
        api.remove_container(container, force=True)
    backend.remove(staged.ref)


main()
