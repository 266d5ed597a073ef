"""The command line as a whole: its table, its help, its errors and exit codes, and the commands that need no template."""

import ast
import importlib
import json
import os
import signal
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from prewarm import errors
from prewarm.cli import _group, _options, _output, _run, _starters, main
from prewarm.failure import Failure
from prewarm.home import Home
from prewarm.key import TemplateKey
from prewarm.session.ledger import Lease, Ledger
from prewarm.values import TemplateRef

PREWARM = [sys.executable, "-m", "prewarm"]
CLI = Path(_run.__file__).parent


@pytest.fixture(autouse=True)
def _signals():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("PREWARM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = main(list(arguments))
        return code, *capsys.readouterr()

    return run


# the table


def test_every_command_file_stands_in_the_table_and_the_other_way_round():
    files = {path.stem for path in CLI.glob("*.py") if not path.stem.startswith("_")}
    assert files == set(_group.COMMANDS)


@pytest.mark.parametrize("name", _group.COMMANDS)
def test_every_command_has_help_with_an_example_that_names_it(name, run):
    code, out, err = run(name, "--help")
    assert (code, err) == (0, "")
    assert "Examples:" in out
    assert f"prewarm {name}" in out.split("Examples:")[1]


@pytest.mark.parametrize("name", _group.COMMANDS)
def test_examples_use_only_options_that_exist(name):
    command = importlib.import_module(f"prewarm.cli.{name}").COMMAND
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for line in command.epilog.splitlines():
        words = line.split("--", 1)[0].split() if " -- " in line else line.split()
        if words[:2] == ["prewarm", name]:
            used = {word for word in words if word.startswith("-") and word != "-r"}
            assert used <= known | {"-c"}, (line, used - known)


def test_help_lists_every_command_without_importing_one():
    code = "import sys; from prewarm.cli import main; main(['--help']); print([m for m in sys.modules if m.startswith('prewarm.cli.') and '._' not in m])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "[]"
    assert all(f"  {name} " in shown.stdout for name in _group.COMMANDS)


@pytest.mark.parametrize("module", ["rich", "pydantic", "yaml", "jinja2", "docker", "subprocess"])
def test_starting_up_imports_nothing_heavy(module):
    code = f"import sys; from prewarm.cli import main; main(['version']); sys.exit({module!r} in sys.modules)"
    allowed = module == "subprocess"  # prewarm.process is what reads the environment.
    shown = subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False)
    assert shown.returncode == allowed


def test_only_the_printer_prints():
    for path in CLI.glob("*.py"):
        tree = ast.parse(path.read_text())
        names = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert "print" not in names, path
        if path.stem != "_output":
            assert "click.echo" not in path.read_text(), path


# errors and exit codes


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["biuld"], "no command 'biuld'; did you mean 'build'?", "'prewarm --help' shows what it takes"),
        (["zzz"], "no command 'zzz'", "'prewarm --help' shows what it takes"),
        (["init", "--nope"], "no such option", "'prewarm init --help' shows what it takes"),
        (["build", "--set", "x"], "invalid value for --set: 'x' is not NAME=VALUE", "'prewarm build --help'"),
        (
            ["build", "--jobs", "0"],
            "invalid value for '-j' / '--jobs': 0 is not in the range x>=1",
            "prewarm build --help",
        ),
        (["build", "--only"], "option '--only' requires an argument", "'prewarm build --help' shows what it takes"),
        (["cache"], "missing argument '{save|restore|key}'. Choose from: save, restore, key", "'prewarm cache --help'"),
        (["open"], "missing argument 'NAME'", "'prewarm open --help' shows what it takes"),
        (
            ["completion", "tcsh"],
            "invalid value for '{bash|zsh|fish}': 'tcsh' is not one of",
            "prewarm completion --help",
        ),
    ],
)
def test_a_command_line_that_cannot_be_read_exits_with_2(run, arguments, error, hint):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.splitlines()[0].startswith(f"error: {error}")
    assert hint in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("hint: ")


MORE = {
    errors.StepFailedError: {"step": 1, "text": "x", "reason": "exited 3", "command_exit_code": 3},
    errors.CommandFailedError: {"command_exit_code": 3, "stdout": b"", "stderr": b""},
}


@pytest.mark.parametrize("leaf", [leaf for leaf in vars(errors).values() if isinstance(leaf, type)])
def test_every_error_of_the_tree_ends_with_its_own_exit_code(run, monkeypatch, leaf):
    arguments = MORE.get(leaf, {})

    def fail(*_, **__):
        raise leaf("what failed", hint="the way out", **arguments)

    monkeypatch.setattr(_group, "run", fail)
    code, out, err = run("build")
    assert (code, out) == (leaf.exit_code, "")
    assert err.splitlines()[0] == "error: what failed"
    assert err.splitlines()[-1] == "hint: the way out"


def test_with_json_an_error_is_one_object_on_stdout(run):
    code, out, err = run("check", "--json")
    assert code == 7
    answer = json.loads(out)
    assert answer["schema"] == "prewarm.error/1"
    assert answer["error"]["class"] == "LockFileError"
    assert answer["error"]["exit_code"] == 7
    assert err.startswith("error: ")


def test_with_json_a_line_that_cannot_be_read_is_one_object_as_well(run):
    code, out, _ = run("build", "--nope", "--json")
    assert code == 2
    assert json.loads(out)["error"]["message"].startswith("no such option")


def test_json_after_the_dashes_belongs_to_the_command(run):
    code, out, _ = run("open", "analyst", "--", "jq", "--json")
    assert (code, out) == (7, "")


def test_a_failed_step_shows_number_text_exit_code_and_forty_last_lines(capsys):
    tail = tuple(f"line {n}\x1b[2J" for n in range(60))
    _output.failure(
        Failure.of(
            errors.StepFailedError(
                "capture of 'x' failed",
                step=2,
                text="set -e\nmake",
                reason="exited 100",
                command_exit_code=100,
                tail=tail,
                hint="look",
            ),
            name="x",
            redact=str,
        )
    )
    lines = capsys.readouterr().err.splitlines()
    assert lines[:4] == [
        "error: capture of 'x' failed",
        "  step 2: set -e",
        "    make",
        "  exit code 100; it wrote last:",
    ]
    assert lines[4:-1] == [f"    | line {n}" for n in range(20, 60)]
    assert lines[-1] == "hint: look"


def test_a_bug_says_where_its_traceback_is(run, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(_group, "run", fail)
    code, _, err = run("build")
    assert code == 1
    assert err.startswith("error: this is a bug in prewarm: RuntimeError: unforeseen\n")
    path = Path(err.split("which is in ")[1].strip())
    assert "RuntimeError: unforeseen" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.unlink()


@pytest.mark.parametrize("error", [KeyboardInterrupt, click.Abort])
def test_an_interrupt_exits_with_130(run, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(_group, "run", fail)
    code, _, err = run("build")
    assert code == 130
    assert err == "error: interrupted\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_that_mean_stop_exit_with_130(number):
    code = (
        "import os, sys; from prewarm.cli import _group, main\n"
        f"_group.run = lambda *_, **__: os.kill(os.getpid(), {int(number)})\n"
        "sys.exit(main(['build']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")


def test_a_hangup_that_nohup_ignores_stays_ignored():
    code = (
        "import os, signal, sys; from prewarm.cli import _group, main\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "_group.run = lambda *_, **__: os.kill(os.getpid(), signal.SIGHUP) or 0\n"
        "sys.exit(main(['version']))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("arguments", [["schema"], ["--help"], ["completion", "bash"]])
def test_a_reader_that_goes_away_ends_the_command_quietly(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*PREWARM, *arguments], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 141


@pytest.mark.parametrize("arguments", [("version",), ("version", "--json"), ("schema",)])
def test_output_that_cannot_be_written_is_told_and_is_no_bug(arguments):
    with open("/dev/full", "w") as full:
        done = subprocess.run([*PREWARM, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "error: cannot write the output: No space left on device\nhint: send it somewhere else, or free some space\n"
    )


def test_a_character_that_stdout_cannot_encode_ends_nothing():
    done = subprocess.run(
        [*PREWARM, "grüße\udcff"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: no command 'gr\\xfc\\xdfe")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_end_nothing(closed, tmp_path):
    shell = f"{sys.executable} -m prewarm build {closed}"
    (tmp_path / "prewarm.yaml").write_text(
        "version: 1\nnamespace: n\nsandboxes:\n  a: {base: debian, backend: memory}\n"
    )
    environment = {**os.environ, "PREWARM_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        ["sh", "-c", shell], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "prewarm.lock").is_file()


# init


def test_init_copies_a_definition_and_says_the_next_two_commands(run, tmp_path):
    code, out, err = run("init", "--template", "data-science", "My Bot")
    assert (code, out) == (0, "")
    assert err.splitlines()[-2:] == [
        "  cd 'My Bot' && prewarm build",
        "  prewarm open analyst -- python summarise.py samples/orders.csv",
    ]
    definition = (tmp_path / "My Bot" / "prewarm.yaml").read_text()
    assert "\nnamespace: my-bot\n" in definition
    assert (tmp_path / "My Bot" / "hooks" / "setup.py").is_file()


def test_init_writes_into_this_directory_by_default(run, tmp_path):
    code, _, err = run("init")
    assert code == 0
    assert (tmp_path / "prewarm.yaml").is_file()
    assert "  prewarm build" in err.splitlines()


def test_init_never_overwrites_and_writes_nothing_then(run, tmp_path):
    (tmp_path / "requirements.txt").write_text("mine\n")
    code, _, err = run("init", "--template", "python")
    assert code == 2
    assert "requirements.txt already there, with other content" in err
    assert "hint: choose another directory, or overwrite with --force" in err
    assert [path.name for path in tmp_path.iterdir()] == ["requirements.txt"]
    assert (tmp_path / "requirements.txt").read_text() == "mine\n"


def test_init_with_force_overwrites(run, tmp_path):
    (tmp_path / "requirements.txt").write_text("mine\n")
    assert run("init", "--force")[0] == 0
    assert (tmp_path / "requirements.txt").read_text() != "mine\n"


def test_init_twice_is_fine(run):
    assert [run("init", "there")[0] for _ in range(2)] == [0, 0]


def test_init_lists_what_there_is(run):
    assert run("init", "--list")[1].split() == ["data-science", "node", "python"]


def test_init_of_an_unknown_template_names_those_there_are(run):
    code, _, err = run("init", "--template", "ruby")
    assert code == 2
    assert "hint: there are: data-science, node, python" in err


def test_init_where_nothing_can_be_written_says_so(run, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = run("init", "file/below")
    assert code == 2
    assert "file/below" in err


@pytest.mark.parametrize(
    ("name", "namespace"),
    [("My Bot", "my-bot"), ("café", "caf"), ("---", "prewarm"), ("x" * 80, "x" * 40), ("a.b_c", "a-b-c")],
)
def test_a_directory_name_becomes_a_namespace(tmp_path, name, namespace):
    assert _starters.namespace_for(tmp_path / name) == namespace


# the rest


def test_version_is_the_one_of_the_project(run):
    project = Path(__file__).parents[2] / "pyproject.toml"
    version = tomllib.loads(project.read_text())["project"]["version"]
    assert run("version") == (0, f"prewarm {version}\n", "")
    assert run("--version") == (0, f"prewarm {version}\n", "")
    assert json.loads(run("version", "--json")[1])["version"] == version


def test_schema_is_one_json_object(run):
    code, out, _ = run("schema")
    assert code == 0
    assert json.loads(out)["title"] == "prewarm.yaml"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_prewarm(run, shell):
    code, out, _ = run("completion", shell)
    assert code == 0
    assert "_PREWARM_COMPLETE" in out


def _complete(words, cwd, home):
    done = subprocess.run(
        [Path(sys.executable).with_name("prewarm")],
        env={
            **os.environ,
            "_PREWARM_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
            "PREWARM_HOME": str(home),
        },
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    )
    return {line.split(",", 1)[1] for line in done.stdout.splitlines() if line}


def test_completion_knows_commands_sandboxes_backends_and_starters(tmp_path):
    (tmp_path / "prewarm.yaml").write_text(
        "version: 1\nnamespace: n\nsandboxes:\n  analyst: {base: host}\n  agent: {base: host}\n  base: {base: host}\n"
    )
    home = tmp_path / "home"
    assert _complete("prewarm pl", tmp_path, home) == {"plan"}
    assert _complete("prewarm open a", tmp_path, home) == {"analyst", "agent"}
    assert _complete("prewarm build --only base,an", tmp_path, home) == {"base,analyst"}
    assert "local" in _complete("prewarm build --backend ", tmp_path, home)
    assert _complete("prewarm init --template d", tmp_path, home) == {"data-science"}
    other = tmp_path / "other"
    other.mkdir()
    (other / "x.yaml").write_text("version: 1\nnamespace: n\nsandboxes:\n  elsewhere: {base: host}\n")
    assert _complete("prewarm open -f other/x.yaml e", tmp_path, home) == {"elsewhere"}


def test_completion_knows_the_sessions_that_were_opened_from_here(tmp_path):
    home = tmp_path / "home"
    assert _complete("prewarm exec u", tmp_path, home) == set()
    for number, key in enumerate(("user-1", "user-2", "other")):
        Ledger(Home(home)).record(
            Lease(
                backend="memory",
                id=str(number),
                namespace="n",
                name="analyst",
                session_key=key,
                template_key=TemplateKey("0" * 64),
                ref=TemplateRef(backend="memory", format="memory/1", value={}),
                state="{}",
                created=0.0,
                used=0.0,
                expires=0.0,
            )
        )
    assert _complete("prewarm exec u", tmp_path, home) == {"user-1", "user-2"}
    assert _complete("prewarm sessions --remove o", tmp_path, home) == {"other"}


def test_completion_of_a_broken_definition_offers_nothing_and_says_nothing(tmp_path):
    (tmp_path / "prewarm.yaml").write_text("version: [")
    assert _complete("prewarm open a", tmp_path, tmp_path / "home") == set()


def test_only_takes_names_again_and_with_commas():
    assert _options.names(["a,b", "c", "d e", ""]) == ("a", "b", "c", "d", "e")


def test_tables_are_aligned_and_clean(capsys):
    _output.table(("NAME", "SIZE"), [("a\x1b[31m", "1"), ("longer", "22")])
    assert capsys.readouterr().out == "NAME    SIZE\na       1\nlonger  22\n"


@pytest.fixture
def alone(tmp_path):
    """Runs a command in a process of its own: the docker SDK leaves a socket open where no engine answers."""

    def run(*arguments):
        environment = {**os.environ, "PREWARM_HOME": str(tmp_path / "home")}
        done = subprocess.run([*PREWARM, *arguments], env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    return run


def test_doctor_names_every_installed_backend(alone):
    code, out, _ = alone("doctor", "--json")
    report = json.loads(out)
    assert report["schema"] == "prewarm.doctor/1"
    assert {backend["name"] for backend in report["backends"]} >= {"local", "docker", "memory"}
    working = [one for one in report["backends"] if one["ok"] and one["hosts_sessions"]]
    assert code == (0 if working else 4)


def test_doctor_of_an_unknown_backend_is_an_error(alone):
    code, _, err = alone("doctor", "--backend", "locl")
    assert code == 4
    assert "did you mean 'local'" in err


def test_doctor_says_when_the_state_directory_cannot_be_written(alone, tmp_path):
    (tmp_path / "file").write_text("")
    code, out, _ = alone("doctor", "--home", str(tmp_path / "file" / "home"))
    assert code == 4
    assert "cannot be written" in out
    assert "set PREWARM_HOME to a directory that this user can write" in out


def test_a_key_that_cannot_be_computed_is_told_with_its_sandbox(run, tmp_path):
    text = "namespace: n\nsandboxes:\n  good: {base: host, backend: memory}\n  bad: {base: host, backend: memory, inputs: [gone]}\n"
    (tmp_path / "prewarm.yaml").write_text(text)

    code, out, err = run("keys")

    assert code == 3
    assert out.endswith("  good\n")
    assert "error: sandbox 'bad': cannot read 'gone': no such file or directory" in err


def test_a_hook_that_goes_elsewhere_takes_no_file_of_the_command_with_it(run, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "hook.py").write_text("import os\n\n\ndef go(sandbox):\n    os.chdir('elsewhere')\n")
    text = "namespace: n\nsandboxes:\n  a: {base: host, backend: memory, bootstrap: [{python: 'hook:go'}]}\n"
    (tmp_path / "prewarm.yaml").write_text(text)

    code, _, err = run("build", "-f", "prewarm.yaml", "--home", "state", "--summary", "summary.md")

    assert (code, "prepared" in (tmp_path / "summary.md").read_text()) == (0, True), err
    assert (tmp_path / "prewarm.lock").exists()
    assert not any((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("arguments", [["plan"], ["open", "a", "--", "true"], ["init", "x"]])
def test_a_directory_that_was_removed_is_told(run, tmp_path, monkeypatch, arguments):
    removed = tmp_path / "removed"
    removed.mkdir()
    monkeypatch.chdir(removed)
    removed.rmdir()

    code, out, err = run(*arguments)

    assert (code, out) == (2, "")
    assert err.startswith("error: the current directory was removed\nhint: go to one that is there")
