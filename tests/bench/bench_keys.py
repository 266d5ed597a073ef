"""Time keying against the least that it could cost; prints medians and ratios, exits 1 beyond the bounds.

    python tests/bench/bench_keys.py [--definitions 100] [--files 10000] [--rounds 15]

warm: the keys of all definitions, with the cache, against a bare ``os.scandir`` + ``stat`` walk of the same trees (bound 2.5)
cold: the keys without a cache, against sha256 of the same bytes in as many threads (bound 1.3)
load: parse, fill in and check the definition file
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from prewarm.definition import load_project
from prewarm.home import Home
from prewarm.inputs import FileDigests, resolve
from prewarm.request import ResolvedBase

BASE = ResolvedBase(digest=f"sha256:{'0' * 64}", description="a base")


def make_project(root: Path, definitions: int, files: int, size: int) -> Path:
    lines = ["version: 1", "namespace: bench", 'vars: {v: "1"}', "sandboxes:"]
    for number in range(definitions):
        tree = root / f"seeds/{number:04d}"
        for index in range(files // definitions):
            path = tree / f"d{index % 10}" / f"file-{index}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(size // 2).hex().encode())
        lines += [
            f"  sandbox-{number}:",
            "    base: host",
            f"    env: {{NUMBER: '{number}'}}",
            "    seed:",
            f"      - {{source: ./seeds/{number:04d}, target: /workspace}}",
            "    bootstrap:",
            f"      - run: echo {{{{ v }}}} {number}",
            "        timeout: 10m",
        ]
    file = root / "prewarm.yaml"
    file.write_text("\n".join(lines) + "\n")
    return file


def keys(project, home: Home | None) -> list[str]:
    with FileDigests(home) as digests:
        return [
            resolve(
                definition.for_backend("local"),
                project=project,
                backend_name="local",
                capture_format="1",
                base=BASE,
                parent_key=None,
                platform="linux/amd64",
                digests=digests,
            ).key
            for definition in project.definitions
        ]


def bare_walk(root: str) -> int:
    total, stack = 0, [root]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                total += status.st_size
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
    return total


def bare_hash(paths: list[str], threads: int) -> int:
    def one(path: str) -> str:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    with ThreadPoolExecutor(threads) as pool:
        return len(list(pool.map(one, paths)))


def paths_below(root: Path) -> list[str]:
    return [os.path.join(top, name) for top, _, names in os.walk(root) for name in names]


def median(rounds: int, *measured) -> list[float]:
    """Measure in turns, so that what else the machine does hits all alike."""
    times = [[] for _ in measured]
    for _ in range(rounds):
        for number, function in enumerate(measured):
            began = time.perf_counter()
            function()
            times[number].append(time.perf_counter() - began)
    return [statistics.median(one) for one in times]


def load_in_new_process(file: Path) -> float:
    code = (
        "import time; b=time.perf_counter(); from pathlib import Path; from prewarm.definition import load_project; "
        f"load_project(Path({str(file)!r})); print(time.perf_counter()-b)"
    )
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)


def ratio(name: str, ours: float, bare: float, bound: float) -> bool:
    print(f"{name}: {ours * 1000:8.1f} ms   bare {bare * 1000:8.1f} ms   ratio {ours / bare:.2f} (at most {bound})")
    return ours / bare <= bound


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--definitions", type=int, default=100)
    parser.add_argument("--files", type=int, default=10000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=min(8, os.cpu_count() or 1))
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prewarm-bench-") as directory:
        root = Path(directory)
        file = make_project(root / "project", chosen.definitions, chosen.files, 2048)
        home = Home(root / "home")
        loaded = [load_in_new_process(file) for _ in range(5)]
        print(
            f"load: {statistics.median(loaded) * 1000:8.1f} ms for {chosen.definitions} definitions, imports included"
        )
        project = load_project(file)
        time.sleep(0.2)
        first = keys(project, home)
        assert first == keys(project, home) == keys(project, None)
        seeds = root / "project/seeds"
        warm, walk = median(chosen.rounds, lambda: keys(project, home), lambda: bare_walk(str(seeds)))
        small = paths_below(seeds)
        cold, hashed = median(5, lambda: keys(project, None), lambda: bare_hash(small, chosen.threads))
        big_file = make_project(root / "big", 4, 40, 8 << 20)
        big = load_project(big_file)
        large = paths_below(root / "big/seeds")
        cold_big, hashed_big = median(3, lambda: keys(big, None), lambda: bare_hash(large, chosen.threads))
        good = [
            ratio("warm           ", warm, walk, 2.5),
            ratio("cold, 2 kB each", cold, hashed, 1.3),
            ratio("cold, 8 MB each", cold_big, hashed_big, 1.3),
        ]
    return 0 if all(good) else 1


if __name__ == "__main__":
    raise SystemExit(main())
