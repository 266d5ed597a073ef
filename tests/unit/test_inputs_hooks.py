from __future__ import annotations

import pickle
import sys
import textwrap
import threading

import pytest

from prewarm.errors import (
    DefinitionError,
    InterruptedBuildError,
    SessionFileNotFoundError,
    StepFailedError,
    UnkeyableInputError,
)
from prewarm.inputs.closure import check_function, find_closure
from prewarm.inputs.hooks import run_hook


def write(directory, files):
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return directory


def names(directory, module) -> list[str]:
    return [fact.path.decode() for fact in find_closure(directory, module).facts()]


def call(directory, module, function="warm", sandbox=None):
    run_hook(find_closure(directory, module), function, sandbox, step=3, text=f"python {module}:{function}")


class Sandbox:
    """Hears what a hook says."""

    def __init__(self):
        self.said = []

    def write(self, path, data, *, mode=0o644):
        self.said.append(data)

    def run(self, command, **how):
        raise StepFailedError(
            "command of hook exited 3",
            step=9,
            text="x",
            reason="exited 3",
            command_exit_code=3,
            tail=("last",),
            hint="try",
        )

    def read(self, path):
        raise SessionFileNotFoundError("'/x' does not exist", hint="write it first")


# the closure


def test_every_way_to_import_a_project_module_counts(tmp_path):
    write(
        tmp_path,
        {
            "hooks/__init__.py": "",
            "hooks/main.py": """
                import hooks.absolute
                import other
                from . import sibling
                from .below import value
                from .package import *
                from hooks import attribute, from_package
                from space import inner
                import space.second.third as alias
                from typing import TYPE_CHECKING
                if TYPE_CHECKING:
                    import typed
                try:
                    import optional
                    import not_there
                except ImportError:
                    import fallback
                def warm(sandbox):
                    import lazy
                    class Inner:
                        from . import deep
            """,
            "hooks/absolute.py": "import chained",
            "hooks/sibling.py": "",
            "hooks/below.py": "value = 1",
            "hooks/package/__init__.py": "__all__ = ['one', 'two']",
            "hooks/package/one.py": "from .. import up",
            "hooks/package/two.py": "",
            "hooks/package/three.py": "",
            "hooks/up.py": "",
            "hooks/from_package.py": "",
            "hooks/deep.py": "",
            "hooks/unused.py": "",
            "space/inner.py": "",
            "space/second/third.py": "",
            **{f"{name}.py": "" for name in ("other", "typed", "optional", "fallback", "lazy", "chained", "unused")},
        },
    )

    assert names(tmp_path, "hooks.main") == sorted(
        [
            "chained.py",
            "fallback.py",
            "hooks/__init__.py",
            "hooks/absolute.py",
            "hooks/below.py",
            "hooks/deep.py",
            "hooks/from_package.py",
            "hooks/main.py",
            "hooks/package/__init__.py",
            "hooks/package/one.py",
            "hooks/package/two.py",
            "hooks/sibling.py",
            "hooks/up.py",
            "lazy.py",
            "optional.py",
            "other.py",
            "space/inner.py",
            "space/second/third.py",
            "typed.py",
        ]
    )


def test_circles_of_imports_end(tmp_path):
    write(tmp_path, {"a.py": "import b", "b.py": "import c", "c.py": "import a"})

    assert names(tmp_path, "a") == ["a.py", "b.py", "c.py"]


def test_the_standard_library_and_installed_packages_are_not_the_projects(tmp_path):
    write(tmp_path, {"m.py": "import json, yaml, docker.models", "json.py": "", "docker/Dockerfile": ""})

    assert names(tmp_path, "m") == ["m.py"]


def test_a_module_that_appears_later_counts_then(tmp_path):
    write(tmp_path, {"m.py": "try:\n  import extra\nexcept ImportError:\n  extra = None"})
    before = find_closure(tmp_path, "m").digest()

    write(tmp_path, {"extra.py": ""})

    assert find_closure(tmp_path, "m").digest() != before


def test_a_module_that_is_not_there_is_told_with_where_it_was_looked_for(tmp_path):
    (tmp_path / "hooks").mkdir()

    with pytest.raises(DefinitionError, match=r"no module 'hooks.setup' in the project: looked for hooks/setup.py"):
        find_closure(tmp_path, "hooks.setup")
    with pytest.raises(DefinitionError, match="no module 'hooks'"):
        find_closure(tmp_path, "hooks")


def test_a_module_that_is_not_python_is_told_with_its_line(tmp_path):
    write(tmp_path, {"m.py": "import n\n", "n.py": "x = 1\ndef (:\n"})

    with pytest.raises(UnkeyableInputError, match=r"^n.py:2: not valid Python: "):
        find_closure(tmp_path, "m")


def test_a_module_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "m.py").mkdir()

    with pytest.raises(UnkeyableInputError, match=r"cannot read the hook's module m.py: Is a directory"):
        find_closure(tmp_path, "m")


@pytest.mark.parametrize(
    "text",
    [
        "def warm(s): ...",
        "warm = print",
        "from x import y as warm",
        "if 1:\n  def warm(s): ...",
        "from x import *",
        "try:\n  pass\nexcept E:\n  warm = 1",
        "class warm: ...",
    ],
)
def test_a_function_bound_in_any_way_is_found(tmp_path, text):
    write(tmp_path, {"m.py": text})

    check_function(find_closure(tmp_path, "m").modules["m"], "warm")


def test_a_misspelt_function_is_told_with_the_nearest_one(tmp_path):
    write(tmp_path, {"m.py": "def warm(sandbox): ..."})

    with pytest.raises(DefinitionError, match=r"^m.py has no function 'wram'; did you mean 'warm'\?$"):
        check_function(find_closure(tmp_path, "m").modules["m"], "wram")


def test_a_coroutine_function_is_refused(tmp_path):
    write(tmp_path, {"m.py": "async def warm(sandbox): ...", "n.py": "import m\ndef warm(s): return m.warm(s)"})

    with pytest.raises(DefinitionError, match="hook 'warm' is 'async def'"):
        check_function(find_closure(tmp_path, "m").modules["m"], "warm")
    with pytest.raises(StepFailedError, match="gave a coroutine that nobody waits for"):
        call(tmp_path, "n")


# running it


def test_a_hook_is_called_with_the_sandbox_and_its_modules(tmp_path):
    write(
        tmp_path,
        {
            "hooks/main.py": """
                from __future__ import annotations
                import hooks.absolute
                import space.inner as alias
                from . import sibling
                from .package import *
                from dataclasses import dataclass
                @dataclass
                class Point:
                    x: int = 1
                def warm(sandbox):
                    import lazy
                    from .late import late
                    said = [hooks.absolute.V, alias.V, sibling.V, one.V, lazy.V, late, Point()]
                    sandbox.write("/x", said)
            """,
            "hooks/absolute.py": "V = 'absolute'",
            "hooks/sibling.py": "V = 'sibling'",
            "hooks/late.py": "late = 'late'",
            "hooks/package/__init__.py": "__all__ = ['one']",
            "hooks/package/one.py": "V = 'one'",
            "space/inner.py": "V = 'inner'",
            "lazy.py": "V = 'lazy'",
        },
    )
    sandbox = Sandbox()

    call(tmp_path, "hooks.main", sandbox=sandbox)

    assert sandbox.said[0][:-1] == ["absolute", "inner", "sibling", "one", "lazy", "late"]


def test_pickle_finds_the_hooks_classes(tmp_path):
    write(
        tmp_path,
        {
            "m.py": "import pickle\nclass A: pass\ndef warm(s): s.write('', type(pickle.loads(pickle.dumps(A()))) is A)\n"
        },
    )
    sandbox = Sandbox()

    call(tmp_path, "m", sandbox=sandbox)

    assert sandbox.said == [True]
    assert pickle  # The same pickle as this process's.


def test_what_runs_is_what_was_keyed(tmp_path):
    write(tmp_path, {"m.py": "import n\ndef warm(s): s.write('', n.V)", "n.py": "V = 1"})
    closure = find_closure(tmp_path, "m")
    sandbox = Sandbox()
    write(tmp_path, {"n.py": "V = 2"})

    run_hook(closure, "warm", sandbox, step=1, text="")

    assert sandbox.said == [1]


def test_every_call_makes_its_modules_anew(tmp_path):
    write(tmp_path, {"m.py": "COUNT = []\ndef warm(s):\n  COUNT.append(1)\n  s.write('', len(COUNT))"})
    sandbox = Sandbox()

    call(tmp_path, "m", sandbox=sandbox)
    call(tmp_path, "m", sandbox=sandbox)

    assert sandbox.said == [1, 1]


def test_two_projects_with_modules_of_one_name_do_not_mix_also_in_threads(tmp_path):
    for name in ("one", "two"):
        write(
            tmp_path / name,
            {
                "hooks/a.py": "from hooks.b import V\ndef warm(s):\n  import hooks.b\n  s.write('', (V, hooks.b.V))",
                "hooks/b.py": f"V = {name!r}",
            },
        )
    said = {"one": Sandbox(), "two": Sandbox()}
    threads = [
        threading.Thread(target=call, args=(tmp_path / name, "hooks.a"), kwargs={"sandbox": said[name]})
        for name in ("one", "two") * 10
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert said["one"].said == [("one", "one")] * 10
    assert said["two"].said == [("two", "two")] * 10


def test_nothing_is_left_in_the_process_or_on_disk(tmp_path):
    write(tmp_path, {"hooks/a.py": "from . import b\ndef warm(s): ...", "hooks/b.py": ""})
    before, path = set(sys.modules), list(sys.path)

    call(tmp_path, "hooks.a")

    assert {name for name in set(sys.modules) - before if "hook" in name} == set()
    assert sys.path == path
    assert list(tmp_path.rglob("__pycache__")) == []


def test_a_module_that_is_not_in_the_key_cannot_be_imported(tmp_path):
    write(
        tmp_path,
        {"hooks/__init__.py": "", "hooks/a.py": "def warm(s):\n  __import__('hooks.' + 'b')", "hooks/b.py": ""},
    )

    with pytest.raises(StepFailedError, match=r"raised ModuleNotFoundError at hooks/a.py:2: No module named 'hooks.b'"):
        call(tmp_path, "hooks.a")


def test_what_a_hook_prints_is_talk(tmp_path, capsys):
    write(tmp_path, {"m.py": "import sys\ndef warm(s):\n  print('hello')\n  print('data', file=sys.stdout)"})

    call(tmp_path, "m")

    assert capsys.readouterr() == ("data\n", "hello\n")


# what goes wrong


def failure(directory, module="m", sandbox=None) -> StepFailedError:
    with pytest.raises(StepFailedError) as caught:
        call(directory, module, sandbox=sandbox)
    return caught.value


def test_an_exception_is_told_with_the_hooks_own_file_and_line(tmp_path):
    write(
        tmp_path,
        {"m.py": "import n, json\ndef warm(s):\n  n.f()", "n.py": "import json\ndef f():\n\n  json.loads('{')"},
    )

    error = failure(tmp_path)

    assert error.reason.startswith("raised JSONDecodeError at n.py:4: Expecting property name")
    assert error.message.startswith("hook 'm:warm' raised JSONDecodeError at n.py:4: ")
    assert (error.step, error.text, error.command_exit_code, error.exit_code) == (3, "python m:warm", None, 5)
    assert error.tail[-1].startswith("json.decoder.JSONDecodeError: ")
    assert error.__cause__ is not None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = 1\nraise KeyError('a')\ndef warm(s): ...", "raised KeyError at m.py:2: 'a'"),
        ("import sys\ndef warm(s): sys.exit(0)", "raised SystemExit at m.py:2: 0"),
        ("def warm(s): raise ValueError", "raised ValueError at m.py:1: no message"),
        ("def warm(): ...", "raised TypeError at m.py: warm() takes 0 positional arguments but 1 was given"),
        ("from not_there import *", "raised ModuleNotFoundError at m.py:1: No module named 'not_there'"),
        ("from . import x", "raised ImportError at m.py:1: attempted relative import beyond top-level package"),
        ("import os.nope", "raised ModuleNotFoundError at m.py:1: No module named 'os.nope'; 'os' is not a package"),
        ("from os import nope\n", "raised ImportError at m.py:1: cannot import name 'nope' from 'os'"),
    ],
)
def test_whatever_a_hook_does_wrong_fails_its_step(tmp_path, text, reason):
    write(tmp_path, {"m.py": text})

    assert failure(tmp_path).reason.startswith(reason)


def test_a_failed_command_keeps_its_exit_code_and_last_lines(tmp_path):
    write(tmp_path, {"m.py": "def warm(s):\n  s.run('x')"})

    error = failure(tmp_path, sandbox=Sandbox())

    assert error.reason == "failed at m.py:2: command of hook exited 3"
    assert (error.step, error.command_exit_code, error.tail, error.hint) == (3, 3, ("last",), "try")


def test_an_error_of_the_session_keeps_its_hint(tmp_path):
    write(tmp_path, {"m.py": "def warm(s):\n  s.read('/x')"})

    error = failure(tmp_path, sandbox=Sandbox())

    assert error.reason == "raised SessionFileNotFoundError at m.py:2: '/x' does not exist"
    assert error.hint == "write it first"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, InterruptedBuildError])
def test_a_stopped_run_stops(tmp_path, stop):
    write(tmp_path, {"m.py": "def warm(s):\n  s.stop()"})
    sandbox = Sandbox()

    def raise_it():
        raise stop("stopped")

    sandbox.stop = raise_it
    with pytest.raises(stop):
        call(tmp_path, "m", sandbox=sandbox)
