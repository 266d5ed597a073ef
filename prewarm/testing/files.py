"""The contract of a session's files: exact, typed in failure, and never this machine's."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from prewarm.backends.context import Feature
from prewarm.backends.hosting import FileKind, FileStore, SessionHandle
from prewarm.errors import PathEscapesError, SessionFileError, SessionFileNotFoundError
from prewarm.testing.harness import Harness, needs
from prewarm.testing.workplace import USER, Workplace

EVERY_BYTE = bytes(range(256))
ON_A_MISSING_PATH: dict[str, Callable[[FileStore], object]] = {
    "read": lambda files: files.read("/workspace/missing"),
    "list": lambda files: files.list("/workspace/missing"),
    "stat": lambda files: files.stat("/workspace/missing"),
    "remove": lambda files: files.remove("/workspace/missing"),
    "remove a tree": lambda files: files.remove("/workspace/missing", recursive=True),
    "rename": lambda files: files.rename("/workspace/missing", "/workspace/target"),
    "get a tree": lambda files: b"".join(files.get_tree("/workspace/missing")),
}
WITH_A_BAD_PATH: dict[str, Callable[[FileStore, str], object]] = {
    "read": lambda files, path: files.read(path),
    "write": lambda files, path: files.write(path, b"x"),
    "list": lambda files, path: files.list(path),
    "stat": lambda files, path: files.stat(path),
    "mkdir": lambda files, path: files.mkdir(path),
    "remove": lambda files, path: files.remove(path),
    "rename": lambda files, path: files.rename(path, "/workspace/target"),
    "get a tree": lambda files, path: b"".join(files.get_tree(path)),
}


class FilesContract(Harness):
    """``FileStore``, but for trees."""

    def test_bytes_are_written_and_read_unchanged(self, session: SessionHandle) -> None:
        session.files.write("/workspace/a", EVERY_BYTE)
        assert session.files.read("/workspace/a") == EVERY_BYTE

    def test_an_empty_file_is_written_and_read(self, session: SessionHandle) -> None:
        session.files.write("/workspace/empty", b"")
        assert session.files.read("/workspace/empty") == b""
        assert session.files.stat("/workspace/empty").size == 0

    def test_megabytes_are_written_and_read_unchanged(self, session: SessionHandle) -> None:
        data = EVERY_BYTE * 40_000
        session.files.write("/workspace/large", data)
        assert session.files.read("/workspace/large") == data

    def test_commands_and_files_see_the_same(self, place: Workplace, session: SessionHandle) -> None:
        session.files.write("/workspace/from-files", b"one")
        place.text(session, "echo two > /workspace/from-command")
        assert place.text(session, "cat /workspace/from-files") == "one"
        assert session.files.read("/workspace/from-command") == b"two\n"

    def test_writing_makes_parents(self, session: SessionHandle) -> None:
        session.files.write("/workspace/a/b/c.txt", b"x")
        assert session.files.stat("/workspace/a/b").kind is FileKind.DIRECTORY
        assert session.files.stat("/workspace/a/b").mode == 0o755

    def test_writing_again_replaces_all_of_it(self, session: SessionHandle) -> None:
        session.files.write("/workspace/a", b"long content")
        session.files.write("/workspace/a", b"short")
        assert session.files.read("/workspace/a") == b"short"

    def test_appending_writes_at_the_end_and_makes_the_file(self, session: SessionHandle) -> None:
        session.files.write("/workspace/log", b"one,", append=True)
        session.files.write("/workspace/log", b"two", append=True)
        assert session.files.read("/workspace/log") == b"one,two"

    def test_a_new_file_has_mode_0644_unless_told(self, session: SessionHandle) -> None:
        session.files.write("/workspace/plain", b"")
        session.files.write("/workspace/tool", b"", mode=0o755)
        session.files.write("/workspace/private", b"", mode=0o600)
        modes = [session.files.stat(f"/workspace/{name}").mode for name in ("plain", "tool", "private")]
        assert modes == [0o644, 0o755, 0o600]

    def test_writing_again_keeps_the_mode_unless_told(self, session: SessionHandle) -> None:
        session.files.write("/workspace/tool", b"1", mode=0o755)
        session.files.write("/workspace/tool", b"2")
        assert session.files.stat("/workspace/tool").mode == 0o755
        session.files.write("/workspace/tool", b"3", mode=0o700)
        assert session.files.stat("/workspace/tool").mode == 0o700

    @needs(Feature.PROCESSES)
    def test_what_is_written_belongs_to_the_sessions_user(self, place: Workplace, session: SessionHandle) -> None:
        session.files.write("/workspace/deep/er/file", b"x", mode=0o600)
        session.files.mkdir("/workspace/made/here")
        owners = place.text(session, "stat -c %U deep deep/er deep/er/file made made/here; echo y >> deep/er/file")
        assert owners.split() == [USER] * 5

    def test_a_file_can_be_read_up_to_a_limit(self, session: SessionHandle) -> None:
        session.files.write("/workspace/a", b"12345")
        assert session.files.read("/workspace/a", limit=5) == b"12345"
        with pytest.raises(SessionFileError, match="/workspace/a"):
            session.files.read("/workspace/a", limit=4)

    def test_a_directory_is_listed_by_name(self, place: Workplace, session: SessionHandle) -> None:
        session.files.mkdir("/workspace/d/sub")
        session.files.write("/workspace/d/b", b"22")
        session.files.write("/workspace/d/a", b"1", mode=0o600)
        place.text(session, "ln -s nowhere /workspace/d/link")
        listed = [(info.path, info.kind, info.mode) for info in session.files.list("/workspace/d")]
        assert listed[:2] == [
            ("/workspace/d/a", FileKind.FILE, 0o600),
            ("/workspace/d/b", FileKind.FILE, 0o644),
        ]
        assert [(path, kind) for path, kind, _ in listed[2:]] == [
            ("/workspace/d/link", FileKind.SYMLINK),
            ("/workspace/d/sub", FileKind.DIRECTORY),
        ]

    def test_an_entry_has_its_size_and_time(self, session: SessionHandle) -> None:
        session.files.write("/workspace/a", b"12345")
        info = session.files.stat("/workspace/a")
        assert (info.path, info.kind, info.size) == ("/workspace/a", FileKind.FILE, 5)
        assert abs(info.modified - time.time()) < 600

    def test_a_file_is_not_listed_and_a_directory_is_not_read(self, session: SessionHandle) -> None:
        session.files.write("/workspace/file", b"")
        with pytest.raises(SessionFileError):
            session.files.list("/workspace/file")
        with pytest.raises(SessionFileError):
            session.files.read("/workspace")
        with pytest.raises(SessionFileError):
            session.files.write("/workspace", b"")
        with pytest.raises(SessionFileError):
            session.files.write("/workspace/file/below", b"")

    @pytest.mark.parametrize("operation", ON_A_MISSING_PATH)
    def test_a_missing_path_is_an_error_that_says_so(self, session: SessionHandle, operation: str) -> None:
        with pytest.raises(SessionFileNotFoundError, match="/workspace/missing"):
            ON_A_MISSING_PATH[operation](session.files)

    def test_a_directory_is_made_with_its_parents_and_twice_is_fine(self, session: SessionHandle) -> None:
        session.files.mkdir("/workspace/x/y/z", mode=0o700)
        session.files.mkdir("/workspace/x/y/z")
        assert session.files.stat("/workspace/x/y/z").mode == 0o700
        assert session.files.stat("/workspace/x/y").mode == 0o755

    def test_files_links_and_empty_directories_are_removed(self, place: Workplace, session: SessionHandle) -> None:
        session.files.write("/workspace/file", b"")
        session.files.mkdir("/workspace/empty")
        place.text(session, "ln -s file /workspace/link")
        session.files.remove("/workspace/link")
        assert session.files.read("/workspace/file") == b""
        session.files.remove("/workspace/file")
        session.files.remove("/workspace/empty")
        left = {info.path for info in session.files.list("/workspace")}
        assert not left & {"/workspace/file", "/workspace/empty", "/workspace/link"}

    def test_a_full_directory_is_removed_only_when_told(self, session: SessionHandle) -> None:
        session.files.write("/workspace/full/of/files", b"")
        with pytest.raises(SessionFileError):
            session.files.remove("/workspace/full")
        assert session.files.read("/workspace/full/of/files") == b""
        session.files.remove("/workspace/full", recursive=True)
        with pytest.raises(SessionFileNotFoundError):
            session.files.stat("/workspace/full")

    def test_files_of_the_template_are_removed(self, session: SessionHandle) -> None:
        session.files.remove("/workspace/seeded")
        with pytest.raises(SessionFileNotFoundError):
            session.files.read("/workspace/seeded")

    def test_renaming_moves_files_and_trees_and_replaces_a_file(self, session: SessionHandle) -> None:
        session.files.write("/workspace/a", b"a")
        session.files.write("/workspace/b", b"b")
        session.files.rename("/workspace/a", "/workspace/b")
        session.files.write("/workspace/tree/leaf", b"leaf")
        session.files.rename("/workspace/tree", "/workspace/moved")
        assert session.files.read("/workspace/b") == b"a"
        assert session.files.read("/workspace/moved/leaf") == b"leaf"
        for gone in ("/workspace/a", "/workspace/tree"):
            with pytest.raises(SessionFileNotFoundError):
                session.files.stat(gone)

    def test_names_may_be_strange(self, session: SessionHandle) -> None:
        for name in ("with space", "new\nline", "ümlaut", "-rf", "quo'te\"", "\udcff\udcfe", "*", "$HOME"):
            path = f"/workspace/strange/{name}"
            session.files.write(path, name.encode("utf-8", "surrogateescape"))
            assert session.files.read(path) == name.encode("utf-8", "surrogateescape")
            assert path in [info.path for info in session.files.list("/workspace/strange")]

    @pytest.mark.parametrize("operation", WITH_A_BAD_PATH)
    def test_a_path_that_leaves_its_root_is_refused(self, session: SessionHandle, operation: str) -> None:
        with pytest.raises(PathEscapesError):
            WITH_A_BAD_PATH[operation](session.files, "/workspace/../../../../etc/passwd")

    @pytest.mark.parametrize("path", ["workspace/relative", "", "./here", "/zero\0byte"])
    def test_a_path_that_is_not_absolute_is_refused(self, session: SessionHandle, path: str) -> None:
        with pytest.raises(SessionFileError):
            session.files.read(path)

    def test_a_link_never_leads_to_a_file_of_this_machine(
        self, place: Workplace, session: SessionHandle, tmp_path: Path
    ) -> None:
        outside = tmp_path / "outside"
        outside.write_text("of this machine", encoding="utf-8")
        place.text(session, f"ln -s {outside} up; ln -s {'../' * 30}{str(outside)[1:]} over; ln -s {tmp_path} dir")
        for path in ("/workspace/up", "/workspace/over", "/workspace/dir/outside"):
            with pytest.raises((SessionFileNotFoundError, PathEscapesError)):
                session.files.read(path)

    def test_writing_through_a_link_never_writes_to_this_machine(
        self, place: Workplace, session: SessionHandle, tmp_path: Path
    ) -> None:
        outside = tmp_path / "outside"
        outside.write_text("of this machine", encoding="utf-8")
        place.text(session, f"ln -s {outside} up; ln -s {tmp_path} dir")
        for path in ("/workspace/up", "/workspace/dir/new"):
            try:
                session.files.write(path, b"changed")
            except SessionFileError:
                continue
            assert session.files.read(path) == b"changed"
        assert outside.read_text(encoding="utf-8") == "of this machine"
        assert [entry.name for entry in tmp_path.iterdir()] == ["outside"]

    def test_a_link_within_the_session_is_followed(self, place: Workplace, session: SessionHandle) -> None:
        session.files.write("/workspace/real/file", b"x")
        place.text(session, "ln -s /workspace/real absolute; ln -s real relative")
        assert session.files.read("/workspace/absolute/file") == b"x"
        assert session.files.read("/workspace/relative/file") == b"x"
        assert [info.path for info in session.files.list("/workspace/relative")] == ["/workspace/relative/file"]
