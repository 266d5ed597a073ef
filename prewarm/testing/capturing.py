"""The contract of a capture's content: what goes in comes out, exactly, and nothing else does."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from prewarm.backends.capturing import Phase
from prewarm.backends.context import Feature
from prewarm.backends.hosting import FileKind, SessionHandle
from prewarm.errors import CaptureFailedError, SessionFileNotFoundError
from prewarm.request import BootstrapSession
from prewarm.testing.builders import hook, script, seed_directory, seed_file, seed_link, shell
from prewarm.testing.harness import Harness, needs
from prewarm.testing.workplace import USER, WORKDIR, Workplace

EVERY_BYTE = bytes(range(256))
SECRET = "swordfish-7f3a"  # noqa: S105 - what the tests look for.


class CapturingContract(Harness):
    """Seeds, steps, environment, secrets, users, parents."""

    def test_seeds_are_there_before_the_first_step(self, place: Workplace) -> None:
        captured = place.capture(shell("cat /workspace/seed"), seeds=(seed_file("/workspace/seed", b"grain\n"),))
        assert "grain" in captured.observer.lines

    def test_what_bootstrap_writes_is_in_the_template(self, place: Workplace) -> None:
        captured = place.capture(shell("echo one > /workspace/a"), shell("echo two >> /workspace/a"))
        assert place.open(captured).files.read("/workspace/a") == b"one\ntwo\n"

    def test_the_observer_hears_phases_steps_and_lines(self, place: Workplace) -> None:
        observer = place.capture(shell("echo out; echo err >&2"), shell("echo more")).observer
        assert observer.phases[-1] in {Phase.SEAL, Phase.BOOTSTRAP}
        assert [phase for phase in observer.phases if phase in {Phase.SEED, Phase.BOOTSTRAP}] == [
            Phase.SEED,
            Phase.BOOTSTRAP,
        ]
        assert observer.steps == ((1, 2, "echo out; echo err >&2"), (2, 2, "echo more"))
        assert sorted(observer.lines) == ["err", "more", "out"]

    def test_bytes_of_seeds_arrive_unchanged(self, place: Workplace, tmp_path: Path) -> None:
        large = tmp_path / "large"
        large.write_bytes(EVERY_BYTE * 20_000)
        captured = place.capture(
            seeds=(
                seed_file("/workspace/small", EVERY_BYTE),
                seed_file("/workspace/empty"),
                seed_file("/workspace/large", large),
            )
        )
        files = place.open(captured).files
        assert files.read("/workspace/small") == EVERY_BYTE
        assert files.read("/workspace/empty") == b""
        assert files.read("/workspace/large") == EVERY_BYTE * 20_000

    def test_modes_of_seeds_arrive_unchanged(self, place: Workplace) -> None:
        captured = place.capture(
            seeds=(
                seed_file("/workspace/run.sh", b"", 0o755),
                seed_file("/workspace/private", b"", 0o600),
                seed_directory("/workspace/closed", 0o700),
            )
        )
        files = place.open(captured).files
        modes = [files.stat(f"/workspace/{name}").mode for name in ("run.sh", "private", "closed")]
        assert modes == [0o755, 0o600, 0o700]

    def test_links_and_empty_directories_arrive_unchanged(self, place: Workplace) -> None:
        captured = place.capture(
            seeds=(
                seed_directory("/workspace/empty"),
                seed_file("/workspace/file", b"content"),
                seed_link("/workspace/link", "file"),
                seed_link("/workspace/dangling", "nowhere/at/all"),
            )
        )
        session = place.open(captured)
        assert session.files.stat("/workspace/empty").kind is FileKind.DIRECTORY
        assert list(session.files.list("/workspace/empty")) == []
        assert session.files.stat("/workspace/link").kind is FileKind.SYMLINK
        assert session.files.stat("/workspace/dangling").kind is FileKind.SYMLINK
        assert session.files.read("/workspace/link") == b"content"
        assert _links(session) == {"link": "file", "dangling": "nowhere/at/all"}

    def test_names_that_are_not_utf8_arrive_unchanged(self, place: Workplace) -> None:
        name = b"/workspace/caf\xe9 \xff"
        captured = place.capture(seeds=(seed_file(name, b"coffee"),))
        assert place.open(captured).files.read(name.decode("utf-8", "surrogateescape")) == b"coffee"

    def test_a_seed_that_changed_after_it_was_keyed_fails_the_capture(self, place: Workplace, tmp_path: Path) -> None:
        source = tmp_path / "source"
        source.write_bytes(b"as keyed")
        seed = seed_file("/workspace/seed", source)
        source.write_bytes(b"as found")
        with pytest.raises(CaptureFailedError, match="seed"):
            place.capture(seeds=(seed,))

    def test_a_seed_that_is_gone_fails_the_capture(self, place: Workplace, tmp_path: Path) -> None:
        source = tmp_path / "source"
        source.write_bytes(b"as keyed")
        seed = seed_file("/workspace/seed", source)
        source.unlink()
        with pytest.raises(CaptureFailedError, match="source"):
            place.capture(seeds=(seed,))

    def test_a_child_starts_from_its_parents_files(self, place: Workplace) -> None:
        parent = place.capture(shell("echo from parent > /workspace/inherited"))
        child = place.capture(shell("cat /workspace/inherited"), parent=parent)
        assert child.observer.lines == ("from parent",)

    def test_files_that_bootstrap_deletes_stay_deleted(self, place: Workplace) -> None:
        parent = place.capture(
            seeds=(seed_directory("/workspace/tree"), seed_file("/workspace/tree/a"), seed_file("/workspace/b"))
        )
        child = place.capture(shell("rm -r /workspace/tree; rm /workspace/b"), parent=parent)
        names = [info.path for info in place.open(child).files.list("/workspace")]
        assert names == []

    def test_files_that_bootstrap_renames_stay_renamed(self, place: Workplace) -> None:
        parent = place.capture(
            seeds=(seed_directory("/workspace/old"), seed_file("/workspace/old/a", b"a"), seed_file("/workspace/b"))
        )
        child = place.capture(shell("mv /workspace/old /workspace/new; mv /workspace/b /workspace/c"), parent=parent)
        files = place.open(child).files
        assert [info.path for info in files.list("/workspace")] == ["/workspace/c", "/workspace/new"]
        assert files.read("/workspace/new/a") == b"a"

    def test_a_directory_made_again_does_not_show_what_was_in_it(self, place: Workplace) -> None:
        parent = place.capture(seeds=(seed_directory("/workspace/tree"), seed_file("/workspace/tree/old")))
        child = place.capture(
            shell("rm -r /workspace/tree; mkdir /workspace/tree; echo x > /workspace/tree/new"), parent=parent
        )
        names = [info.path for info in place.open(child).files.list("/workspace/tree")]
        assert names == ["/workspace/tree/new"]

    def test_a_child_does_not_change_its_parent(self, place: Workplace) -> None:
        parent = place.capture(seeds=(seed_file("/workspace/a", b"parent"),))
        place.capture(shell("echo child > /workspace/a"), parent=parent)
        assert place.open(parent).files.read("/workspace/a") == b"parent"

    def test_the_definitions_environment_is_there_in_steps(self, place: Workplace) -> None:
        captured = place.capture(shell('echo "[$GREETING]"'), env={"GREETING": "hello 'world' $HOME"})
        assert captured.observer.lines == ("[hello 'world' $HOME]",)

    def test_variables_passed_to_steps_do_not_end_in_the_template(self, place: Workplace) -> None:
        captured = place.capture(shell('echo "[$HTTPS_PROXY]"'), pass_env={"HTTPS_PROXY": "http://proxy:3128"})
        session = place.open(captured)
        assert captured.observer.lines == ("[http://proxy:3128]",)
        assert "proxy:3128" not in place.text(session, "env")

    @needs(Feature.SECRETS)
    def test_a_secret_is_there_in_the_step_that_names_it_and_hidden_in_its_lines(self, place: Workplace) -> None:
        captured = place.capture(
            shell("cat /run/secrets/token; echo", secrets=("token",)), secrets={"token": SECRET.encode()}
        )
        assert captured.observer.lines == ("***",)

    @needs(Feature.SECRETS)
    def test_a_secret_is_not_there_in_other_steps_nor_in_sessions(self, place: Workplace) -> None:
        look = "test -e /run/secrets/token && echo seen || echo unseen"
        captured = place.capture(shell("true", secrets=("token",)), shell(look), secrets={"token": SECRET.encode()})
        assert captured.observer.lines == ("unseen",)
        assert place.text(place.open(captured), look) == "unseen"

    @needs(Feature.SECRETS, Feature.PROCESSES)
    def test_a_secret_can_be_read_by_the_user_of_its_step_alone(self, place: Workplace) -> None:
        captured = place.capture(
            shell("stat -c %a /run/secrets/token; cat /run/secrets/token", user=USER, secrets=("token",)),
            secrets={"token": SECRET.encode()},
        )
        assert captured.observer.lines == ("400", "***")

    def test_a_script_is_run_with_its_arguments_and_taken_away(self, place: Workplace) -> None:
        text = '#!/bin/sh\necho "got $1 and $2" > /workspace/got\n'
        captured = place.capture(script(text, "one", "two three"))
        session = place.open(captured)
        assert session.files.read("/workspace/got") == b"got one and two three\n"
        assert not [info.path for info in session.files.list("/tmp") if "script" in info.path]

    def test_a_script_without_an_interpreter_line_is_run_by_the_shell(self, place: Workplace) -> None:
        captured = place.capture(script("echo plain\n"))
        assert captured.observer.lines == ("plain",)

    def test_a_hook_runs_reads_writes_and_uploads(self, place: Workplace, tmp_path: Path) -> None:
        (tmp_path / "tree").mkdir()
        (tmp_path / "tree" / "leaf").write_bytes(EVERY_BYTE)

        def warm(sandbox: BootstrapSession) -> None:
            sandbox.write("/workspace/written", "by a hook", mode=0o600)
            sandbox.upload(tmp_path / "tree", "/workspace/tree")
            sandbox.upload(tmp_path / "tree" / "leaf", "/workspace/single")
            sandbox.run("cat /workspace/written > /workspace/copied")
            assert sandbox.read("/workspace/copied") == b"by a hook"
            assert sandbox.run("exit 3", check=False).exit_code == 3

        files = place.open(place.capture(hook(warm))).files
        assert files.read("/workspace/tree/leaf") == files.read("/workspace/single") == EVERY_BYTE
        assert files.stat("/workspace/written").mode == 0o600

    def test_a_session_starts_in_a_workdir_that_its_user_can_write(self, place: Workplace) -> None:
        session = place.open(place.capture())
        assert place.text(session, "pwd; echo x > here; cat here") == f"{WORKDIR}\nx"

    @needs(Feature.PROCESSES)
    def test_the_first_user_made_is_uid_1000_with_a_home_of_its_own(self, place: Workplace) -> None:
        session = place.open(place.capture())
        assert place.text(session, 'id -u; id -un; echo x > "$HOME/x" && cat "$HOME/x"; pwd -P') == (
            f"1000\n{USER}\nx\n{WORKDIR}"
        )

    @needs(Feature.PROCESSES)
    def test_steps_run_as_the_user_they_name(self, place: Workplace) -> None:
        captured = place.capture(shell("id -u; id -un"), shell("id -un; echo $HOME", user=USER))
        assert captured.observer.lines == ("0", "root", USER, f"/home/{USER}")

    @needs(Feature.PROCESSES)
    def test_seeds_belong_to_the_user(self, place: Workplace) -> None:
        captured = place.capture(seeds=(seed_directory("/workspace/tree"), seed_file("/workspace/tree/a", b"", 0o600)))
        assert place.text(place.open(captured), "stat -c %U tree tree/a; cat tree/a") == f"{USER}\n{USER}"

    @needs(Feature.PROCESSES)
    def test_owners_and_modes_that_bootstrap_sets_are_kept(self, place: Workplace) -> None:
        captured = place.capture(
            shell(f"mkdir /srv/x && chown {USER} /srv/x && chmod 2750 /srv/x && echo x > /srv/y && chmod 4755 /srv/y")
        )
        assert place.text(place.open(captured), "stat -c '%U %a' /srv/x /srv/y") == f"{USER} 2750\nroot 4755"

    @needs(Feature.PROCESSES)
    def test_hard_links_that_bootstrap_makes_stay_hard_links(self, place: Workplace) -> None:
        captured = place.capture(shell("echo x > /workspace/a && ln /workspace/a /workspace/b"))
        assert place.text(place.open(captured), "stat -c %h a b") == "2\n2"

    def test_a_template_has_nothing_of_a_session(self, place: Workplace) -> None:
        captured = place.capture()
        place.open(captured).files.write("/workspace/session", b"x")
        with pytest.raises(SessionFileNotFoundError):
            place.open(captured).files.read("/workspace/session")


def _links(session: SessionHandle) -> dict[str, str]:
    archive = b"".join(session.files.get_tree("/workspace"))
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name.removeprefix("./"): member.linkname for member in tar if member.issym()}
