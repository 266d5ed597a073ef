"""A builder that dies at a chosen moment: ``python driver.py PROJECT KILL_AT``.

Runs ``pipeline.build`` and sends itself SIGKILL at the KILL_AT-th thing that its listener hears (phases, steps, starts and
ends), so that every phase boundary can be hit exactly. Prints how many things there were where it lives to the end.
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


def main():
    project_file, kill_at = Path(sys.argv[1]), int(sys.argv[2])
    variables = environment()
    listener = DyingListener(kill_at)
    pipeline.build(
        load_project(project_file, environment=variables),
        home=Home(default_home(variables)),
        environment=variables,
        options=pipeline.RunOptions(jobs=1),
        listener=listener,
    )
    print(listener.heard)


main()
