"""Bases other than this machine: archives and images, unpacked, checked, opened for real."""

import gzip
import os
import tarfile

import pytest
import zstandard
from local import backend_at, sha256
from rootfs import archive, busybox, busybox_archive, layout, member

from prewarm.backends.local import rootfs
from prewarm.backends.local.disk import entries
from prewarm.backends.local.identity import identity_of_this_process
from prewarm.backends.local.merging import merge
from prewarm.definition.model import DockerfileBase, ImageBase, RootfsBase
from prewarm.errors import CaptureFailedError, PathEscapesError, UnkeyableInputError, UnsupportedOptionError
from prewarm.machine import host_platform
from prewarm.testing.builders import shell
from prewarm.testing.workplace import Workplace


@pytest.fixture(scope="session")
def small(absent):
    program = busybox()
    if program is None:
        absent("busybox", "neither installed nor to be fetched")
    return busybox_archive(program)


@pytest.fixture
def backend(tmp_path, absent):
    made = backend_at(tmp_path / "home")
    health = made.check()
    if not health.ok:
        absent("local", health.reason)
    return made


def resolve(backend, base, project, platform=None):
    return backend.resolve_base(base, project=project, platform=platform or host_platform(), sha256=sha256)


def opened(backend, base, *steps):
    place = Workplace(backend, base, "unit")
    captured = place.capture(*steps)
    return place, captured, place.open(captured)


@pytest.mark.parametrize("pack", [lambda x: x, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
def test_an_archive_is_a_base_whatever_it_is_compressed_with(backend, tmp_path, small, pack):
    (tmp_path / "root.tar").write_bytes(pack(small))
    base = resolve(backend, RootfsBase(path="root.tar", sha256=sha256(tmp_path / "root.tar")), tmp_path)

    place, captured, session = opened(backend, base, shell("busybox > /workspace/said; rm /opt/keep/one"))
    try:
        assert "BusyBox" in session.files.read("/workspace/said").decode()
        assert place.text(session, "ls /opt/keep; id -u") == "two\n1000"
        assert len(captured.ref.value["layers"]) == 3
    finally:
        place.close()


def test_an_archive_is_unpacked_once(backend, tmp_path, small):
    (tmp_path / "root.tar").write_bytes(small)
    base = resolve(backend, RootfsBase(path="root.tar"), tmp_path)
    place = Workplace(backend, base, "unit")
    first, second = place.capture(shell("echo 1")), None
    (tmp_path / "root.tar").unlink()
    second = place.capture(shell("echo 2"))
    assert first.ref.value["layers"][:2] == second.ref.value["layers"][:2]
    place.close()


def test_an_archive_with_another_digest_is_refused(backend, tmp_path, small):
    (tmp_path / "root.tar").write_bytes(small)
    with pytest.raises(UnkeyableInputError, match="not 0000") as caught:
        resolve(backend, RootfsBase(path="root.tar", sha256="0" * 64), tmp_path)
    assert "sha256" in caught.value.hint


def test_an_archive_that_is_missing_is_refused(backend, tmp_path):
    with pytest.raises(UnkeyableInputError, match="does not exist"):
        resolve(backend, RootfsBase(path="root.tar"), tmp_path)


def test_what_is_no_archive_fails_the_capture(backend, tmp_path):
    (tmp_path / "root.tar").write_bytes(b"nothing of the kind" * 1000)
    base = resolve(backend, RootfsBase(path="root.tar"), tmp_path)
    with pytest.raises(CaptureFailedError, match=r"root\.tar"):
        Workplace(backend, base, "unit").capture(shell("true"))
    assert not list(backend.store.stagings.iterdir())


@pytest.mark.parametrize(
    "entries",
    [
        [(member("../out"), b"x")],
        [(member("a/../../out"), b"x")],
        [(member("hard", tarfile.LNKTYPE, link="../../etc/passwd"), b"")],
    ],
)
def test_members_that_leave_the_root_are_refused(tmp_path, entries):
    (tmp_path / "evil.tar").write_bytes(archive(*entries))
    (tmp_path / "to").mkdir()
    with pytest.raises(PathEscapesError):
        rootfs.unpack(tmp_path / "evil.tar", tmp_path / "to")
    assert not (tmp_path / "out").exists()


def test_links_out_of_the_root_lead_back_into_it(tmp_path):
    inside = [
        (member("up", tarfile.SYMTYPE, link="../../.."), b""),
        (member("up/written"), b"x"),
        (member("deep", tarfile.DIRTYPE, mode=0o755), b""),
        (member("abs", tarfile.SYMTYPE, link="/deep"), b""),
        (member("abs/file"), b"y"),
    ]
    (tmp_path / "links.tar").write_bytes(archive(*inside))
    (tmp_path / "to").mkdir()
    rootfs.unpack(tmp_path / "links.tar", tmp_path / "to")
    assert (tmp_path / "to/written").read_bytes() == b"x"
    assert (tmp_path / "to/deep/file").read_bytes() == b"y"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["links.tar", "to"]


def test_device_nodes_are_left_out_and_modes_are_kept(tmp_path):
    entries = [
        (member("dev/null", tarfile.CHRTYPE), b""),
        (member("sub", tarfile.DIRTYPE, mode=0o2750), b""),
        (member("sub/run", mode=0o4755), b"x"),
        (member("closed", tarfile.DIRTYPE, mode=0o555), b""),
        (member("closed/in"), b"x"),
    ]
    (tmp_path / "modes.tar").write_bytes(archive(*entries))
    (tmp_path / "to").mkdir()
    rootfs.unpack(tmp_path / "modes.tar", tmp_path / "to")
    many = identity_of_this_process().many
    assert not (tmp_path / "to/dev/null").exists()
    assert (tmp_path / "to/sub/run").stat().st_mode & 0o7777 == (0o4755 if many else 0o755)
    assert (tmp_path / "to/closed").stat().st_mode & 0o7777 == 0o555
    assert (tmp_path / "to/closed/in").read_bytes() == b"x"
    (tmp_path / "to/closed").chmod(0o755)


def whiteouts():
    return archive(
        (member("opt/keep/.wh.one"), b""),
        (member("opt/keep/three"), b"3\n"),
        (member("etc/.wh..wh..opq"), b""),
        (member("etc/passwd"), b"root:x:0:0:root:/root:/bin/sh\nimage:x:7:7::/:/bin/sh\n"),
    )


@pytest.mark.parametrize("as_archive", [False, True], ids=["directory", "archive"])
def test_an_image_is_a_base_with_its_deletions_and_variables(backend, tmp_path, small, as_archive):
    layout(tmp_path / "image", small, whiteouts())
    reference = "oci:image:1"
    if as_archive:
        with tarfile.open(tmp_path / "image.tar", "w") as tar:
            tar.add(tmp_path / "image", ".")
        reference = "oci-archive:image.tar"
    base = resolve(backend, ImageBase(reference=reference), tmp_path)

    place, captured, session = opened(backend, base, shell("echo $FROM_IMAGE > /workspace/env"))
    try:
        assert place.text(session, "ls /opt/keep /etc").split() == [
            "/etc:", "group", "hosts", "passwd", "/opt/keep:", "three", "two",
        ]  # fmt: skip
        assert session.files.read("/workspace/env") == b"yes\n"
        assert place.text(session, "echo $FROM_IMAGE $PATH") == "yes /bin"
        assert len(captured.ref.value["layers"]) == 4
    finally:
        place.close()


def test_images_share_the_layers_that_are_the_same(backend, tmp_path, small):
    extra = archive((member("opt/extra"), b"1\n"))
    layout(tmp_path / "one", small, whiteouts())
    layout(tmp_path / "two", small, whiteouts(), extra)
    first, captured, _ = opened(backend, resolve(backend, ImageBase(reference="oci:one"), tmp_path), shell("true"))
    try:
        second, grown, session = opened(
            backend, resolve(backend, ImageBase(reference="oci:two"), tmp_path), shell("true")
        )
        try:
            assert grown.ref.value["layers"][:2] == captured.ref.value["layers"][:2]
            assert session.files.read("/opt/extra") == b"1\n"
            assert not entries(backend.store.stagings)
        finally:
            second.close()
    finally:
        first.close()


def test_an_image_is_known_by_its_manifest_wherever_it_lies(backend, tmp_path, small):
    layout(tmp_path / "one", small)
    layout(tmp_path / "two", small, tag="other")
    first = resolve(backend, ImageBase(reference="oci:one"), tmp_path)
    assert first.digest == resolve(backend, ImageBase(reference="oci:two:other"), tmp_path).digest
    layout(tmp_path / "three", small, whiteouts())
    assert first.digest != resolve(backend, ImageBase(reference="oci:three"), tmp_path).digest


def test_an_image_without_this_platform_is_refused(backend, tmp_path, small):
    layout(tmp_path / "image", small, platform=("linux", "s390x"))
    with pytest.raises(UnkeyableInputError, match="no image for linux"):
        resolve(backend, ImageBase(reference="oci:image"), tmp_path)


def test_a_tag_that_is_not_there_is_refused(backend, tmp_path, small):
    layout(tmp_path / "image", small)
    with pytest.raises(UnkeyableInputError, match="tag 9"):
        resolve(backend, ImageBase(reference="oci:image:9"), tmp_path)


def test_a_damaged_blob_fails_the_capture(backend, tmp_path, small):
    layout(tmp_path / "image", small)
    base = resolve(backend, ImageBase(reference="oci:image"), tmp_path)
    largest = max((tmp_path / "image/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[-2000] ^= 1
    largest.write_bytes(content)
    with pytest.raises(CaptureFailedError, match="damaged"):
        Workplace(backend, base, "unit").capture(shell("true"))


def test_a_dockerfile_is_refused_with_a_way_out(backend, tmp_path):
    with pytest.raises(UnsupportedOptionError) as caught:
        resolve(backend, DockerfileBase(), tmp_path)
    assert "docker" in caught.value.hint


def test_a_chain_longer_than_the_kernel_takes_is_laid_together(backend, tmp_path, small):
    (tmp_path / "root.tar").write_bytes(small)
    place = Workplace(backend, resolve(backend, RootfsBase(path="root.tar"), tmp_path), "unit")
    last = place.capture(shell("rm /opt/keep/one; echo 0 > /workspace/count; touch /workspace/first"))
    for number in range(1, 45):
        last = place.capture(shell(f"echo {number} > /workspace/count"), parent=last)
    try:
        session = place.open(last)
        assert place.text(session, "cat /workspace/count; ls /opt/keep /workspace") == (
            "44\n/opt/keep:\ntwo\n\n/workspace:\ncount\nfirst"
        )
        assert len(last.ref.value["layers"]) < 44
    finally:
        place.close()


def test_layers_laid_together_are_what_overlayfs_shows(tmp_path, absent):
    lower, upper, merged = (tmp_path / name for name in ("lower", "upper", "merged"))
    for path in (lower / "gone", lower / "opaque/below", lower / "kept", upper / "opaque", upper / "kept", merged):
        path.mkdir(parents=True)
    (lower / "gone/file").write_text("x")
    (lower / "kept/old").write_text("old")
    (lower / "kept/changed").write_text("before")
    (lower / "was-file").write_text("x")
    (upper / "kept/changed").write_text("after")
    (upper / "was-file").mkdir()
    (upper / "was-file/now").symlink_to("../kept")
    try:
        os.mknod(upper / "gone", 0o600 | 0o020000, 0)
        os.setxattr(upper / "opaque", "user.overlay.opaque", b"y")
    except OSError as error:
        absent("overlayfs", str(error))
    (upper / "kept").chmod(0o500)

    merge([lower, upper], merged)

    assert sorted(str(path.relative_to(merged)) for path in merged.rglob("*")) == [
        "kept", "kept/changed", "kept/old", "opaque", "was-file", "was-file/now",
    ]  # fmt: skip
    assert (merged / "kept/changed").read_text() == "after"
    assert (merged / "kept").stat().st_mode & 0o777 == 0o500
    (upper / "kept").chmod(0o700)
    (merged / "kept").chmod(0o700)
