"""Each ready-made definition, begun with ``prewarm init``, captured for real with packages from PyPI and npm, and used."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from stories import COMMAND, processor_seconds

ON_PATH = [Path(directory) / "node" for directory in ("/usr/local/bin", "/usr/bin")]


@pytest.fixture
def begin(story):
    def begin(template):
        story.prewarm("init", "--template", template, template)
        story.project /= template
        return story

    return begin


def test_python(begin):
    story = begin("python")
    assert story.statuses() == {"python": "fresh"}
    assert story.inside("python", "python", "report.py") == "web: 3 replicas\nworker: 1 replica\n"
    assert story.inside("python", "python", "-c", "import jinja2; print(jinja2.__version__)") == "3.1.6\n"
    assert story.statuses() == {"python": "reused"}
    story.edit("requirements.txt", "pyyaml==6.0.3\n", "pyyaml==6.0.2\n")
    assert "requirements.txt" in story.prewarm("explain", "python").stdout


@pytest.mark.skipif(not any(path.exists() for path in ON_PATH), reason="node is not in /usr or /usr/local")
def test_node(begin):
    story = begin("node")
    assert story.statuses() == {"node": "fresh"}
    assert json.loads(story.inside("node", "node", "summarise.js", "orders.csv")) == {"ada": 20, "grace": 30}
    assert story.statuses() == {"node": "reused"}


def test_data_science_with_two_thousand_files_of_our_own(begin):
    story = begin("data-science")
    for n in range(2000):
        story.write(f"workspace/data/{n % 40:02}/part-{n:04}.csv", f"customer,amount\ncustomer-{n % 7},{n}\n")

    began = processor_seconds()
    assert story.statuses() == {"analyst": "fresh"}
    captured = processor_seconds()
    assert story.statuses() == {"analyst": "reused"}
    first, second = captured - began, processor_seconds() - captured
    print(f"first build {first:.2f}s, second build {second:.2f}s of the processor")
    assert second < first / 3

    assert int(story.inside("analyst", "sh", "-c", "find data -type f | wc -l")) == 2000
    index = json.loads(story.inside("analyst", "cat", "INDEX.json"))
    assert index["files"] == 2002
    assert "samples/orders.csv" in index["paths"]

    story.write("workspace/data/07/part-0007.csv", "customer,amount\ncustomer-0,1\n")
    planned = json.loads(story.prewarm("plan", "--json").stdout)["templates"][0]
    assert (planned["status"], planned["reason"]) == ("fresh", "inputs changed")
    assert any("/workspace/data/07/part-0007.csv" in change for change in planned["changes"])

    orders = "customer,amount\n" + "".join(f"customer-{n % 5},{n}\n" for n in range(1000))
    story.prewarm("open", "analyst", "--key", "user", "--", "sh", "-c", "cat > orders.csv", stdin=orders)
    story.prewarm("exec", "user", "--", "python", "summarise.py", "orders.csv", "totals.csv")
    totals = story.prewarm("exec", "user", "--", "cat", "totals.csv").stdout.splitlines()
    assert totals[:2] == ["customer,sum,mean,count", "customer-0,99500,497.5,200"]


def test_the_demo_tells_the_whole_story(story, tmp_path):
    demo = Path(__file__).parents[3] / "ci" / "demo.sh"
    if not demo.exists():
        pytest.skip("the demo is not part of what is tested here")
    path = f"{Path(COMMAND).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [shutil.which("bash"), demo],
        env={**story.environment, "PATH": path, "DEMO_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for wanted in (
        "fresh    analyst",
        "reused   analyst",
        "first build",
        "part-0007.csv",
        "customer-0,99500,497.5,200",
    ):
        assert wanted in done.stdout, done.stdout
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("prewarm-demo")] == []
