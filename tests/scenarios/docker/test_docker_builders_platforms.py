"""Other platforms than this machine's: one definition, one lock file, an image for each; and never the wrong one."""

import contextlib
import hashlib
import json
import os
import subprocess
import urllib.request
import uuid
from pathlib import Path

import foreign
import pytest
from bridge import Bridge, registered
from rootfs import busybox_archive

import prewarm
from prewarm import lockfile
from prewarm.errors import OtherPlatformError

NATIVE = "linux/amd64"
EMULATOR = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
PROJECT = """\
version: 1
namespace: OWN
sandboxes:
  one:
    base: BASE
    backend: docker
    env: {PATH: /bin}
    seed: [{path: /workspace/motd.txt, content: "seeded\\n"}]
    bootstrap: [STEPS]
    build: {network: none}
"""
KIND = "application/vnd.docker.distribution.manifest"


@pytest.fixture
def story(docker_story):
    return docker_story("node")


@pytest.fixture(scope="module")
def busybox(absent):
    """A busybox of another platform."""
    if os.uname().machine != "x86_64":
        absent("amd64", "these stories are told on such a machine")
    if (found := foreign.busybox()) is None:
        absent("arm64", "Debian's busybox for it cannot be fetched")
    return found


@pytest.fixture
def base(story, busybox, registry, tmp_path):
    """The name of an image that a registry has for two platforms, and this engine for none."""
    name = f"{registry}/{uuid.uuid4().hex[:8]}"
    (tmp_path / "arm64.tar").write_bytes(busybox_archive(busybox))
    story.docker("import", "--platform", foreign.PLATFORM, str(tmp_path / "arm64.tar"), f"{name}:arm64")
    story.docker("tag", "prewarm-test/busybox:2", f"{name}:amd64")
    described = []
    for machine in ("amd64", "arm64"):
        story.docker("push", f"{name}:{machine}")
        story.docker("rmi", f"{name}:{machine}")
        found = fetched(name, machine)
        platform = {"os": "linux", "architecture": machine}
        described.append({**found, "platform": platform})
    index = {"schemaVersion": 2, "mediaType": f"{KIND}.list.v2+json", "manifests": described}
    send(name, "both", json.dumps(index).encode(), index["mediaType"])
    yield f"{name}:both"
    if left := story.docker("images", "-q", "--no-trunc", name):
        story.docker("rmi", "--force", *set(left.split()))


@pytest.fixture
def unemulated(absent):
    """A kernel that cannot run arm64 programs."""
    if EMULATOR.exists():
        absent("unemulated", "this kernel has an emulator of arm64 already")
    with foreign.undisturbed(alone=False):
        yield


def address(name, tag):
    host, _, repository = name.partition("/")
    return f"http://{host}/v2/{repository}/manifests/{tag}"


def fetched(name, tag):
    """Describe a manifest of the registry."""
    asked = urllib.request.Request(address(name, tag), headers={"Accept": f"{KIND}.v2+json"})
    with urllib.request.urlopen(asked) as answer:
        content = answer.read()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return {"mediaType": f"{KIND}.v2+json", "digest": digest, "size": len(content)}


def send(name, tag, content, kind):
    """Put a manifest into the registry."""
    asked = urllib.request.Request(address(name, tag), data=content, headers={"Content-Type": kind}, method="PUT")
    with urllib.request.urlopen(asked):
        pass


def entry(story, platform):
    """Give the lock file's entry for a platform, as an application finds it."""
    return lockfile.read(story.project / "prewarm.lock").entry("one", platform)


def architecture(story, platform):
    """Give what the image of an entry says that it is for."""
    image = entry(story, platform).ref.value["image"]
    return story.docker("image", "inspect", "-f", "{{.Os}}/{{.Architecture}}", image)


def test_one_definition_is_captured_for_two_platforms_in_one_lock_file(story, base):
    story.write("prewarm.yaml", PROJECT.replace("BASE", base).replace("STEPS", ""))

    story.prewarm("build", "--platform", foreign.PLATFORM)
    story.prewarm("build", "--platform", NATIVE)

    assert entry(story, foreign.PLATFORM).key != entry(story, NATIVE).key
    assert architecture(story, foreign.PLATFORM) == foreign.PLATFORM
    assert architecture(story, NATIVE) == NATIVE
    for platform in (foreign.PLATFORM, NATIVE):
        again = json.loads(story.prewarm("build", "--platform", platform, "--json").stdout)["templates"]
        assert [one["reason"] for one in again] == ["unchanged"]
        assert "1 of 1 can be opened" in story.prewarm("check", "--platform", platform).stdout
    # Without a word it is this machine's that opens.
    assert story.inside("one", "cat", "motd.txt") == "seeded\n"
    assert "x86_64" in story.inside("one", "uname", "-m")


def test_a_sandbox_of_another_platform_alone_is_not_opened_here(story, base):
    story.write("prewarm.yaml", PROJECT.replace("BASE", base).replace("STEPS", ""))
    story.prewarm("build", "--platform", foreign.PLATFORM)

    failed = story.prewarm("open", "one", "--", "cat", "motd.txt", code=7)

    assert NATIVE in failed.stderr
    assert foreign.PLATFORM in failed.stderr


def test_what_cannot_run_here_is_neither_opened_nor_verified(story, base, unemulated):
    project = PROJECT.replace("BASE", base).replace("STEPS", "")
    story.write("prewarm.yaml", project)
    story.prewarm("build", "--platform", foreign.PLATFORM)
    captured = entry(story, foreign.PLATFORM)

    with pytest.raises(OtherPlatformError, match=f"'one' is for {foreign.PLATFORM}, and this engine cannot") as caught:
        prewarm.open_session("one", lock=story.project / "prewarm.lock", platform=foreign.PLATFORM, home=story.home)
    assert "register an emulator" in caught.value.hint
    assert story.docker("ps", "-aq", "--filter", f"label=dev.prewarm.key={captured.key}") == ""

    story.write("prewarm.yaml", project + "    verify: [{run: 'true'}]\n")
    failed = story.prewarm("build", "--platform", foreign.PLATFORM, code=5)
    assert "no session opens from it" in failed.stderr


def test_a_step_of_another_platform_that_cannot_run_is_told_with_the_way_out(story, base, unemulated):
    story.write("prewarm.yaml", PROJECT.replace("BASE", base).replace("STEPS", "{run: uname -m}"))

    failed = story.prewarm("build", "--platform", foreign.PLATFORM, code=5)

    assert "exec format error" in failed.stderr
    assert f"hint: the builder cannot run programs of {foreign.PLATFORM}: register an emulator there" in failed.stderr
    assert story.held(story.namespace) == []


def test_a_base_that_is_there_for_other_platforms_only_is_an_error(story, registry, busybox, tmp_path):
    name = f"{registry}/{uuid.uuid4().hex[:8]}:1"
    story.docker("tag", "prewarm-test/busybox:2", name)
    story.docker("push", name)
    story.write("prewarm.yaml", PROJECT.replace("BASE", name).replace("STEPS", ""))

    held = story.prewarm("build", "--platform", foreign.PLATFORM, code=3)
    story.docker("rmi", name)
    gone = story.prewarm("build", "--platform", foreign.PLATFORM, code=3)

    assert f"is in the engine for {NATIVE}, not for {foreign.PLATFORM}" in held.stderr
    assert f"is not there for {foreign.PLATFORM}, only for {NATIVE}" in gone.stderr


def test_an_archive_and_a_dockerfile_are_bases_of_the_platform_asked_for(story, busybox, tmp_path):
    story.project.joinpath("root.tar").write_bytes(busybox_archive(busybox))
    story.write("prewarm.yaml", PROJECT.replace("BASE", "{rootfs: root.tar}").replace("STEPS", ""))
    story.prewarm("build", "--platform", foreign.PLATFORM)
    assert architecture(story, foreign.PLATFORM) == foreign.PLATFORM

    story.write("Dockerfile", "FROM scratch\nADD root.tar /\n")
    story.write("prewarm.yaml", PROJECT.replace("BASE", "{dockerfile: Dockerfile}").replace("STEPS", ""))
    for platform in (NATIVE, foreign.PLATFORM):
        story.prewarm("build", "--platform", platform)
        assert architecture(story, platform) == platform


def test_a_dockerfile_starts_from_what_its_registry_has_for_the_platform(story, base):
    story.write("Dockerfile", f"FROM {base}\nENV FROM_DOCKERFILE=yes\n")
    story.write("prewarm.yaml", PROJECT.replace("BASE", "{dockerfile: Dockerfile}").replace("STEPS", ""))

    for platform in (NATIVE, foreign.PLATFORM):
        story.prewarm("build", "--platform", platform)
        assert architecture(story, platform) == platform
    assert story.inside("one", "sh", "-c", "echo $FROM_DOCKERFILE") == "yes\n"


def test_a_builder_elsewhere_captures_for_another_platform(story, busybox, containerd, tmp_path, unemulated):
    story.project.joinpath("root.tar").write_bytes(busybox_archive(busybox))
    story.write("prewarm.yaml", PROJECT.replace("BASE", "{rootfs: root.tar}").replace("STEPS", ""))
    with Bridge(containerd["DOCKER_HOST"].removeprefix("unix://")) as bridge:
        settings = registered(bridge, tmp_path / "docker-config")
        story.prewarm("build", "--platform", foreign.PLATFORM, **settings)
        story.write("prewarm.yaml", PROJECT.replace("BASE", "{rootfs: root.tar}").replace("STEPS", "{run: uname}"))
        failed = story.prewarm("build", "--platform", foreign.PLATFORM, code=5, **settings)

    assert "the builder cannot run programs of linux/arm64" in failed.stderr


@pytest.fixture
def emulated(tmp_path, absent):
    """A kernel that runs arm64 programs by an emulator, for as long as the test takes."""
    if EMULATOR.exists():
        absent("unemulated", "this kernel has an emulator of arm64 already")
    if os.getuid() != 0:
        absent("emulator", "one of the test's own needs root")
    program = foreign.emulator()
    if program is None:
        absent("emulator", "Debian's cannot be fetched")
    with contextlib.ExitStack() as ends:
        ends.enter_context(foreign.undisturbed(alone=True))
        try:
            ends.enter_context(foreign.emulated(program, tmp_path / "binfmt"))
        except (OSError, subprocess.CalledProcessError) as error:
            absent("emulator", f"the kernel takes none: {error}")
        yield


def test_steps_hooks_and_sessions_of_another_platform_run_under_an_emulator(story, base, emulated):
    story.write("hooks/setup.py", "def warm(sandbox):\n    sandbox.run('uname -m > /workspace/hooked')\n")
    steps = "{run: uname -m > /workspace/machine}, {python: 'hooks.setup:warm'}"
    project = PROJECT.replace("BASE", base).replace("STEPS", steps)
    story.write("prewarm.yaml", project.replace("    build:", "    verify: [{run: cat hooked}]\n    build:"))

    story.prewarm("build", "--platform", foreign.PLATFORM)

    image = entry(story, foreign.PLATFORM).ref.value["image"]
    ran = ["run", "--rm", "--network=none", "--platform", foreign.PLATFORM, image]
    assert story.docker(*ran, "cat", "/workspace/machine", "/workspace/hooked") == "aarch64\naarch64"
