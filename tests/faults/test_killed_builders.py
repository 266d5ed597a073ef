"""SIGKILL for builders: at every phase boundary, and at any moment. Afterwards the next build is right."""

import itertools
import os
import random
import signal
import time

import pytest

KILLS_AT_RANDOM = 180
SEED = 20240607


def test_a_builder_killed_at_every_phase_boundary_leaves_the_next_build_right(machine):
    with machine.builders() as builders:
        _ask_anew(machine, 0)
        builders.begin()
        code, moments = builders.end()
        assert code == 0
        machine.run("gc", "--apply")
        kills = 0
        for moment in range(1, moments + 1):
            (machine.project / "tree" / "tree-a").write_text(f"{moment}\n")
            _ask_anew(machine, moment)
            builders.begin(kill_at=moment)
            code, _ = builders.end()
            assert code == -signal.SIGKILL
            kills += 1
            if moment % 5 == 0:
                machine.assert_right()
    machine.assert_right()
    machine.collect_garbage()
    assert kills >= 30


@pytest.mark.timeout(1200)  # Minutes, on a busy machine.
def test_a_builder_killed_at_random_moments_leaves_no_wrong_template(machine):
    dice = random.Random(SEED)
    with machine.builders() as builders:
        _ask_anew(machine, "whole")
        began = time.monotonic()
        builders.begin(jobs=2)
        code, _ = builders.end()
        whole = time.monotonic() - began
        assert code == 0
        killed = 0
        for attempt in itertools.count():
            _ask_anew(machine, attempt)
            builder = builders.begin(jobs=2)
            time.sleep(dice.uniform(0, whole))
            os.killpg(builder, signal.SIGKILL)
            code, _ = builders.end()
            assert code in {0, -signal.SIGKILL}
            killed += code != 0  # It may have been done before.
            if attempt % 20 == 19:
                machine.assert_right()
            if killed == KILLS_AT_RANDOM:
                break
    machine.assert_right()
    machine.collect_garbage()


def _ask_anew(machine, revalidate):
    """Ask for every template of the project to be made again."""
    lines = [line for line in machine.file.read_text().splitlines() if "revalidate" not in line]
    machine.file.write_text(
        "\n".join(
            part
            for line in lines
            for part in (line, *((f'    revalidate: "{revalidate}"',) if "backend: local" in line else ()))
        )
    )
