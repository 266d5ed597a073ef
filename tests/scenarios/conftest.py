"""What the stories share: a copy of the story's directory, and whether the local backend works here at all."""

import shutil
import subprocess

import pytest
from stories import COMMAND, Story

NOT_COPIED = shutil.ignore_patterns("test_*.py", "__pycache__")


@pytest.fixture(scope="session")
def works_here(tmp_path_factory):
    """Whether the local backend works on this machine; if not, why."""
    home = tmp_path_factory.mktemp("doctor")
    asked = subprocess.run(
        [COMMAND, "doctor", "--backend", "local", "--home", str(home)], capture_output=True, text=True, check=False
    )
    return "" if asked.returncode == 0 else asked.stdout + asked.stderr


@pytest.fixture
def story(request, tmp_path, works_here, absent):
    if works_here:
        absent("local", works_here)
    project = tmp_path / "project"
    shutil.copytree(request.path.parent, project, ignore=NOT_COPIED)
    story = Story(project, tmp_path / "home")
    yield story
    story.end()
