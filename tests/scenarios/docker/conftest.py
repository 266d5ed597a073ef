"""What Docker's stories share: a project of their own, and an engine that answers."""

import json
import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest
from bridge import Bridge, registered
from engines import containerd_engine
from locked import locked_registry
from stories import COMMAND, Story, steps_running, wait_until

from prewarm.home import Home
from prewarm.session.ledger import Ledger

HERE = Path(__file__).parent
_BUILDER_S = 120.0
_ONE = """\
version: 1
namespace: OWN
sandboxes:
  one:
    base: prewarm-test/busybox:2
    backend: docker
    build: {network: none}
    bootstrap: %s
"""


@pytest.fixture(scope="session")
def engine(tmp_path_factory, absent):
    """The engine that the environment names."""
    home = tmp_path_factory.mktemp("doctor")
    asked = subprocess.run(
        [COMMAND, "doctor", "--backend", "docker", "--home", str(home)], capture_output=True, text=True, check=False
    )
    if asked.returncode != 0:
        absent("docker", asked.stdout + asked.stderr)


class DockerStory(Story):
    """A story that can look at the engine, and whose namespace nobody else has there: ``namespace: OWN`` in its project."""

    def __init__(self, project, home, namespace):
        super().__init__(project, home)
        self.namespace = namespace

    def write(self, path, text):
        return super().write(path, text.replace("namespace: OWN\n", f"namespace: {self.namespace}\n"))

    def write_one(self, *steps, **more):
        """Have the project be one sandbox of these steps."""
        self.write("prewarm.yaml", _ONE % json.dumps([{"run": step, **more} for step in steps]))

    def start_long(self, **settings):
        """Start a build whose step takes long, and wait for the step; give the process and a mark that the step carries."""
        mark = f"long-{uuid.uuid4().hex}"
        self.write_one(f": {mark}; sleep 600")
        process = self.start("build", **settings)
        # buildx and prewarm do not carry the step in their arguments: it is in a file.
        self.await_long(lambda: steps_running(mark) or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        return process, mark

    def await_long(self, fact):
        """Wait for what a builder takes its time for."""
        wait_until(fact, patience_s=_BUILDER_S)

    def unfinished(self):
        """Give what captures of this story left behind that were not ended."""
        garbage = json.loads(self.prewarm("gc", "--json", "--namespace", self.namespace).stdout)["garbage"]
        return [one for one in garbage if "unfinished" in one["description"]]

    def docker(self, *arguments):
        """Run the engine's own command line."""
        done = subprocess.run(["docker", *arguments], env=self.environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def images(self):
        """Give the ids of this story's templates, whichever of its namespaces they are of."""
        listed = self.docker("images", "--quiet", "--no-trunc", "--filter", f"reference=prewarm/{self.namespace}*")
        return sorted(set(listed.split()))

    def forget(self):
        """Remove the story's templates from the engine."""
        if images := self.images():
            self.docker("rmi", "--force", *images)

    def forget_all(self):
        """Remove those that were never published too."""
        self.forget()
        mine = f"label=dev.prewarm.namespace={self.namespace}"
        if left := self.docker("images", "-q", "--no-trunc", "--filter", mine):
            self.docker("rmi", "--force", *set(left.split()))

    def elsewhere(self, home, **settings):
        """Give the same project as another machine has it, with a state directory of its own, perhaps another engine."""
        story = DockerStory(self.project, home, self.namespace)
        story.environment |= settings
        return story

    def end_sessions(self):
        if self.home.exists() and Ledger(Home(self.home)).leases():  # As a rule there are none: nobody need be asked.
            super().end_sessions()

    def end(self):
        super().end()
        self.forget_all()


@pytest.fixture
def docker_story(engine, tmp_path):
    """Make a story of one of the projects beside this file."""
    made = []

    def make(name):
        project = tmp_path / name
        shutil.copytree(HERE / name, project)
        one = DockerStory(project, tmp_path / "home", f"story-docker-{uuid.uuid4().hex[:8]}")
        one.write("prewarm.yaml", (project / "prewarm.yaml").read_text())
        made.append(one)
        return one

    yield make
    for one in made:
        one.end()


@pytest.fixture
def registry(absent):
    """A registry that takes what is pushed."""
    if not (found := os.environ.get("PREWARM_TEST_REGISTRY")):
        absent("registry", "PREWARM_TEST_REGISTRY is not set; see ci/services.sh")
    return found


@pytest.fixture(scope="session")
def containerd(tmp_path_factory, absent):
    """The settings of an engine of our own with containerd's image store, whose builder writes every cache.

    What a story leaves there is of a namespace that no other has; whoever needs an empty builder empties it.
    """
    if os.getuid() != 0 or "DOCKER_HOST" not in os.environ:
        absent("docker", "an engine of its own needs root, and ci/services.sh")
    with containerd_engine(tmp_path_factory.mktemp("containerd"), size="400m") as settings:
        yield settings


@pytest.fixture(scope="module")
def locked(tmp_path_factory, absent):
    """A registry of our own that wants a login."""
    with locked_registry(tmp_path_factory.mktemp("locked")) as address:
        if address is None:
            absent("registry", "docker-registry is not installed; see ci/services.sh")
        yield address


@pytest.fixture(params=["in the engine", "elsewhere"])
def settings(request, containerd, tmp_path):
    """An engine with containerd's image store and its own builder; the engine of the tests and a builder elsewhere."""
    if request.param == "in the engine":
        yield containerd
        return
    with Bridge(containerd["DOCKER_HOST"].removeprefix("unix://")) as bridge:
        yield registered(bridge, tmp_path / "docker-config")
