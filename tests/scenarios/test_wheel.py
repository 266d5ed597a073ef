"""The built wheel, installed alone in a new environment, passes the stories."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from stories import COMMAND

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


@pytest.mark.skipif("PREWARM_SCENARIO_COMMAND" in os.environ, reason="the command under test is another one already")
@pytest.mark.timeout(1800)
def test_the_wheel_alone_passes_the_stories(tmp_path, works_here, absent):
    if works_here:
        absent("local", works_here)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", tmp_path / "dist", ROOT], check=True)
    (wheel,) = (tmp_path / "dist").glob("prewarm-*.whl")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    subprocess.run([tmp_path / "venv" / "bin" / "pip", "install", "-q", wheel], check=True)
    command = tmp_path / "venv" / "bin" / "prewarm"
    assert command != Path(COMMAND)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", HERE, "--ignore", HERE / "docker"],
        env={**os.environ, "PREWARM_SCENARIO_COMMAND": str(command)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20000:]
