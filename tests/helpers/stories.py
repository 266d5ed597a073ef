"""A story's own copy of its project, its state directory, and the ``prewarm`` command as a user runs it.

``PREWARM_SCENARIO_COMMAND`` names another ``prewarm`` than the one of this environment, such as one installed from a wheel.
"""

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from screen import Screen

COMMAND = os.environ.get("PREWARM_SCENARIO_COMMAND") or str(Path(sys.executable).with_name("prewarm"))
PATIENCE_S = 60.0


def wait_until(fact, what="it", *, patience_s=PATIENCE_S):
    """Wait until something holds, and give it."""
    deadline = time.monotonic() + patience_s
    while not (found := fact()):
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.02)
    return found


def steps_running(mark):
    """Give the commands on this machine, in whichever container, that carry a mark."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # It has ended.
            if mark.encode() in path.read_bytes():
                found.append(path.parent.name)
    return found


def processor_seconds():
    """Give what all programs that have ended took of the processor, whatever else ran on the machine meanwhile."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def hear(builder, wanted):
    """Read what a command line that was started says, until it says this."""
    seen = ""
    for line in builder.stderr:
        seen += line
        if wanted in line:
            return
    raise AssertionError(f"{wanted!r} never came:\n{seen}")


class Story:
    """A project directory that is this story's own, and a state directory; commands run there."""

    def __init__(self, project, home):
        self.project = project
        self.home = home
        self.environment = {**os.environ, "PREWARM_HOME": str(home)}
        for name in ("PREWARM_SCENARIO_COMMAND", "NO_COLOR", "COLUMNS", "LINES", "GITHUB_STEP_SUMMARY"):
            self.environment.pop(name, None)

    def prewarm(self, *arguments, code=0, stdin="", timeout=300, cwd=None, **environment):
        """Run a command line and expect an exit code."""
        done = subprocess.run(
            [COMMAND, *arguments],
            cwd=cwd or self.project,
            env={**self.environment, **environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *arguments, **environment):
        """Start a command line in a process group of its own."""
        return subprocess.Popen(
            [COMMAND, *arguments],
            cwd=self.project,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def screen(self, *arguments, columns=80, rows=24, **environment):
        """Start a command line on a terminal of its own."""
        return Screen(
            [COMMAND, *arguments],
            {**self.environment, "TERM": "xterm", **environment},
            columns=columns,
            rows=rows,
            directory=self.project,
        )

    def build(self, *arguments, code=0, **environment):
        """Build, and give what became of each template, by name."""
        report = json.loads(self.prewarm("build", "--json", *arguments, code=code, **environment).stdout)
        assert report["schema"] == "prewarm.report/1"
        return {template["name"]: template for template in report["templates"]}

    def statuses(self, *arguments, code=0, **environment):
        """Build, and give the status of each template, by name."""
        return {name: template["status"] for name, template in self.build(*arguments, code=code, **environment).items()}

    def inside(self, name, *argv, **options):
        """Run a command in a new session and give what it wrote."""
        return self.prewarm("open", name, "--", *argv, **options).stdout

    def lock(self):
        """Give the lock file's entries, by name."""
        return {entry["name"]: entry for entry in json.loads((self.project / "prewarm.lock").read_text())["templates"]}

    def held(self, namespace):
        """Give the templates that backends hold for a namespace; an engine of the machine may hold anybody's others."""
        return json.loads(self.prewarm("templates", "--json", "--namespace", namespace).stdout)["templates"]

    def write(self, path, text):
        """Write a file of the project."""
        target = self.project / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target

    def edit(self, path, old, new):
        """Replace a text in a file of the project."""
        target = self.project / path
        text = target.read_text()
        assert old in text
        target.write_text(text.replace(old, new))

    def processes(self):
        """Give the ids of processes that still use this story's directories."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/environ"):
            try:
                if f"PREWARM_HOME={self.home}\0".encode() in entry.read_bytes():
                    found.append(int(entry.parent.name))
            except OSError:
                continue
        return found

    def running(self, *argv):
        """Give the ids of the processes with this command line in this story's sandboxes."""
        wanted = b"".join(word.encode() + b"\0" for word in argv)
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (entry / "cmdline").read_bytes() == wanted and str(self.home) in (entry / "mounts").read_text():
                    found.append(int(entry.name))
        return found

    def await_running(self, *argv, count=1):
        """Wait until so many processes with this command line run in this story's sandboxes."""
        return wait_until(lambda: found if len(found := self.running(*argv)) == count else None, " ".join(argv))

    def let_go(self, *argv):
        """End a sleep that holds a step, so that the step goes on with what stands after it."""
        for pid in self.await_running(*argv):
            os.kill(pid, signal.SIGTERM)

    def _sessions(self, *arguments):
        argv = [COMMAND, "sessions", *arguments]
        return subprocess.run(
            argv, cwd=self.project, env=self.environment, capture_output=True, timeout=120, check=False
        )

    def end_sessions(self):
        """End the sessions that were opened with this state directory, and no others."""
        listed = self._sessions("--json").stdout
        opened = [one["id"] for one in json.loads(listed)["sessions"] if one["opened_at"] is not None] if listed else []
        if opened:
            self._sessions(*(f"--remove={one}" for one in opened))

    def end(self):
        """End all sessions; let everything be deleted."""
        self.end_sessions()
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.home.exists():
            subprocess.run(["chmod", "-R", "u+rwX", str(self.home)], stderr=subprocess.DEVNULL, check=False)
            shutil.rmtree(self.home, ignore_errors=True)
