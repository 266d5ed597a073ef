"""The whole command when there is nothing to do: 100 definitions, 10,000 seed files.

python tests/bench/bench_build.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import medians, show

DEFINITIONS, FILES_EACH = 100, 100
LIMIT_S = 0.6


def make_project(root: Path) -> None:
    """Write a project of 100 definitions with 100 seed files each."""
    sandboxes = []
    for number in range(DEFINITIONS):
        tree = root / "seeds" / f"s{number:03}"
        for file in range(FILES_EACH):
            path = tree / f"d{file % 10}" / f"file-{file:03}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{number} {file}\n" * 20)
        sandboxes.append(
            f"  s{number:03}:\n    base: host\n    backend: local\n"
            f"    seed:\n      - {{source: ./seeds/s{number:03}, target: /workspace}}\n"
            f"    bootstrap:\n      - run: echo {number} > /workspace/number\n"
        )
    (root / "prewarm.yaml").write_text("version: 1\nnamespace: bench\nsandboxes:\n" + "".join(sandboxes))


def main() -> None:
    """Build once, then time the second build."""
    with tempfile.TemporaryDirectory(prefix="prewarm-bench-", dir=os.environ.get("PREWARM_BENCH_DIR")) as directory:
        root = Path(directory)
        project = root / "project"
        project.mkdir()
        make_project(project)
        environment = {**os.environ, "PREWARM_HOME": str(root / "home"), "NO_COLOR": "1"}

        def prewarm(*arguments: str) -> None:
            argv = [str(Path(sys.executable).with_name("prewarm")), *arguments]
            subprocess.run(argv, cwd=project, env=environment, check=True, capture_output=True)

        def python() -> None:
            subprocess.run([sys.executable, "-c", "pass"], check=True)

        prewarm("build")
        build, keys, bare = medians(lambda: prewarm("build"), lambda: prewarm("keys"), python, rounds=15)
        show("build, nothing to do, 100 definitions, 10,000 files", build, limit=LIMIT_S)
        show("keys of the same", keys)
        show("bare python", bare)


main()
