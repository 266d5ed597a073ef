"""What the runtime half costs: interpreter time of ``import prewarm`` and opening from a lock file, beyond bare Python.

python tests/bench/bench_open.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import medians, show

LIMIT_S = 0.060
DEFINITION = """version: 1
namespace: bench
sandboxes:
  one:
    base: host
    backend: local
    bootstrap:
      - run: echo 1 > /workspace/one
"""
OPEN = "import prewarm; prewarm.open_session('one', key='k')"
IMPORT = "import prewarm; prewarm.open_session"


def main() -> None:
    """Build one template, keep a session of it, and time attaching to it from a new process."""
    with tempfile.TemporaryDirectory(prefix="prewarm-bench-") as directory:
        root = Path(directory)
        (root / "prewarm.yaml").write_text(DEFINITION)
        environment = {**os.environ, "PREWARM_HOME": str(root / "home")}

        def python(code: str) -> None:
            subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, check=True)

        subprocess.run(
            [str(Path(sys.executable).with_name("prewarm")), "build"],
            cwd=root,
            env=environment,
            check=True,
            capture_output=True,
        )
        try:
            bare, imported, opened = medians(
                lambda: python("pass"), lambda: python(IMPORT), lambda: python(OPEN), rounds=21
            )
        finally:
            python("import prewarm; prewarm.open_session('one', key='k').close(remove=True)")
        show("bare python", bare)
        show("import prewarm, beyond bare python", imported - bare)
        show("import prewarm + open from the lock file, beyond", opened - bare, limit=LIMIT_S)


main()
