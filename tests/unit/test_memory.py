import pytest

from prewarm.backends.context import BackendContext
from prewarm.backends.hosting import ProcessRequest
from prewarm.backends.memory import MemoryBackend, MemoryStore
from prewarm.backends.memory.files import MemoryFiles, Node, bare_tree, tree_digest
from prewarm.definition.model import DockerfileBase, HostBase, ImageBase, Network, RootfsBase
from prewarm.errors import CaptureFailedError, SessionFailedError, SessionFileError, UnkeyableInputError
from prewarm.machine import host_platform
from prewarm.testing.builders import shell
from prewarm.testing.workplace import WORKDIR, Workplace


@pytest.fixture
def context(tmp_path):
    return BackendContext(home=tmp_path, environment={})


def workplace(backend):
    base = backend.resolve_base(HostBase(), project=None, platform=host_platform(), sha256=str)
    return Workplace(backend, base, "unit")


@pytest.fixture
def place(context):
    return workplace(MemoryBackend(context))


@pytest.fixture
def session(place):
    return place.open(place.capture())


def run(place, session, command, **keywords):
    result = place.run(session, command, **keywords)
    return (result.exit_code, result.stdout, result.stderr)


# sharing


def test_backends_of_one_home_share_their_templates(context, place):
    captured = place.capture()
    assert MemoryBackend(context).find("unit", captured.key) == captured.ref


def test_backends_of_other_homes_do_not(tmp_path, place):
    captured = place.capture()
    other = MemoryBackend(BackendContext(home=tmp_path / "other", environment={}))
    assert other.find("unit", captured.key) is None


def test_a_store_may_be_given(context):
    store = MemoryStore()
    captured = workplace(MemoryBackend(context, store=store)).capture()
    elsewhere = BackendContext(home=context.home / "elsewhere", environment={})
    assert MemoryBackend(elsewhere, store=store).find("unit", captured.key) == captured.ref


# commands of a test


def test_a_test_registers_its_own_commands(context):
    def pip(call):
        call.files.write(f"/opt/{call.argv[2]}", b"installed")
        call.complain("a warning")
        return 0

    place = workplace(MemoryBackend(context, commands={"pip": pip}))
    session = place.open(place.capture(shell("pip install pandas")))
    assert session.files.read("/opt/pandas") == b"installed"
    assert run(place, session, "/usr/bin/pip install numpy") == (0, "", "a warning\n")


def test_a_registered_command_wins_over_a_built_in_one(context):
    place = workplace(MemoryBackend(context, commands={"cat": lambda call: call.say("mine") or 0}))
    assert run(place, place.open(place.capture()), "cat x") == (0, "mine\n", "")


def test_a_command_hears_of_user_directory_environment_and_network(context):
    seen = {}

    def look(call):
        seen.update(user=call.user, cwd=call.cwd, colour=call.env["COLOUR"], network=call.network, argv=call.argv)
        return 0

    place = workplace(MemoryBackend(context, commands={"look": look}))
    session = place.open(place.opening(place.capture(), network=Network.ALL))
    place.run(session, "look around", user="root", cwd="/tmp", env={"COLOUR": "red"})
    assert seen == {
        "user": "root",
        "cwd": "/tmp",
        "colour": "red",
        "network": Network.ALL,
        "argv": ("look", "around"),
    }


def test_a_command_that_raises_exits_1_with_its_error(context):
    def broken(call):
        raise RuntimeError("it broke")

    place = workplace(MemoryBackend(context, commands={"broken": broken}))
    assert run(place, place.open(place.capture()), ["broken"]) == (1, "", "broken: RuntimeError: it broke\n")


def test_a_killed_command_writes_no_more_files(context):
    import threading

    go = threading.Event()
    ended = threading.Event()

    def late(call):
        go.wait(60)
        try:
            call.files.write("/workspace/late", b"x")
        finally:
            ended.set()
        return 0

    place = workplace(MemoryBackend(context, commands={"late": late}))
    session = place.open(place.capture())
    process = place.start(session, ["late"])
    process.kill()
    go.set()
    assert ended.wait(60)
    process.close()
    with pytest.raises(SessionFileError):
        session.files.read("/workspace/late")


# the shell


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("echo one; echo two", (0, "one\ntwo\n", "")),
        ("echo one\necho two", (0, "one\ntwo\n", "")),
        ("true && echo yes", (0, "yes\n", "")),
        ("false && echo yes", (1, "", "")),
        ("false || echo no", (0, "no\n", "")),
        ("false && echo a || echo b", (0, "b\n", "")),
        ("exit 7; echo never", (7, "", "")),
        ("false; exit", (1, "", "")),
        ("false; echo $?", (0, "1\n", "")),
        ("echo 'single $X' \"double $X\" plain\\ word", (0, "single $X double x plain word\n", "")),
        ('echo "a \\"quote\\" \\$X"', (0, 'a "quote" $X\n', "")),
        ("echo ${X}y $UNSET.", (0, "xy .\n", "")),
        ("X=changed; echo $X", (0, "changed\n", "")),
        ("X=just-here env | true", (2, "", "sh: the memory backend's shell has no pipes\n")),
        ("export Y=why; echo $Y", (0, "why\n", "")),
        ("cd /tmp; pwd", (0, "/tmp\n", "")),
        ("echo out >&2", (0, "", "out\n")),
        ("echo gone > /dev/null", (0, "", "")),
        ("echo a > f; echo b >> f; cat f", (0, "a\nb\n", "")),
        ("cat < /workspace/g 2> e || cat e", (1, "", "")),
        ("echo x > f; cat < f", (0, "x\n", "")),
        ("# a comment\necho x # another", (0, "x\n", "")),
        ("echo a \\\n b", (0, "a b\n", "")),
        ("", None),
    ],
)
def test_the_shell_does_a_little(place, session, text, expected):
    if expected is None:
        with pytest.raises(ValueError, match="empty"):
            run(place, session, text)
        return
    result = run(place, session, text, env={"X": "x"})
    assert result[0] == expected[0]
    assert result[1] == expected[1]
    if expected[2]:
        assert result[2] == expected[2]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("echo a | cat", "no pipes"),
        ("sleep 1 &", "no background commands"),
        ("echo $(pwd)", "no command substitution"),
        ('echo "$(pwd)"', "no command substitution"),
        ("echo `pwd`", "no command substitution"),
        ("(echo a)", "no subshells"),
        ("echo *.txt", "no globs"),
        ("if true; then echo a; fi", "does not do 'if'"),
        ("for x in a; do echo; done", "does not do 'for'"),
        ("echo 'open", "a quote is not closed"),
        ('echo "open', "a quote is not closed"),
        ("echo >", "without a file"),
    ],
)
def test_the_shell_refuses_by_name_what_it_does_not_do(place, session, text, what):
    exit_code, _, stderr = run(place, session, text)
    assert exit_code == 2
    assert what in stderr


def test_an_option_of_the_shell_that_it_does_not_have_is_refused(place, session):
    assert run(place, session, ["sh", "-x", "-c", "true"])[0] == 2


def test_e_stops_at_the_first_failure_outside_of_a_test(place, session):
    assert run(place, session, ["/bin/sh", "-ec", "false || true; echo on; false; echo never"])[:2] == (1, "on\n")


@pytest.mark.parametrize(
    ("command", "exit_code", "stderr"),
    [
        (["cat", "missing"], 1, "cat: /workspace/missing does not exist in the session\n"),
        (["rm", "missing"], 1, "rm: /workspace/missing does not exist in the session\n"),
        (["rm", "-f", "missing"], 0, ""),
        (["ln", "a", "b"], 2, "ln: the memory backend makes symbolic links only\n"),
        (["nonsense"], 127, "nonsense: not found\n"),
    ],
)
def test_programs_fail_as_programs_do(place, session, command, exit_code, stderr):
    assert run(place, session, command) == (exit_code, "", stderr)


def test_the_small_programs_work(place, session):
    text = """
mkdir -p a/b
echo x > a/b/f
mv a/b/f a/b/g
ln -s b/g a/link
chmod +x a/b/g
chmod 700 a/b
test -f a/b/g && test -x a/b/g && test -d a/b && test -L a/link && test -e a && cat a/link
test -e a/b/f || echo gone
rm -r a/b
whoami
"""
    assert run(place, session, text) == (0, "x\ngone\nsandbox\n", "")


def test_a_script_is_run_by_its_interpreter(place, session):
    session.files.write("/workspace/s", b"#!/bin/sh -e\nfalse\necho never\n", mode=0o755)
    assert run(place, session, ["./s"]) == (1, "", "")


def test_a_terminal_is_refused(place, session):
    request = ProcessRequest(argv=("sh",), cwd=WORKDIR, env={}, user="root", terminal=(80, 24))
    with pytest.raises(SessionFailedError, match="no terminals"):
        session.start(request)


def test_a_working_directory_that_is_not_there_is_refused(place, session):
    with pytest.raises(SessionFailedError, match="/missing"):
        place.start(session, "true", cwd="/missing")


# bases and templates


def test_bases_are_told_apart_by_what_they_say(place):
    def digest(base, platform="linux/amd64"):
        return place.backend.resolve_base(base, project=None, platform=platform, sha256=str).digest

    digests = [digest(HostBase()), digest(ImageBase(reference="a")), digest(ImageBase(reference="b"))]
    assert len({*digests, digest(HostBase(), "linux/arm64")}) == 4
    assert digest(ImageBase(reference="a")) == digests[1]


@pytest.mark.parametrize("base", [RootfsBase(path="x"), DockerfileBase()])
def test_bases_that_are_more_than_a_name_are_refused(place, base):
    with pytest.raises(UnkeyableInputError) as caught:
        place.backend.resolve_base(base, project=None, platform="linux/amd64", sha256=str)
    assert caught.value.hint


def test_a_parent_that_is_gone_fails_the_capture(place):
    parent = place.capture()
    place.backend.store.lose(parent.ref.value["id"])
    with pytest.raises(CaptureFailedError, match="its parent is gone"):
        place.capture(parent=parent)


def test_every_part_of_a_tree_is_in_its_digest():
    tree = bare_tree()
    node = tree["/tmp"]
    digests = {
        tree_digest(tree),
        tree_digest({**tree, "/x": node}),
        tree_digest({**tree, "/tmp": Node(kind=node.kind, mode=0o700)}),
        tree_digest({**tree, "/tmp": Node(kind=node.kind, mode=node.mode, data=b"x")}),
        tree_digest({**tree, "/tmp": Node(kind=node.kind, mode=node.mode, link="x")}),
    }
    assert len(digests) == 5


# the filesystem


@pytest.fixture
def files():
    return MemoryFiles(bare_tree(), clock=lambda: 5.0, alive=lambda: None)


def test_links_that_go_round_are_an_error(files):
    files.symlink("/tmp/b", "/tmp/a")
    files.symlink("/tmp/a", "/tmp/b")
    with pytest.raises(SessionFileError, match="too many links"):
        files.read("/tmp/a")


def test_a_link_above_the_root_ends_at_the_root(files):
    files.write("/etc/passwd", b"mine")
    files.symlink("../../../../etc/passwd", "/tmp/a")
    assert files.read("/tmp/a") == b"mine"


def test_the_root_is_not_removed(files):
    with pytest.raises(SessionFileError, match="it is the root"):
        files.remove("/", recursive=True)


def test_a_directory_is_not_moved_into_itself(files):
    files.mkdir("/tmp/a")
    with pytest.raises(SessionFileError, match="inside itself"):
        files.rename("/tmp/a", "/tmp/a/b")


def test_a_file_does_not_replace_a_directory_nor_the_other_way_round(files):
    files.mkdir("/tmp/d")
    files.write("/tmp/f", b"")
    for source, target in (("/tmp/f", "/tmp/d"), ("/tmp/d", "/tmp/f")):
        with pytest.raises(SessionFileError, match="one is a directory"):
            files.rename(source, target)


def test_a_rename_to_itself_changes_nothing(files):
    files.write("/tmp/f", b"x")
    files.rename("/tmp/f", "/tmp/f")
    assert files.read("/tmp/f") == b"x"
