import io
import os
import tarfile

import pytest

from prewarm.backends.hosting import FileKind
from prewarm.backends.memory.files import MemoryFiles, bare_tree
from prewarm.backends.tree import pack, unpack
from prewarm.errors import PathEscapesError, SessionFileError, SessionFileNotFoundError
from prewarm.session import SessionFiles


@pytest.fixture
def files():
    store = MemoryFiles(bare_tree(), clock=lambda: 1000.0, alive=lambda: None)
    store.mkdir("/workspace")
    return SessionFiles(lambda: store, "/workspace")


def archive(*members):
    """A tar stream of (name, type, link or content)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            if kind == tarfile.REGTYPE:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            else:
                member.linkname = content
                tar.addfile(member)
    return iter([stream.getvalue()])


def test_text_and_bytes_are_written_and_read(files):
    files.write("text", "tëxt\r\n")
    files.write("bytes", b"\xff\x00")
    assert files.read_text("text") == "tëxt\r\n"
    assert files.read("bytes") == b"\xff\x00"
    assert files.read_text("bytes", encoding="latin-1") == "ÿ\0"


def test_text_that_is_not_text_is_an_error(files):
    files.write("bytes", b"\xff")
    with pytest.raises(UnicodeDecodeError):
        files.read_text("bytes")
    assert files.read_text("bytes", errors="replace") == "\ufffd"


def test_appending_takes_text_and_bytes(files):
    files.append("log", "one,")
    files.append("log", b"two")
    assert files.read_text("log") == "one,two"


def test_relative_paths_start_at_the_workdir(files):
    files.write("sub/a", "x")
    assert files.read_text("/workspace/sub/a") == "x"
    assert [info.path for info in files.list()] == ["/workspace/sub"]
    assert [info.path for info in files.list("sub")] == ["/workspace/sub/a"]


@pytest.mark.parametrize("path", ["../etc/passwd", "/workspace/../etc", "sub/../../x"])
def test_a_path_with_dots_is_refused(files, path):
    with pytest.raises(PathEscapesError) as caught:
        files.read(path)
    assert caught.value.hint


def test_existence_is_asked_without_an_error(files):
    files.write("here", "")
    assert files.exists("here")
    assert files.exists("/workspace")
    assert not files.exists("there")


def test_the_rest_of_the_surface(files):
    files.mkdir("d/e", mode=0o700)
    files.write("d/f", "x", mode=0o600)
    files.rename("d/f", "d/g")
    assert (files.stat("d/g").kind, files.stat("d/g").mode, files.stat("d/e").mode) == (FileKind.FILE, 0o600, 0o700)
    files.remove("d", recursive=True)
    assert not files.exists("d")


def test_a_file_is_uploaded_to_a_path_or_into_a_directory(files, tmp_path):
    source = tmp_path / "a.txt"
    source.write_text("x")
    source.chmod(0o755)
    files.upload(source, "b.txt")
    files.upload(str(source), "into/")
    files.upload(source, "/tmp/deep/c.txt")
    assert files.read_text("b.txt") == files.read_text("into/a.txt") == files.read_text("/tmp/deep/c.txt") == "x"
    assert files.stat("b.txt").mode == 0o755


def test_a_tree_is_uploaded_and_downloaded_unchanged(files, tmp_path):
    source = tmp_path / "source"
    (source / "empty").mkdir(parents=True)
    (source / "sub").mkdir()
    (source / "sub" / "a").write_bytes(bytes(range(256)))
    (source / "link").symlink_to("sub/a")
    (source / "sub" / "a").chmod(0o640)
    files.upload(source, "tree")
    files.download("tree", tmp_path / "target")
    target = tmp_path / "target"
    assert sorted(str(p.relative_to(target)) for p in target.rglob("*")) == ["empty", "link", "sub", "sub/a"]
    assert (target / "sub" / "a").read_bytes() == bytes(range(256))
    assert (target / "sub" / "a").stat().st_mode & 0o777 == 0o640
    assert os.readlink(target / "link") == "sub/a"


def test_a_file_is_downloaded_to_a_path_or_into_a_directory(files, tmp_path):
    files.write("a.txt", "x", mode=0o640)
    files.download("a.txt", tmp_path)
    files.download("a.txt", tmp_path / "new" / "b.txt")
    assert (tmp_path / "a.txt").read_text() == (tmp_path / "new" / "b.txt").read_text() == "x"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.txt", "b.txt", "new"]


def test_a_link_is_downloaded_as_what_it_leads_to(files, tmp_path):
    files.write("real/a.txt", "x")
    files._store().symlink("real/a.txt", "/workspace/file-link")
    files._store().symlink("real", "/workspace/directory-link")
    files.download("file-link", tmp_path / "file")
    files.download("directory-link", tmp_path / "directory")
    assert (tmp_path / "file").read_text() == (tmp_path / "directory" / "a.txt").read_text() == "x"


def test_what_is_missing_is_not_copied(files, tmp_path):
    with pytest.raises(SessionFileNotFoundError):
        files.download("missing", tmp_path / "x")
    with pytest.raises(SessionFileNotFoundError, match="missing"):
        files.upload(tmp_path / "missing", "x")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_is_not_uploaded(files, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SessionFileError, match="neither"):
        files.upload(tmp_path, "x")


REGULAR, LINK, HARD = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
ESCAPES = {
    "dots": [("../out", REGULAR, b"x")],
    "absolute": [("/out", REGULAR, b"x")],
    "through a link made before": [("l", LINK, "."), ("l/../../out", REGULAR, b"x")],
    "link to outside": [("l", LINK, "../out")],
    "absolute link": [("l", LINK, "/etc/passwd")],
    "link in a directory": [("d/l", LINK, "../../out")],
    "hard link to outside": [("h", HARD, "../out")],
    "hard link to an absolute path": [("h", HARD, "/etc/passwd")],
    "device": [("null", tarfile.CHRTYPE, "")],
    "pipe": [("pipe", tarfile.FIFOTYPE, "")],
}


@pytest.mark.parametrize("members", ESCAPES.values(), ids=ESCAPES.keys())
def test_nothing_is_unpacked_outside_of_its_directory(tmp_path, members):
    root = tmp_path / "root"
    (tmp_path / "out").write_text("outside")
    with pytest.raises(PathEscapesError):
        unpack(archive(*members), root)
    assert (tmp_path / "out").read_text() == "outside"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "root"]
    assert not [path for path in root.rglob("*") if path.is_symlink() and not path.resolve().is_relative_to(root)]


def test_a_link_that_was_there_before_is_not_written_through(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "d").symlink_to(outside)
    with pytest.raises(PathEscapesError, match="through a link"):
        unpack(archive(("d/f", REGULAR, b"x")), root)
    assert list(outside.iterdir()) == []


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.write_text("outside")
    (root / "f").symlink_to(outside)
    unpack(archive(("f", REGULAR, b"inside")), root)
    assert outside.read_text() == "outside"
    assert (root / "f").read_text() == "inside"


def test_a_directory_in_the_place_of_a_link_is_made_not_followed(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir(mode=0o755)
    (root / "d").symlink_to(outside)
    unpack(archive(("d", tarfile.DIRTYPE, "")), root)
    assert not (root / "d").is_symlink()


def test_a_hard_link_within_the_archive_is_kept(tmp_path):
    unpack(archive(("a", REGULAR, b"x"), ("b", HARD, "a")), tmp_path)
    assert (tmp_path / "a").stat().st_ino == (tmp_path / "b").stat().st_ino


def test_set_id_bits_are_dropped(tmp_path):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        member = tarfile.TarInfo("tool")
        member.mode = 0o6755
        tar.addfile(member)
    unpack(iter([stream.getvalue()]), tmp_path)
    assert (tmp_path / "tool").stat().st_mode & 0o7777 == 0o755


def test_what_is_no_archive_is_an_error(tmp_path):
    with pytest.raises(SessionFileError, match="cannot unpack"):
        unpack(iter([b"not a tar file" * 1000]), tmp_path)


def test_an_archive_that_is_cut_off_is_an_error(tmp_path):
    whole = b"".join(archive(("a", REGULAR, b"x" * 100_000)))
    with pytest.raises(SessionFileError, match="cannot unpack"):
        unpack(iter([whole[:5000]]), tmp_path)


def test_a_tree_that_is_read_only_is_unpacked(tmp_path):
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    (source / "d" / "f").write_text("x")
    (source / "d" / "f").chmod(0o444)
    (source / "d").chmod(0o555)
    try:
        with pack(source) as packed:
            unpack(iter([packed.read()]), tmp_path / "target")
        assert (tmp_path / "target" / "d" / "f").read_text() == "x"
        assert (tmp_path / "target" / "d").stat().st_mode & 0o777 == 0o555
    finally:
        for directory in (source / "d", tmp_path / "target" / "d"):
            directory.chmod(0o755)
