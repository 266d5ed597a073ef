"""Definitions, lock files and states that somebody hostile wrote: every one an error of ours, soon, and safe to print."""

import json
import subprocess
import sys

import pytest

from prewarm import lockfile
from prewarm.backends.base import BackendContext
from prewarm.backends.local import LocalBackend
from prewarm.definition import fields, load_project
from prewarm.document import Node, parse
from prewarm.errors import DefinitionError, LockFileError, PrewarmError, SessionStateError, TemplateNotFoundError
from prewarm.key import TemplateKey
from prewarm.render import Renderer
from prewarm.session import attach_session
from prewarm.values import TemplateRef

HEAD = "version: 1\nnamespace: x\nsandboxes:\n  a:\n    base: host\n"
KEY = "ab" * 32


@pytest.fixture
def load(tmp_path):
    def load(text):
        (tmp_path / "prewarm.yaml").write_text(text, encoding="utf-8")
        return load_project(tmp_path / "prewarm.yaml")

    return load


@pytest.mark.parametrize("text", ["[" * 200_000, "- " * 200_000, "{a: " * 200_000, "? " * 200_000, "x: " + "[" * 5000])
def test_nesting_without_end_is_an_error_and_not_the_end_of_the_process(tmp_path, text):
    (tmp_path / "prewarm.yaml").write_text(text)
    code = (
        "import sys, pathlib; from prewarm.definition import load_project; from prewarm.errors import DefinitionError\n"
        "try: load_project(pathlib.Path(sys.argv[1]))\nexcept DefinitionError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "prewarm.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "nested too deeply" in done.stdout or "not valid YAML" in done.stdout


def test_aliases_of_aliases_are_an_error(load):
    level = "x-0: &a0 [1,1,1,1,1,1,1,1,1]\n"
    level += "".join(f"x-{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    with pytest.raises(DefinitionError, match="aliases make more than"):
        load(HEAD + level)


@pytest.mark.parametrize(
    "number", ["9" * 10_000, "0x" + "f" * 10_000, "1:" + ":".join(["59"] * 3000), "1e400", "9" * 30]
)
@pytest.mark.parametrize("field", ["resources: {pids: %s}", "resources: {cpus: %s}", "resources: {memory: %s}",
                                   "resources: {memory: '%s'}", "idle_timeout: %s", "max_lifetime: '%sd'"])  # fmt: skip
def test_numbers_beyond_reckoning_are_errors(load, field, number):
    with pytest.raises(DefinitionError, match="yaml:6"):
        load(f"{HEAD}    session: {{{field % number}}}\n")


@pytest.mark.parametrize("read", [fields.size, fields.duration, fields.count, fields.cores])
@pytest.mark.parametrize(
    "value", ["9" * 400, "9" * 400 + "t", "9" * 400 + "d", 10**400, -(10**400), 1e308, float("nan"), "²"]
)
def test_what_an_application_says_is_bounded_too(read, value):
    with pytest.raises(ValueError, match="expected"):
        read(value)


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ a.__init__.__globals__ }}",
        "{{ a|attr('__class__') }}",
        "{{ '{0.__class__}'.format(a) }}",
        "{{ '%s'.__mod__ }}",
        "{{ a.format.__self__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ m.update({'x': 1}) }}",
        "{{ m.pop('k') }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ lipsum.__globals__ }}",
        "{{ cycler }}",
        "{{ range(10 ** 9) }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ " + "(" * 500 + "1" + ")" * 500 + " }}",
        "{{ " + "not " * 5000 + "1 }}",
        "{{ 1" + "+1" * 20_000 + " }}",
        "{{ 1 // 0 }}",
        "{{ m }}",
    ],
)
def test_a_template_that_wants_out_is_an_error(text):
    with pytest.raises(DefinitionError):
        Renderer().render(text, {"a": "b", "m": {"k": "v"}})


def test_a_template_that_takes_all_memory_is_an_error():
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "from prewarm.render import Renderer; from prewarm.errors import DefinitionError\n"
        "try: Renderer().render('{{ a.ljust(10**10) }}', {'a': 'b'})\nexcept DefinitionError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "more memory than there is" in done.stdout


# Names


@pytest.mark.parametrize("name", ["../x", "a/b", "-rf", "a\\nb", ".", "..", "A", "\\e[31m", "x" * 100, "a\\0", ""])
@pytest.mark.parametrize(
    "where",
    ['namespace: "%s"\nsandboxes: {a: {base: host}}', 'namespace: x\nsandboxes: {"%s": {base: host}}',
     'namespace: x\nsandboxes: {a: {base: host, user: "../%s"}}',
     'namespace: x\nsandboxes: {a: {base: host, matrix: {k: ["%s/"]}}}',
     'namespace: x\nsandboxes: {a: {base: host, build: {secrets: [{id: "../%s", env: X}]}}}'],
)  # fmt: skip
def test_names_that_could_be_paths_or_options_are_refused(load, where, name):
    with pytest.raises(DefinitionError):
        load(f"version: 1\n{where % name}\n")


@pytest.mark.parametrize("user", ["root:0;", "-x", "a\\nb", "$(id)", "0:0", "a b", "²", "x" * 40])
def test_users_that_are_none_are_refused(load, user):
    with pytest.raises(DefinitionError, match="user"):
        load(f'{HEAD}    user: "{user}"\n')


def run_cli(directory, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "prewarm", *arguments], cwd=directory, capture_output=True, check=False, timeout=60
    )


@pytest.mark.parametrize("as_json", [(), ("--json",)])
@pytest.mark.parametrize(
    "text",
    [
        HEAD + '    "\\e]0;owned\\a\\e[2J": 1\n',
        HEAD + '    user: "\\e[31m\\u202e\\u0085"\n',
        'version: 1\nnamespace: "\\e]8;;http://evil\\a"\nsandboxes: {}\n',
        HEAD + '    bootstrap: [{run: "{{ \\e[31m }}"}]\n',
        HEAD + '    extends: "\\e[2J"\n',
        HEAD + '    base: "\\e[2J"\n',
    ],
)
def test_nothing_that_is_printed_drives_the_terminal(tmp_path, text, as_json):
    (tmp_path / "prewarm.yaml").write_text(text)
    done = run_cli(tmp_path, "keys", *as_json)
    assert done.returncode == 2
    for said in (done.stdout, done.stderr):
        assert not [byte for byte in said if byte < 32 and byte != 10]
        assert "\u202e" not in said.decode()


# Lock files and states


def entry(**changes):
    found = {
        "name": "a", "platform": "linux/amd64", "status": "captured", "key": KEY, "user": "sandbox", "workdir": "/w",
        "ref": {"backend": "local", "format": "local/1", "value": {}}, "env": {},
        "session": {"network": "none", "idle_timeout_s": 1.0, "max_lifetime_s": 1.0, "options": {},
                    "resources": {"memory": None, "cpus": None, "pids": 1, "disk": None}},
    }  # fmt: skip
    for path, value in changes.items():
        *above, last = path.split("__")
        at = found
        for part in above:
            at = at[part]
        at[last] = value
    return found


def deep(levels):
    value = {}
    for _ in range(levels):
        value = {"x": [value]}
    return value


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../../x"},
        {"name": "a\nb"},
        {"key": "../" + KEY[3:]},
        {"key": KEY.upper()},
        {"user": "-x"},
        {"user": "a\nb"},
        {"workdir": "w"},
        {"workdir": "/\0"},
        {"env": {"A=B": "x"}},
        {"env": {"A": "\0"}},
        {"env": {"A": "\ud800"}},
        {"env": {"A": 1}},
        {"env": [["A", "x"]]},
        {"session__resources__memory": 10**400},
        {"session__resources__memory": -1},
        {"session__resources__memory": True},
        {"session__resources__cpus": 10**400},
        {"session__idle_timeout_s": 10**400},
        {"session__idle_timeout_s": 0},
        {"session__network": "host"},
        {"session__options": deep(150)},
        {"ref__value": deep(150)},
        {"ref__backend": "../../evil"},
        {"ref": None},
    ],
)
def test_a_hostile_entry_of_a_lock_file_is_an_error(tmp_path, changes):
    path = tmp_path / "prewarm.lock"
    path.write_text(json.dumps({"schema": lockfile.LOCK_SCHEMA, "namespace": "x", "templates": [entry(**changes)]}))
    with pytest.raises(LockFileError) as caught:
        lockfile.read(path)
    assert caught.value.hint


def test_the_entry_that_the_hostile_ones_differ_from_is_read(tmp_path):
    path = tmp_path / "prewarm.lock"
    path.write_text(json.dumps({"schema": lockfile.LOCK_SCHEMA, "namespace": "x", "templates": [entry()]}))
    assert lockfile.read(path).entries[0].name == "a"


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        b"9" * 10_000,
        b"NaN",
        b'{"a":1,"a":2}',
        b"\xff\xfe",
        b"",
        b"null",
        b'"\\ud800"',
    ],
)
def test_hostile_json_is_a_value_error(data):
    with pytest.raises(ValueError):
        parse(data).get("schema").text()


@pytest.mark.parametrize(
    "value",
    [
        {"namespace": "../../../etc", "key": KEY, "layers": [KEY]},
        {"namespace": "x", "key": "../../x", "layers": [KEY]},
        {"namespace": "x", "key": KEY, "layers": ["../../../etc/passwd"]},
        {"namespace": "x", "key": KEY, "layers": [KEY + "\n"]},
        {"namespace": "x", "key": KEY, "layers": KEY},
        {"namespace": "..", "key": KEY, "layers": []},
        {"namespace": ["x"], "key": KEY, "layers": []},
        {},
    ],
)
def test_a_hostile_ref_finds_nothing_and_removes_nothing(tmp_path, value):
    backend = LocalBackend(BackendContext(home=tmp_path, environment={}))
    ref = TemplateRef(backend="local", format="local/1", value=value)
    assert backend.probe([(TemplateKey(KEY), ref)])[0].presence.value == "missing"
    backend.remove(ref)
    with pytest.raises(TemplateNotFoundError):
        backend._templates.by_ref(ref)


@pytest.mark.parametrize(
    "identity", ["../../etc", "0" * 16 + "-" + "0" * 15 + "/", "", None, 7, ["x"], "a" * 33 + "\n"]
)
def test_a_hostile_state_is_no_session(tmp_path, identity):
    backend = LocalBackend(BackendContext(home=tmp_path, environment={}))
    with pytest.raises(SessionStateError):
        backend.attach({"schema": "prewarm.local-session/1", "id": identity})


@pytest.mark.parametrize("changes", [{"key": "../x"}, {"name": "../x"}, {"backend": "../../x"}, {"env": {"A": "\ud800"}},
                                     {"handle": deep(200)}, {"handle": []}, {"user": 1}])  # fmt: skip
def test_a_hostile_session_state_is_an_error_of_ours(tmp_path, changes):
    state = {"schema": "prewarm.session/1", "template_key": KEY, "backend": "local", "namespace": "x", "name": "a",
             "key": "k", "user": "u", "workdir": "/", "env": {}, "handle": {}} | changes  # fmt: skip
    with pytest.raises(PrewarmError):
        attach_session(state, home=tmp_path, environment={})


def test_depth_is_bounded_where_it_is_handed_on():
    assert Node(deep(40)).object()
    with pytest.raises(ValueError, match="at most 100 deep"):
        Node(deep(60)).object()
