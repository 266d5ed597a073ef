from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prewarm.definition import define, project
from prewarm.errors import DefinitionError, UnkeyableInputError
from prewarm.inputs import EntryKind, FileDigests, resolve
from prewarm.inputs.trees import Tree
from prewarm.key import TemplateKey, diff
from prewarm.request import HookStep, ResolvedBase, RunStep, ScriptStep

BASE = ResolvedBase(digest=f"sha256:{'0' * 64}", description="a base")


def make(directory: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return directory


def resolved(directory: Path, *, digests: FileDigests | None = None, base=BASE, parent=None, namespace="acme", **words):
    said = {"base": "host"} if "extends" not in words else {}
    definition = define("analyst", **(said | words))
    others = [define("base", base="host")] if "extends" in words else []
    whole = project(namespace, directory, [definition, *others])
    return resolve(
        whole.definitions[0].for_backend("local"),
        project=whole,
        backend_name="local",
        capture_format="1",
        base=base,
        parent_key=parent,
        platform="linux/amd64",
        digests=digests or FileDigests(None),
    )


def seeded(directory: Path, *seed, **words):
    return resolved(directory, seed=list(seed) or [{"source": "data", "target": "/workspace"}], **words)


def shown(entries) -> list[str]:
    return [entry.target.decode("utf-8", "backslashreplace") for entry in entries]


def found(directory: Path, source: str, **how) -> list[str]:
    return shown(sorted(Tree(directory, FileDigests(None)).entries(source, "/t", **how)))


# what a seed comes to


def test_a_directory_gives_its_contents_parents_first(tmp_path):
    make(tmp_path, {"data/b/x": "x", "data/b-c": "y", "data/a": "z"})
    (tmp_path / "data/empty").mkdir()

    template = seeded(tmp_path)

    assert shown(template.seeds) == [
        "/workspace",
        "/workspace/a",
        "/workspace/b",
        "/workspace/b-c",
        "/workspace/b/x",
        "/workspace/empty",
    ]
    entry = template.seeds[1]
    assert (entry.kind, entry.mode, entry.size, entry.link) == (EntryKind.FILE, 0o644, 1, b"")
    assert entry.sha256 == hashlib.sha256(b"z").hexdigest()
    assert entry.source == str(tmp_path / "data/a")
    assert template.seeds[5].kind is EntryKind.DIRECTORY


def test_a_file_goes_to_its_target_or_into_it(tmp_path):
    make(tmp_path, {"a.txt": "a"})

    template = seeded(tmp_path, {"source": "a.txt", "target": "/x"}, {"source": "a.txt", "target": "/y/"})

    assert shown(template.seeds) == ["/x", "/y/a.txt"]


def test_an_inline_file_is_its_bytes(tmp_path):
    template = seeded(tmp_path, {"path": "/m", "content": "hello", "mode": "0600"})

    assert template.seeds[0].source == b"hello"
    assert (template.seeds[0].mode, template.seeds[0].size) == (0o600, 5)
    assert template.seeds[0].sha256 == hashlib.sha256(b"hello").hexdigest()


def test_a_later_seed_wins_at_the_same_target(tmp_path):
    make(tmp_path, {"data/m": "old"})

    template = seeded(tmp_path, {"source": "data", "target": "/w"}, {"path": "/w/m", "content": "new"})

    assert template.seeds[1].source == b"new"
    assert len(template.seeds) == 2


def test_seeds_cannot_lie_below_a_file_or_a_link(tmp_path):
    make(tmp_path, {"data/real/x": "x"})
    (tmp_path / "data/l").symlink_to("real")

    with pytest.raises(DefinitionError, match="/w/l/y lies below /w/l, and that is a symlink, which another seed puts"):
        seeded(tmp_path, {"source": "data", "target": "/w"}, {"path": "/w/l/y", "content": ""})


def test_seeds_at_the_root_keep_their_names(tmp_path):
    make(tmp_path, {"data/etc/x": "x"})

    assert shown(seeded(tmp_path, {"source": "data/", "target": "/"}).seeds) == ["/etc", "/etc/x"]


@pytest.mark.parametrize(
    ("source", "targets"),
    [
        ("d/*.py", ["/t/a.py", "/t/.h.py"]),
        ("d/**/*.py", ["/t/a.py", "/t/.h.py", "/t/s/b.py", "/t/s/u/c.py"]),
        ("d/**", ["/t/a.py", "/t/.h.py", "/t/s", "/t/s/b.py", "/t/s/u", "/t/s/u/c.py", "/t/s/u/n.txt"]),
        ("d/s*", ["/t/s", "/t/s/b.py", "/t/s/u", "/t/s/u/c.py", "/t/s/u/n.txt"]),
        ("d/*/u/?.py", ["/t/s/u/c.py"]),
        ("d/[ab].py", ["/t/a.py"]),
        ("**/n.txt", ["/t/d/s/u/n.txt"]),
        ("d/**/u/**", ["/t/s/u/c.py", "/t/s/u/n.txt"]),
    ],
)
def test_a_glob_keeps_paths_below_its_fixed_part(tmp_path, source, targets):
    make(tmp_path, {"d/a.py": "", "d/.h.py": "", "d/s/b.py": "", "d/s/u/c.py": "", "d/s/u/n.txt": ""})

    assert found(tmp_path, source) == sorted(targets)


def test_a_file_whose_name_is_a_pattern_is_itself(tmp_path):
    make(tmp_path, {"d/[a].py": "", "d/a.py": ""})

    assert found(tmp_path, "d/[a].py") == ["/t"]


def test_a_glob_without_a_match_is_an_error(tmp_path):
    make(tmp_path, {"d/a": ""})

    with pytest.raises(UnkeyableInputError, match=r"'d/\*.py' matches nothing"):
        found(tmp_path, "d/*.py")


@pytest.mark.parametrize(
    ("ignore", "left"),
    [
        (["*.log"], ["a.txt", "build/x", "s/keep.txt", "s/build/y"]),
        (["*.log", "!keep.log"], ["a.txt", "build/x", "s/keep.log", "s/keep.txt", "s/build/y"]),
        (["build/"], ["a.log", "a.txt", "s/a.log", "s/keep.log", "s/keep.txt"]),
        (["/build"], ["a.log", "a.txt", "s/a.log", "s/keep.log", "s/keep.txt", "s/build/y"]),
        (["s/*", "!s/keep.*"], ["a.log", "a.txt", "build/x", "s/keep.log", "s/keep.txt"]),
        (["s/", "!s/keep.txt"], ["a.log", "a.txt", "build/x"]),
        (["# all", "", "**/a.*"], ["build/x", "s/keep.log", "s/keep.txt", "s/build/y"]),
    ],
)
def test_patterns_hide_as_git_hides(tmp_path, ignore, left):
    names = ["a.log", "a.txt", "build/x", "s/a.log", "s/keep.log", "s/keep.txt", "s/build/y"]
    make(tmp_path, {f"d/{name}": "" for name in names})

    files = Tree(tmp_path, FileDigests(None)).entries("d", "/t", ignore)

    assert sorted(shown(e for e in files if e.kind is EntryKind.FILE)) == sorted(f"/t/{name}" for name in left)


PATTERNS = [
    *("*.a", "x", "x/", "/x", "y/*", "!y/x", "**/x", "x/**", "!*.a", "?.a", "[xy]", "y/**/x", "\\!z", "*", "!y/", "z "),
    *(
        "**",
        "**/",
        "/**",
        "/",
        "!",
        "a**",
        "**a",
        "y/**",
        "!y/**",
        "y/**/",
        "[!x]",
        "[^x-z].a",
        "[x",
        "[]x]",
        "x\\",
        "#x",
    ),
    *(
        "[[:alpha:]]",
        "[[:no:]]",
        "y/y/",
        "!/y/y",
        "*/x",
        "*/*",
        "x/*/z",
        "!*/",
        "\\#x",
        "***",
        "y/***/x",
        "[z-a]",
        "[x-b]",
        "!/**",
        "***/x",
        "y/***",
        "[\\]]",
    ),
]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is the judge")
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=4))
def test_patterns_agree_with_git_itself(tmp_path_factory, patterns):
    tree = tmp_path_factory.mktemp("t")
    make(tree, {f"{a}{b}": "" for a in ("", "x/", "y/", "y/y/", "z/") for b in ("p.a", "q.b", "!z")})
    make(tree, {"y/x": "", "z/x": "", "z/y": "", "y/z": ""})
    shutil.copytree(tree, tree / "copy")
    repository = tree / "copy"
    subprocess.run(["git", "init", "-q"], cwd=repository, check=True)
    (repository / ".git/info/exclude").write_text("".join(f"{pattern}\n" for pattern in patterns))
    listed = subprocess.run(
        ["git", "-c", "core.quotepath=off", "ls-files", "--others", "--exclude-standard", "-z"],
        cwd=repository,
        check=True,
        capture_output=True,
        env={"HOME": "/nonexistent", "PATH": os.environ["PATH"]},
    ).stdout.split(b"\0")

    files = Tree(tree, FileDigests(None)).entries("copy", "/t", patterns)

    kept = {entry.target.removeprefix(b"/t/") for entry in files if entry.kind is EntryKind.FILE}
    assert kept == {name for name in listed if name}


def test_git_and_the_lock_file_of_the_project_are_left_out(tmp_path):
    make(tmp_path, {".git/config": "", "a": "", "prewarm.lock": "{}", "s/prewarm.lock": "{}", "s/.git": "gitdir: x"})

    assert found(tmp_path, ".") == ["/t", "/t/a", "/t/s", "/t/s/prewarm.lock"]
    assert "/t/.git/config" in found(tmp_path, ".", ignore=["!.git"])


def test_names_need_not_be_text(tmp_path):
    make(tmp_path, {"data/x": ""})
    with open(os.fsencode(tmp_path / "data") + b"/\xff\n", "wb") as file:
        file.write(b"odd")

    entry = seeded(tmp_path).seeds[-1]

    assert entry.target == b"/workspace/\xff\n"
    assert Path(entry.source).read_bytes() == b"odd"


# what is refused


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "s/../../../x"])
def test_a_link_out_of_its_tree_is_refused(tmp_path, target):
    make(tmp_path, {"data/s/x": ""})
    (tmp_path / "data/s/l").symlink_to(target)

    with pytest.raises(DefinitionError, match="leads out of its tree, to") as caught:
        seeded(tmp_path)
    assert caught.value.hint == "make it relative and keep it within the source, or list it under 'ignore'"


def test_a_link_within_its_tree_is_kept_as_it_is(tmp_path):
    make(tmp_path, {"data/s/x": ""})
    (tmp_path / "data/s/l").symlink_to("../s/../nowhere")

    entry = seeded(tmp_path).seeds[2]

    assert (entry.kind, entry.mode, entry.link, entry.source) == (EntryKind.SYMLINK, 0o777, b"../s/../nowhere", None)


def test_a_source_that_a_link_leads_out_of_the_project_is_refused(tmp_path):
    make(tmp_path, {"project/x": "", "secret/y": ""})
    (tmp_path / "project/data").symlink_to("../secret")

    with pytest.raises(DefinitionError, match="'data' leaves the project directory: it leads to"):
        seeded(tmp_path / "project")
    with pytest.raises(DefinitionError, match="'data/y' leaves the project directory"):
        resolved(tmp_path / "project", inputs=["data/y"])


def test_a_source_that_is_a_link_within_the_project_is_followed(tmp_path):
    make(tmp_path, {"real/x": "x"})
    (tmp_path / "data").symlink_to("real")

    assert shown(seeded(tmp_path).seeds) == ["/workspace", "/workspace/x"]


def test_what_is_no_file_is_refused(tmp_path):
    make(tmp_path, {"data/x": ""})
    os.mkfifo(tmp_path / "data/pipe")

    with pytest.raises(UnkeyableInputError, match="data/pipe into a template: it is a named pipe"):
        seeded(tmp_path)
    with pytest.raises(UnkeyableInputError, match="it is a named pipe"):
        seeded(tmp_path, {"source": "data/pipe", "target": "/x"})
    os.remove(tmp_path / "data/pipe")
    with contextlib.chdir(tmp_path), socket.socket(socket.AF_UNIX) as listener:
        listener.bind("data/s")
        with pytest.raises(UnkeyableInputError, match="it is a socket"):
            seeded(tmp_path)


def test_what_is_not_there_is_an_error(tmp_path):
    with pytest.raises(UnkeyableInputError, match="cannot read 'data': no such file or directory"):
        seeded(tmp_path)
    with pytest.raises(UnkeyableInputError, match=r"cannot read 's.sh': no such file or directory"):
        resolved(tmp_path, bootstrap=[{"script": "s.sh"}])
    with pytest.raises(UnkeyableInputError, match=r"cannot read 'a.lock': no such file or directory"):
        resolved(tmp_path, inputs=["a.lock"])


@contextlib.contextmanager
def as_nobody():
    """Be a user who may not read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("locked", ["data/x", "data/s"])
def test_what_cannot_be_read_is_an_error_never_a_smaller_key(locked):
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        root = make(Path(directory), {"data/x": "x", "data/s/y": "y"})
        os.chmod(root, 0o755)
        os.chmod(root / locked, 0)
        with as_nobody(), pytest.raises(UnkeyableInputError, match=r"cannot read .*: Permission denied") as caught:
            seeded(root)
        os.chmod(root / locked, 0o755)
    assert caught.value.hint == "make it readable, or list it under 'ignore' if the template does not need it"
    assert caught.value.exit_code == 3


# steps and inputs


def test_steps_become_what_a_backend_runs(tmp_path):
    make(tmp_path, {"s.sh": "#!/bin/sh\n", "hooks/a.py": "def warm(sandbox):\n    pass\n"})

    template = resolved(
        tmp_path,
        user="worker",
        build={"network": "none", "secrets": [{"id": "npm", "env": "X"}]},
        bootstrap=[
            "a && b",
            {"run": ["ls"], "user": "1000", "timeout": 5, "network": "all", "secrets": ["npm"]},
            {"script": "./s.sh", "arguments": ["q"]},
            {"python": "hooks.a:warm"},
        ],
        verify=["true"],
    )

    run, argv, script, hook = template.steps
    assert isinstance(run, RunStep)
    assert run.argv == ("/bin/sh", "-e", "-c", "a && b")
    assert (run.user, run.network.value, run.timeout_s) == ("root", "none", 600)
    assert isinstance(argv, RunStep)
    assert (argv.argv, argv.user, argv.timeout_s, argv.secrets) == (("ls",), "1000", 5, ("npm",))
    assert argv.network.value == "all"
    assert isinstance(script, ScriptStep)
    assert (script.content, script.arguments) == (b"#!/bin/sh\n", ("q",))
    assert isinstance(hook, HookStep)
    assert len(hook.source_digest) == 64
    assert template.verify[0].user == "worker"


def test_a_child_is_keyed_by_its_parent(tmp_path):
    keys = [
        resolved(tmp_path, extends="base", base=None, parent=TemplateKey(digit * 64)).key for digit in ("a", "b", "a")
    ]

    assert keys[0] == keys[2] != keys[1]


def test_a_base_is_keyed_by_its_digest_alone(tmp_path):
    one = resolved(tmp_path, base=ResolvedBase(digest="sha256:1", description="debian:bookworm", value={"a": 1}))
    same = resolved(tmp_path, base=ResolvedBase(digest="sha256:1", description="debian:12"))
    moved = resolved(tmp_path, base=ResolvedBase(digest="sha256:2", description="debian:bookworm"))

    assert one.key == same.key != moved.key


# what counts, on disk

CHANGES = {
    "a byte": lambda root: (root / "data/x").write_bytes(b"y"),
    "a mode": lambda root: os.chmod(root / "data/x", 0o755),
    "a link": lambda root: (os.remove(root / "data/l"), os.symlink("s", root / "data/l")),
    "a name": lambda root: os.rename(root / "data/x", root / "data/z"),
    "a kind": lambda root: (os.remove(root / "data/x"), os.mkdir(root / "data/x")),
    "an empty directory": lambda root: os.mkdir(root / "data/e2"),
    "a directory gone": lambda root: os.rmdir(root / "data/e"),
    "an input": lambda root: (root / "a.lock").write_bytes(b"2"),
    "a script": lambda root: (root / "s.sh").write_bytes(b"exit 0\n"),
    "a hook": lambda root: (root / "hooks/a.py").write_text("from . import b\ndef warm(s): return 1\n"),
    "a helper of a hook": lambda root: (root / "hooks/b.py").write_text("X = 2\n"),
}
NO_CHANGES = {
    "times": lambda root: os.utime(root / "data/x", (1, 1)),
    "bits of others": lambda root: os.chmod(root / "data/x", 0o600),
    "bits of a directory": lambda root: os.chmod(root / "data/s", 0o700),
    "files of nobody": lambda root: (root / "unused").write_text("x"),
    "a module that is not imported": lambda root: (root / "hooks/c.py").write_text("x = 1"),
    "the lock file": lambda root: (root / "prewarm.lock").write_text("{}"),
}
WORDS = {
    "bootstrap": [{"script": "s.sh"}, {"python": "hooks.a:warm"}],
    "inputs": ["a.lock"],
}


def whole(root: Path) -> Path:
    make(root, {"data/x": "x", "data/s/y": "y", "a.lock": "1", "s.sh": "true\n"})
    make(root, {"hooks/a.py": "from . import b\ndef warm(s): pass\n", "hooks/b.py": "X = 1\n"})
    (root / "data/e").mkdir()
    (root / "data/l").symlink_to("x")
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o644)
    return root


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_on_disk_changes_the_key_and_is_named(tmp_path, change):
    before = seeded(whole(tmp_path), **WORDS)
    CHANGES[change](tmp_path)
    after = seeded(tmp_path, **WORDS)

    assert before.key != after.key
    assert diff(before.key_inputs, after.key_inputs) != ()


@pytest.mark.parametrize("change", NO_CHANGES)
def test_what_does_not_count_does_not_change_the_key(tmp_path, change):
    before = seeded(whole(tmp_path), **WORDS)
    NO_CHANGES[change](tmp_path)

    assert seeded(tmp_path, **WORDS).key == before.key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"session": {"network": "none"}}, {"session": {"network": "all", "resources": {"memory": "1g"}}}),
        (
            {"build": {"timeout": 5}},
            {"build": {"network": "none", "pass_env": ["X"], "secrets": [{"id": "a", "env": "B"}]}},
        ),
        ({"bootstrap": ["x"]}, {"bootstrap": [{"run": "x", "timeout": 3, "network": "none", "user": "root"}]}),
        ({"namespace": "a"}, {"namespace": "b"}),
        ({"workdir": "/workspace"}, {}),
        ({"session": {"local": {"a": 1}}}, {}),
        ({"docker": {"a": 1}}, {}),
        ({"seed": [{"path": "/a", "content": "x"}]}, {"seed": [{"path": "/a", "base64": "eA==", "mode": "0644"}]}),
    ],
)
def test_how_to_capture_and_how_to_open_do_not_count(tmp_path, one, other):
    assert resolved(tmp_path, **one).key == resolved(tmp_path, **other).key


@pytest.mark.parametrize(
    "words",
    [
        {"user": "other"},
        {"workdir": "/srv"},
        {"env": {"A": "1"}},
        {"revalidate": "x"},
        {"bootstrap": ["x"]},
        {"bootstrap": [{"run": "x", "user": "1000"}]},
        {"bootstrap": [{"run": "x", "secrets": ["a"]}], "build": {"secrets": [{"id": "a", "env": "B"}]}},
        {"bootstrap": [{"run": ["x"]}]},
        {"verify": ["x"]},
        {"local": {"a": 1}},
        {"seed": [{"path": "/a", "content": "x"}]},
        {"seed": [{"path": "/a", "content": "x", "mode": "0600"}]},
        {"seed": [{"path": "/b", "content": "x"}]},
    ],
)
def test_each_field_of_the_template_half_counts(tmp_path, words):
    others = [resolved(tmp_path).key, resolved(tmp_path, bootstrap=["x"]).key]

    assert resolved(tmp_path, **words).key != others[0]
    assert words == {"bootstrap": ["x"]} or resolved(tmp_path, **words).key != others[1]


TREES = st.dictionaries(
    st.lists(st.sampled_from(["a", "b", "Z", "é", "x-y", "x.y"]), min_size=1, max_size=3).map("/".join),
    st.tuples(st.binary(max_size=5), st.booleans()),
    max_size=6,
)


def plant(root: Path, tree, order) -> Path:
    """Make the files of a tree in some order; those that do not fit beside others are left out."""
    (root / "data").mkdir(parents=True)
    fitting = {name: what for name, what in tree.items() if not any(o.startswith(f"{name}/") for o in tree)}
    for name in order(sorted(fitting)):
        content, executable = fitting[name]
        path = root / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(path.stat().st_mode | 0o100 if executable else path.stat().st_mode & ~0o111)
    return root


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TREES, st.sampled_from([0o022, 0o077, 0o002]))
def test_checkout_path_umask_and_order_do_not_count(tmp_path_factory, tree, umask):
    here = plant(tmp_path_factory.mktemp("here") / "project", tree, list)
    old = os.umask(umask)
    try:
        there = plant(tmp_path_factory.mktemp("there") / "elsewhere" / "é", tree, reversed)
    finally:
        os.umask(old)

    assert seeded(here).key == seeded(there).key


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TREES, TREES)
def test_two_trees_have_one_key_only_if_they_are_the_same(tmp_path_factory, one, other):
    first = seeded(plant(tmp_path_factory.mktemp("t"), one, list))
    second = seeded(plant(tmp_path_factory.mktemp("t"), other, list))

    def what(template):
        return [(e.target, e.kind, e.mode, e.source and Path(e.source).read_bytes()) for e in template.seeds]

    assert (first.key == second.key) == (what(first) == what(second))


KEY_IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_inputs import WORDS, seeded
print(seeded(Path({root!r}), **WORDS).key)
"""


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "TZ": "Asia/Tokyo"},
        {"LC_ALL": "tr_TR.UTF-8", "TZ": "America/Lima", "PYTHONHASHSEED": "7"},
        {"HOME": "/x", "USER": "z"},
    ],
)
def test_locale_timezone_environment_and_process_do_not_count(tmp_path, environment):
    key = seeded(whole(tmp_path), **WORDS).key
    code = KEY_IN_ANOTHER_PROCESS.format(tests=str(Path(__file__).parent), root=str(tmp_path))

    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
        capture_output=True,
        text=True,
        check=True,
    )

    assert ended.stdout.strip() == key
