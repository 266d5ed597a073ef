"""What an exec is given to run: text as it is, other bytes through the shell, exit codes as a shell tells them."""

import os
import subprocess

from hypothesis import given
from hypothesis import strategies as st

from prewarm.backends.docker.launching import is_text, launch

PRINT = ("/bin/sh", "-c", "printf '%s\\0' \"$@\"", "print")


def written(argv, env, cwd="/"):
    """Give what the command writes, run by this machine's shell as the engine would run it in a session's."""
    launched, variables = launch(argv, env, cwd)
    assert all(is_text(one) for one in (*launched, *variables.values()))
    return subprocess.run(launched, env={"PATH": "/usr/bin:/bin", **variables}, capture_output=True, check=False)


def test_text_is_sent_as_it_is():
    argv, env = launch((*PRINT, "naïve"), {"A": "b"}, "/")

    assert argv[-1] == "naïve"
    assert env == {"A": "b"}


@given(st.lists(st.binary(max_size=40).filter(lambda data: b"\0" not in data), max_size=4))
def test_any_bytes_arrive_as_arguments(arguments):
    outcome = written((*PRINT, *map(os.fsdecode, arguments)), {})

    # printf without an argument writes its format once.
    assert outcome.stdout == (b"".join(one + b"\0" for one in arguments) or b"\0")


def test_bytes_that_are_no_text_arrive_in_variables():
    outcome = written(("/bin/sh", "-c", 'printf %s "$HOW"'), {"HOW": os.fsdecode(b"a\xff\n\n")})

    assert outcome.stdout == b"a\xff\n\n"


def test_an_unknown_command_is_127_and_one_that_cannot_run_126():
    assert written(("nonesuch",), {}).returncode == 127
    assert written(("/etc/passwd",), {}).returncode == 126


def test_a_directory_whose_name_is_no_text_is_where_it_starts(tmp_path):
    name = os.path.join(tmp_path, os.fsdecode(b"n\xff"))
    os.mkdir(name)

    assert written(("pwd",), {}, name).stdout == os.fsencode(name) + b"\n"
