"""Hostile archives: what is in them stays below where they are unpacked, ends, and fails as an error of ours."""

import gzip
import io
import math
import os
import tarfile

import pytest
import zstandard
from rootfs import archive, member

from prewarm.backends.local import rootfs
from prewarm.backends.local.disk import remove_tree, tree_size
from prewarm.backends.local.inside import make_directories
from prewarm.backends.tree import unpack
from prewarm.errors import CaptureFailedError, PathEscapesError, SessionFileError

LINK, HARD, DIRECTORY = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE


@pytest.fixture
def target(tmp_path):
    """Give a directory with a neighbour that nothing may touch."""
    (tmp_path / "neighbour").mkdir()
    (tmp_path / "neighbour" / "kept").write_text("kept")
    (tmp_path / "target").mkdir()
    yield tmp_path / "target"
    assert sorted(os.listdir(tmp_path)) in (["neighbour", "target"], ["neighbour", "root.tar", "target"])
    assert os.listdir(tmp_path / "neighbour") == ["kept"]
    assert (tmp_path / "neighbour" / "kept").read_text() == "kept"


def unpacked(tmp_path, data, **options):
    (tmp_path / "root.tar").write_bytes(data)
    rootfs.unpack(tmp_path / "root.tar", tmp_path / "target", **options)
    return tmp_path / "target"


def leads_out(root):
    """Say which links below a directory lead out of it, by following them."""
    paths = [os.path.join(at, name) for at, names, files in os.walk(root) for name in (*names, *files)]
    return [path for path in paths if not os.path.realpath(path).startswith(os.path.realpath(root))]


@pytest.mark.parametrize("name", [".wh..", ".wh...", ".wh.", "a/.wh..", "a/.wh..."])
def test_a_deletion_of_what_is_not_below_it_is_refused(target, tmp_path, name):
    data = archive((member("a", DIRECTORY, mode=0o755), b""), (member("a/b"), b"x"), (member(name), b""))
    with pytest.raises(PathEscapesError, match="deletes what is not below it"):
        unpacked(tmp_path, data, whiteouts=True)


@pytest.mark.parametrize("time", [math.inf, -math.inf, math.nan, 1e300, -1e300, -1.0])
def test_a_time_that_is_none_is_taken_as_the_beginning_of_time(target, tmp_path, time):
    info = member("file")
    info.mtime = time if math.isfinite(time) else 0
    info.pax_headers = {"mtime": repr(time)}
    found = unpacked(tmp_path, archive((info, b"x"))) / "file"
    assert found.stat().st_mtime == 0
    unpack(iter([archive((info, b"x"))]), target)
    assert found.stat().st_mtime == 0


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_damaged_compression_is_an_error_of_ours(target, tmp_path, pack):
    good = pack(archive((member("file"), os.urandom(300_000))))
    for place in range(10, len(good), len(good) // 40):
        damaged = good[:place] + bytes((good[place] ^ 0xFF,)) + good[place + 1 :]
        with pytest.raises(CaptureFailedError):
            unpacked(tmp_path, damaged, sha256="0" * 64)


def test_an_archive_that_is_not_the_one_that_was_keyed_is_refused(target, tmp_path):
    with pytest.raises(CaptureFailedError, match="has changed since it was looked at"):
        unpacked(tmp_path, archive((member("file"), b"x")), sha256="0" * 64)


def test_what_follows_the_end_of_an_archive_counts_in_its_digest(target, tmp_path):
    data = archive((member("file"), b"x")) + bytes(3_000_000) + b"more"
    import hashlib

    assert (unpacked(tmp_path, data, sha256=hashlib.sha256(data).hexdigest()) / "file").read_bytes() == b"x"


def test_directories_go_as_deep_as_the_kernel_lets_them_and_can_be_taken_away(tmp_path):
    place = tmp_path / "deep"
    place.mkdir()
    root = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deep = make_directories(root, b"a/" * 1900 + b"b", None)
        with pytest.raises(OSError, match="too long"):
            make_directories(root, b"a/" * 3000 + b"b", None)
        os.close(make_directories(deep, b"c/" * 1900 + b"d", None))  # Longer together than a path may be.
        os.close(deep)
    finally:
        os.close(root)
    assert tree_size(place) == 0
    remove_tree(place)
    assert not place.exists()


HOSTILE = {
    "absolute": [(member("/etc/x"), b"x")],
    "above": [(member("../x"), b"x")],
    "above, later": [(member("a/../../x"), b"x")],
    "through a link": [(member("a", LINK, link=".."), b""), (member("a/x"), b"x")],
    "through an absolute link": [(member("a", LINK, link="/tmp"), b""), (member("a/x"), b"x")],
    "through a link of its own": [(member("a", LINK, link="b"), b""), (member("b", LINK, link=".."), b"")],
    "a link that becomes one": [(member("a", LINK, link="b/.."), b""), (member("b", LINK, link="."), b"")],
    "a link up": [(member("a/b", LINK, link="../../x"), b"")],
    "a hard link": [(member("a", HARD, link="../neighbour/kept"), b"")],
    "an absolute hard link": [(member("a", HARD, link="/etc/passwd"), b"")],
    "a hard link to a link": [(member("a", LINK, link="b"), b""), (member("c", HARD, link="a"), b"")],
    "a device": [(member("a", tarfile.CHRTYPE), b"")],
    "a fifo": [(member("a", tarfile.FIFOTYPE), b"")],
    "a link, then a file below it": [
        (member("a", DIRECTORY, mode=0o755), b""),
        (member("l", LINK, link="a"), b""),
        (member("l/x"), b"x"),
    ],
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_tree_that_leaves_its_root_is_refused_on_this_machine(target, what):
    with pytest.raises(PathEscapesError):
        unpack(iter([archive(*HOSTILE[what])]), target)
    assert leads_out(target) == []


def test_a_chain_of_links_longer_than_paths_may_be_does_not_lead_out(target):
    part = "d" * 247
    entries, at = [], ""
    for letter in "abcdefghijklmnop":
        entries += [
            (member(f"{at}{part}", DIRECTORY, mode=0o755), b""),
            (member(f"{at}{letter}", LINK, link=part), b""),
        ]
        at += f"{part}/"
    short = "/".join("abcdefghijklmnop")
    entries += [
        (member(f"{short}/{'l' * 254}", LINK, link="../" * 16), b""),
        (member("escape", LINK, link=f"{short}/{'l' * 254}/../../neighbour"), b""),
        (member("escape/kept"), b"lost"),
    ]
    with pytest.raises((PathEscapesError, SessionFileError)):
        unpack(iter([archive(*entries)]), target)


def test_links_within_a_tree_are_kept(target):
    unpack(
        iter([archive((member("a/b/file"), b"x"), (member("a/link", LINK, link="b/file"), b""),
                      (member("a/b/up", LINK, link="../../a/b/file"), b""), (member("again", HARD, link="a/b/file"), b""))]),
        target,
    )  # fmt: skip
    assert (
        (target / "a/link").read_bytes() == (target / "a/b/up").read_bytes() == (target / "again").read_bytes() == b"x"
    )


def test_a_directory_takes_the_place_of_a_link_and_the_other_way_round(target):
    for entries in (
        [(member("a", LINK, link="b"), b"")],
        [(member("a", DIRECTORY, mode=0o755), b""), (member("a/x"), b"x")],
    ):
        unpack(iter([archive(*entries)]), target)
    assert (target / "a/x").read_bytes() == b"x"


@pytest.mark.parametrize("seed", range(30))
def test_random_damage_ends_in_an_error_of_ours_or_in_a_tree(target, tmp_path, seed):
    import random

    chance = random.Random(seed)
    info = member("dir/file")
    info.pax_headers = {"comment": "x" * 50, "path": "dir/" + "n" * 150}
    data = bytearray(archive((member("dir", DIRECTORY, mode=0o755), b""), (info, b"x" * 600), (member("z"), b"y")))
    for _ in range(chance.randint(1, 12)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    for take in (lambda: unpacked(tmp_path, bytes(data)), lambda: unpack(iter([bytes(data)]), target)):
        try:
            take()
        except (CaptureFailedError, PathEscapesError, SessionFileError):
            continue
    assert leads_out(target) == []


def test_a_size_below_zero_is_refused(target, tmp_path):
    info = member("file")
    data = bytearray(archive((info, b"x")))
    data[124:136] = b"\xff" * 12  # A size below zero.
    data[148:156] = b"        "
    data[148:156] = b"%06o\0 " % sum(data[:512])
    with pytest.raises(CaptureFailedError):
        unpacked(tmp_path, bytes(data))
    with pytest.raises(SessionFileError):
        unpack(iter([bytes(data)]), target)


def test_the_archives_of_these_tests_can_be_read():
    assert tarfile.open(fileobj=io.BytesIO(archive((member("a"), b"x")))).getnames() == ["a"]  # noqa: SIM115 - of bytes.
