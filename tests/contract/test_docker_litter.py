"""Bases that captures made in the engine: they stay as long as a template or a capture stands on them, and then go."""

import dataclasses
import hashlib
import os
import subprocess
import tarfile
import uuid
from pathlib import Path

import pytest

from prewarm.backends.context import BackendContext
from prewarm.backends.docker import DockerBackend, bases
from prewarm.definition.model import DockerfileBase, RootfsBase
from prewarm.errors import CaptureFailedError
from prewarm.machine import host_platform
from prewarm.testing.builders import hook, shell
from prewarm.testing.fakes import RecordingObserver
from prewarm.testing.workplace import Workplace

BUSYBOX = os.environ.get("PREWARM_TEST_BUSYBOX", "busybox:latest")


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def archive(backend, directory):
    """Give a base of an archive that no other test has."""
    api = backend.engine.api
    container = api.create_container(BUSYBOX, ["none"])["Id"]
    (directory / "root.tar").write_bytes(b"".join(api.export(container)))
    api.remove_container(container)
    (directory / "mark").write_text(uuid.uuid4().hex)
    with tarfile.open(directory / "root.tar", "a") as tar:
        tar.add(directory / "mark", arcname="mark")
    base = RootfsBase(path="root.tar")
    resolved = backend.resolve_base(base, project=directory, platform=host_platform(), sha256=sha256)
    return resolved, f"prewarm-base/image:rootfs-{resolved.value['sha256']}-{host_platform().replace('/', '-')}"


def dockerfile(backend, directory):
    """Give a base of a Dockerfile that no other test has."""
    (directory / "mark").write_text(uuid.uuid4().hex)
    (directory / "Dockerfile").write_text(f"FROM {BUSYBOX}\nCOPY mark /mark\n")
    base = DockerfileBase(dockerfile="Dockerfile", context=".")
    resolved = backend.resolve_base(base, project=directory, platform=host_platform(), sha256=sha256)
    return resolved, f"prewarm-base/image:dockerfile-{resolved.value['sha256']}-{host_platform().replace('/', '-')}"


class Engine:
    """A backend, and a base of the test's own that it has not made yet."""

    def __init__(self, backend, directory, make):
        self.backend = backend
        self.api = backend.engine.api
        base, self.tag = make(backend, directory)
        self.place = Workplace(backend, base, f"litter-{uuid.uuid4().hex[:8]}")
        self._project = directory

    def request(self, *steps):
        return dataclasses.replace(self.place.request(*steps or [shell("true")]), project=self._project)

    def capture(self, *steps):
        return self.place.publish(self.request(*steps))

    def litter(self, namespace=None, backend=None):
        """Give what of this test's base may go."""
        return [one for one in (backend or self.backend).litter(namespace) if one.description.endswith(self.tag)]

    def has_base(self):
        return bool(self.api.images(name=self.tag))


@pytest.fixture
def docker(tmp_path, works):
    backend = DockerBackend(BackendContext(home=tmp_path / "home", environment=dict(os.environ)))
    yield backend
    backend.close()


@pytest.fixture
def made(docker, tmp_path):
    engines = []

    def make(kind):
        engines.append(Engine(docker, tmp_path, kind))
        return engines[-1]

    yield make
    for one in engines:
        one.place.close()
        for left in one.litter():
            left.remove()
        assert not one.has_base()


@pytest.mark.parametrize("kind", [archive, dockerfile])
def test_a_base_goes_when_no_template_stands_on_it_any_more(made, kind):
    engine = made(kind)
    captured = engine.capture(shell("touch /workspace/x"))
    assert engine.has_base()
    assert engine.litter() == []

    engine.backend.remove(captured.ref)
    (found,) = engine.litter()
    assert found.description == f"base that no template stands on: {engine.tag}"
    found.remove()
    assert not engine.has_base()
    assert engine.litter() == []
    found.remove()


def test_a_base_is_kept_by_templates_of_any_namespace(made):
    engine = made(archive)
    engine.capture()
    assert engine.litter("another-namespace") == []


def test_a_base_of_a_template_that_was_extended_stays(made):
    engine = made(archive)
    parent = engine.capture()
    engine.place.capture(shell("touch /workspace/y"), parent=parent)
    assert engine.litter() == []


def test_a_base_that_a_capture_under_way_stands_on_is_left_by_every_machine(made, tmp_path):
    engine = made(archive)
    other = DockerBackend(BackendContext(home=tmp_path / "other", environment=dict(os.environ)))
    seen = []

    def look(_sandbox):
        seen.extend((engine.has_base(), *engine.litter(), *engine.litter(backend=other)))

    with engine.backend.capture(engine.request(shell("true"), hook(look)), RecordingObserver()):
        seen.extend((engine.has_base(), *engine.litter(), *engine.litter(backend=other)))
    other.close()

    assert seen == [True, True]
    assert len(engine.litter()) == 1  # Nothing was published.


def test_a_base_that_a_capture_took_up_since_it_was_found_is_left(made):
    engine = made(archive)
    with engine.backend.capture(engine.request(), RecordingObserver()):
        pass
    (found,) = engine.litter()
    with engine.backend.capture(engine.request(), RecordingObserver()):
        found.remove()
        assert engine.has_base()
    found.remove()
    assert not engine.has_base()


def test_a_base_that_is_taken_just_before_its_capture_names_it_is_made_again(made, monkeypatch):
    engine = made(archive)
    bring, brought = bases.bring, []

    def bring_and_lose(*arguments):
        brought.append(bring(*arguments))
        if len(brought) == 1:
            engine.api.remove_image(engine.tag)
        return brought[-1]

    monkeypatch.setattr(bases, "bring", bring_and_lose)
    captured = engine.capture(shell("cat /mark > /workspace/mark"))

    assert len(brought) == 2
    assert engine.place.text(engine.place.open(captured), "cat /workspace/mark")


def test_a_base_that_goes_every_time_ends_the_capture_with_a_way_out(made, monkeypatch):
    engine = made(archive)
    bring = bases.bring

    def bring_and_lose(*arguments):
        base = bring(*arguments)
        engine.api.remove_image(engine.tag)
        return base

    monkeypatch.setattr(bases, "bring", bring_and_lose)
    with pytest.raises(CaptureFailedError, match="goes from the engine as soon as it is there") as caught:
        engine.capture()
    assert "nothing else cleans up" in caught.value.hint


def test_an_image_that_has_another_name_too_stays_under_that(made):
    engine = made(archive)
    with engine.backend.capture(engine.request(), RecordingObserver()):
        pass
    name = f"prewarm-test-{uuid.uuid4().hex}"
    engine.api.tag(engine.tag, name, "1")
    (found,) = engine.litter()
    found.remove()
    kept = engine.api.images(name=name)
    engine.api.remove_image(f"{name}:1")

    assert found.size == 0
    assert [image["RepoTags"] for image in kept] == [[f"{name}:1"]]
    assert not engine.has_base()


def test_the_name_of_a_killed_capture_keeps_no_base(made):
    engine = made(archive)
    with engine.backend.capture(engine.request(), RecordingObserver()):
        image = engine.api.images(name=engine.tag)[0]["Id"]
    identity = f"00000000-{uuid.uuid4().hex[:16]}-1"
    subprocess.run(["docker", "tag", image, f"prewarm-base/image:killed.{identity}"], check=True)
    found = [one for one in engine.backend.litter() if engine.tag in one.description or identity in one.description]
    assert len(found) == 2
    for one in found:
        one.remove()
    assert engine.api.images(name=f"prewarm-base/image:killed.{identity}") == []
    assert not engine.has_base()
