"""The contract of trees: a tar stream each way, exact, and nothing leaves the place it belongs to."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from prewarm.backends.context import Feature
from prewarm.backends.hosting import FileKind, SessionHandle
from prewarm.backends.tree import pack, unpack
from prewarm.errors import PathEscapesError, SessionFileError, SessionFileNotFoundError
from prewarm.testing.harness import Harness, needs
from prewarm.testing.workplace import USER, Workplace

EVERY_BYTE = bytes(range(256))


class TreesContract(Harness):
    """``put_tree`` and ``get_tree``."""

    def test_a_tree_goes_in_and_comes_out_unchanged(self, session: SessionHandle, tmp_path: Path) -> None:
        source, target = tmp_path / "source", tmp_path / "target"
        _make_tree(source)
        with pack(source) as archive:
            session.files.put_tree("/workspace/tree", archive)
        unpack(session.files.get_tree("/workspace/tree"), target)
        assert _described(target) == _described(source)

    def test_a_tree_is_there_for_commands(self, place: Workplace, session: SessionHandle) -> None:
        session.files.put_tree("/workspace/tree", _archive(_file("run.sh", b"#!/bin/sh\necho ran\n", 0o755)))
        assert place.text(session, ["/workspace/tree/run.sh"]) == "ran"

    def test_unpacking_makes_the_directory_and_keeps_what_is_there(self, session: SessionHandle) -> None:
        session.files.put_tree("/workspace/new/place", _archive(_file("a", b"1")))
        session.files.put_tree("/workspace/new/place", _archive(_file("b", b"2")))
        names = [info.path for info in session.files.list("/workspace/new/place")]
        assert names == ["/workspace/new/place/a", "/workspace/new/place/b"]

    def test_unpacking_replaces_files(self, session: SessionHandle) -> None:
        session.files.write("/workspace/tree/a", b"long old content")
        session.files.put_tree("/workspace/tree", _archive(_file("a", b"new")))
        assert session.files.read("/workspace/tree/a") == b"new"

    @needs(Feature.PROCESSES)
    def test_what_is_unpacked_belongs_to_the_sessions_user(self, place: Workplace, session: SessionHandle) -> None:
        session.files.put_tree("/workspace/tree", _archive(_directory("d"), _file("d/f", b"x", 0o600)))
        owners = place.text(session, "stat -c %U tree tree/d tree/d/f; cat tree/d/f")
        assert owners.split() == [USER, USER, USER, "x"]

    @needs(Feature.PROCESSES)
    def test_directories_that_an_archive_does_not_have_belong_to_the_sessions_user(
        self, place: Workplace, session: SessionHandle
    ) -> None:
        session.files.mkdir("/workspace/tree/kept", mode=0o700)
        session.files.put_tree("/workspace/tree", _archive(_file("kept/f", b"x"), _file("d/e/f", b"x")))
        owners = place.text(session, "stat -c '%U %a' tree/kept tree/d tree/d/e")
        assert owners.splitlines() == [f"{USER} 700", f"{USER} 755", f"{USER} 755"]

    def test_a_member_that_leaves_through_a_link_in_the_session_is_refused(self, session: SessionHandle) -> None:
        session.files.mkdir("/workspace/beside")
        session.files.put_tree("/workspace", _archive(_link("tree/out", "../beside")))
        with pytest.raises(SessionFileError):
            session.files.put_tree("/workspace/tree", _archive(_file("out/escaped", b"x")))
        assert list(session.files.list("/workspace/beside")) == []

    def test_a_single_file_comes_out_as_an_archive_of_one(self, session: SessionHandle) -> None:
        session.files.write("/workspace/single", EVERY_BYTE, mode=0o640)
        archive = io.BytesIO(b"".join(session.files.get_tree("/workspace/single")))
        with tarfile.open(fileobj=archive) as tar:
            (member,) = tar.getmembers()
            content = tar.extractfile(member)
            assert content is not None
            assert (member.name, member.mode, content.read()) == ("single", 0o640, EVERY_BYTE)

    def test_an_empty_directory_comes_out_empty(self, session: SessionHandle, tmp_path: Path) -> None:
        session.files.mkdir("/workspace/empty")
        unpack(session.files.get_tree("/workspace/empty"), tmp_path / "target")
        assert list((tmp_path / "target").iterdir()) == []

    def test_megabytes_go_in_and_come_out(self, session: SessionHandle, tmp_path: Path) -> None:
        large = EVERY_BYTE * 40_000
        session.files.put_tree("/workspace/tree", _archive(_file("large", large)))
        unpack(session.files.get_tree("/workspace/tree"), tmp_path)
        assert (tmp_path / "large").read_bytes() == large

    def test_thousands_of_files_go_in_and_come_out(self, session: SessionHandle, tmp_path: Path) -> None:
        files = [_file(f"d{number % 20}/f{number}", str(number).encode()) for number in range(3000)]
        session.files.put_tree("/workspace/tree", _archive(*files))
        unpack(session.files.get_tree("/workspace/tree"), tmp_path)
        found = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("f*")}
        assert found == {f"d{number % 20}/f{number}": str(number) for number in range(3000)}

    @pytest.mark.parametrize("name", ["../escaped", "/escaped", "a/../../escaped", "./../escaped"])
    def test_a_member_that_leaves_the_directory_is_refused(self, session: SessionHandle, name: str) -> None:
        with pytest.raises(PathEscapesError):
            session.files.put_tree("/workspace/tree", _archive(_file(name, b"x")))
        for path in ("/workspace/escaped", "/escaped"):
            with pytest.raises(SessionFileNotFoundError):
                session.files.stat(path)

    def test_a_member_that_leaves_through_a_link_is_refused(self, session: SessionHandle) -> None:
        session.files.mkdir("/workspace/beside")
        archive = _archive(_link("way-out", "/workspace/beside"), _file("way-out/escaped", b"x"))
        with pytest.raises(PathEscapesError):
            session.files.put_tree("/workspace/tree", archive)
        assert list(session.files.list("/workspace/beside")) == []

    def test_a_hard_link_to_what_is_outside_is_refused(self, session: SessionHandle) -> None:
        member = tarfile.TarInfo("stolen")
        member.type, member.linkname = tarfile.LNKTYPE, "../seeded"
        with pytest.raises(PathEscapesError):
            session.files.put_tree("/workspace/tree", _archive((member, b"")))

    @pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
    def test_a_device_node_is_refused(self, session: SessionHandle, kind: bytes) -> None:
        member = tarfile.TarInfo("device")
        member.type, member.devmajor, member.devminor = kind, 1, 3
        with pytest.raises(PathEscapesError):
            session.files.put_tree("/workspace/tree", _archive((member, b"")))

    def test_a_link_within_the_tree_is_kept(self, session: SessionHandle) -> None:
        session.files.put_tree("/workspace/tree", _archive(_file("a", b"x"), _link("b", "a")))
        assert session.files.stat("/workspace/tree/b").kind is FileKind.SYMLINK
        assert session.files.read("/workspace/tree/b") == b"x"


def _make_tree(root: Path) -> None:
    (root / "empty").mkdir(parents=True)
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "er" / "bytes").write_bytes(EVERY_BYTE)
    (root / "tool").write_bytes(b"#!/bin/sh\n")
    (root / "tool").chmod(0o755)
    (root / "private").write_bytes(b"")
    (root / "private").chmod(0o600)
    (root / "name with ümlaut").write_bytes(b"x")
    (root / "link").symlink_to("deep/er/bytes")
    (root / ("long" * 50)).write_bytes(b"long name")


def _described(root: Path) -> dict[str, tuple[int, bytes | str | None]]:
    found: dict[str, tuple[int, bytes | str | None]] = {}
    for path in root.rglob("*"):
        content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(root))] = (path.lstat().st_mode, content)
    return found


def _archive(*members: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    archive.seek(0)
    return archive


def _file(name: str, content: bytes, mode: int = 0o644) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    return member, content


def _directory(name: str) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.mode = tarfile.DIRTYPE, 0o755
    return member, b""


def _link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member, b""
