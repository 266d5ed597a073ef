"""What the fault tests share: a small project on the local backend, a state directory, and how to look at both."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PROJECT = HERE / "project"
SEEDED = {"first": [], "second": ["tree-a", "tree-b"], "third": []}
LOOK = """
import json, sys, prewarm
seen = {}
for name in sys.argv[1:]:
    with prewarm.open_session(name) as session:
        seen[name] = session.run("cat made-by seed.txt; ls", check=True).stdout.split()
print(json.dumps(seen))
"""


class Builders:
    """Builders of one project, one after the other, by ``driver.py``."""

    def __init__(self, driver):
        self._driver = driver

    def begin(self, *, kill_at=0, jobs=1):
        """Begin to build, and give the process, which leads a group."""
        self._driver.stdin.write(f"{kill_at} {jobs}\n")
        self._driver.stdin.flush()
        return int(self._driver.stdout.readline())

    def end(self):
        """Wait for a builder, and give its exit code, and how many things it heard where it lived to the end."""
        self._driver.stdin.write("\n")
        self._driver.stdin.flush()
        code, heard = map(int, self._driver.stdout.readline().split())
        return code, heard


class Machine:
    """A state directory and a copy of the project; commands run as a user would run them."""

    def __init__(self, root):
        self.home = root / "home"
        self.project = root / "project"
        self.file = self.project / "prewarm.yaml"
        self.environment = {**os.environ, "PREWARM_HOME": str(self.home), "NO_COLOR": "1"}
        shutil.copytree(PROJECT, self.project)

    def argv(self, *arguments):
        return [sys.executable, "-m", "prewarm", *arguments]

    def run(self, *arguments, timeout=120, **changes):
        return subprocess.run(
            self.argv(*arguments),
            cwd=self.project,
            env={**self.environment, **changes},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start(self, *arguments, **changes):
        return subprocess.Popen(
            self.argv(*arguments),
            cwd=self.project,
            env={**self.environment, **changes},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @contextlib.contextmanager
    def builders(self):
        """Have builders that can be told when to die; the project is built once before the first."""
        driver = subprocess.Popen(
            [sys.executable, HERE / "driver.py", self.file],
            cwd=self.project,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with driver:
            assert driver.stdout.readline() == "ready\n"
            yield Builders(driver)

    def statuses(self, *arguments):
        built = self.run("build", "--backend", "local", "--json", *arguments)
        assert built.returncode == 0, built.stderr
        return {t["name"]: t["status"] for t in json.loads(built.stdout)["templates"]}

    def assert_right(self):
        """Every template holds what its definition says, seen from a session; and the lock file can be proven."""
        assert set(self.statuses().values()) <= {"fresh", "reused"}
        assert self.run("check").returncode == 0
        shown = subprocess.run(
            [sys.executable, "-c", LOOK, *SEEDED],
            cwd=self.project,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert shown.returncode == 0, shown.stderr
        for name, seen in json.loads(shown.stdout).items():
            assert seen == [name, "seed", "made-by", "seed.txt", *SEEDED[name]]

    def collect_garbage(self):
        """Take away all litter; then nothing of a capture or a dead session may be left."""
        done = self.run("gc", "--apply")
        assert done.returncode == 0, done.stderr
        staging = self.home / "local" / "staging"
        assert not staging.exists() or not list(staging.iterdir())
        again = json.loads(self.run("gc", "--json").stdout)
        assert not again["garbage"], again


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    yield machine
    machine.run("sessions", "--remove-all", "--backend", "local")
