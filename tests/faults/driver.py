"""Builders that die at a chosen moment: ``python driver.py PROJECT``, for as many builders as there are lines on its input.

Each line is ``KILL_AT JOBS``: a process that is forked, so that none has to load everything anew, runs ``pipeline.build`` and
sends itself SIGKILL at the KILL_AT-th thing that its listener hears (phases, steps, starts and ends), so that every phase
boundary can be hit exactly; 0 is never. Its id is told as it begins. An empty line asks for its end: the exit code, and how
many things there were where it lived so long.
"""

import os
import signal
import sys
from pathlib import Path

from prewarm import pipeline
from prewarm.definition import load_project
from prewarm.home import Home, default_home
from prewarm.process import environment


class DyingListener:
    def __init__(self, kill_at):
        self.heard = 0
        self.kill_at = kill_at

    def _hear(self):
        self.heard += 1
        if self.heard == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def template_started(self, *args, **kwargs):
        self._hear()

    def phase(self, *args, **kwargs):
        self._hear()

    def step(self, *args, **kwargs):
        self._hear()

    def line(self, *args, **kwargs):
        self._hear()

    def template_finished(self, *args, **kwargs):
        self._hear()

    def note(self, *args, **kwargs):
        pass


def build(project_file, kill_at, jobs):
    variables = environment()
    listener = DyingListener(kill_at)
    report = pipeline.build(
        load_project(project_file, environment=variables),
        home=Home(default_home(variables)),
        environment=variables,
        options=pipeline.RunOptions(jobs=jobs),
        listener=listener,
    )
    return report.exit_code, listener.heard


def build_elsewhere(project_file, kill_at, jobs):
    """Build in a process and a process group of its own; give how it ended, and what it heard."""
    reading, writing = os.pipe()
    builder = os.fork()
    if not builder:
        os.setpgid(0, 0)
        os.write(writing, b"+")
        code, heard = build(project_file, kill_at, jobs)
        os.write(writing, b"%d" % heard)
        os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as said:
        said.read(1)
        print(builder, flush=True)
        heard = said.read()
    sys.stdin.readline()  # Until somebody asks, its number stays its own, so that it can be killed.
    _, status = os.waitpid(builder, 0)
    return os.waitstatus_to_exitcode(status), int(heard or 0)


def main():
    project_file = Path(sys.argv[1])
    build(project_file, 0, 1)
    print("ready", flush=True)
    for line in sys.stdin:
        kill_at, jobs = map(int, line.split())
        print(*build_elsewhere(project_file, kill_at, jobs), flush=True)


main()
