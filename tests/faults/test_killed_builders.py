"""SIGKILL for builders: at every phase boundary, and at any moment. Afterwards the next build is right."""

import os
import random
import signal
import time

import pytest

KILLS_AT_RANDOM = 180
SEED = 20240607


def test_a_builder_killed_at_every_phase_boundary_leaves_the_next_build_right(machine):
    moments = int(machine.drive(0).stdout)
    machine.run("gc", "--apply")
    kills = 0
    for moment in range(1, moments + 1):
        (machine.project / "tree" / "tree-a").write_text(f"{moment}\n")
        (machine.project / "prewarm.yaml").write_text(_definition(machine, moment))
        died = machine.drive(moment)
        assert died.returncode == -signal.SIGKILL, died.stderr
        kills += 1
        if moment % 5 == 0:
            machine.assert_right()
    machine.assert_right()
    machine.collect_garbage()
    assert kills >= 30


@pytest.mark.timeout(1200)  # Minutes, on a busy machine.
def test_a_builder_killed_at_random_moments_leaves_no_wrong_template(machine):
    dice = random.Random(SEED)
    began = time.monotonic()
    machine.run("build", "--backend", "local")
    whole = time.monotonic() - began
    for kill in range(KILLS_AT_RANDOM):
        (machine.project / "prewarm.yaml").write_text(_definition(machine, kill))
        builder = machine.start("build", "--backend", "local")
        time.sleep(dice.uniform(0, whole))
        os.killpg(builder.pid, signal.SIGKILL)
        builder.communicate(timeout=60)
        if kill % 20 == 19:
            machine.assert_right()
    machine.assert_right()
    machine.collect_garbage()


def _definition(machine, revalidate):
    """The project's definition with every template asked to be made again."""
    text = (machine.project / "prewarm.yaml").read_text()
    lines = [line for line in text.splitlines() if "revalidate" not in line]
    return "\n".join(
        part
        for line in lines
        for part in (line, *((f'    revalidate: "{revalidate}"',) if "backend: local" in line else ()))
    )
