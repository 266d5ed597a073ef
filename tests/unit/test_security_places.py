"""Hostile layers and sessions: what is mounted at a start never lands outside of the sandbox."""

import io
import os
import tarfile
from pathlib import Path

import pytest
from local import backend_at, sha256
from rootfs import archive, busybox, busybox_archive, member

from prewarm.backends.local.places import Places
from prewarm.definition.model import Network, RootfsBase
from prewarm.errors import CaptureFailedError, SessionFailedError
from prewarm.machine import host_platform
from prewarm.testing.builders import shell
from prewarm.testing.workplace import Workplace

SERVERS = Path("/etc/resolv.conf").read_bytes() if os.path.exists("/etc/resolv.conf") else b""


@pytest.fixture
def backend(tmp_path, absent):
    backend = backend_at(tmp_path / "home")
    health = backend.check()
    if not health.ok:
        absent("local", health.reason)
    if busybox() is None:
        absent("busybox", "neither installed nor to be fetched")
    return backend


@pytest.fixture
def outside(tmp_path):
    """Give a directory of this machine that nothing may touch."""
    directory = tmp_path / "outside"
    directory.mkdir()
    return directory


def without(data, *names):
    """Give an archive without what is at or below these names."""
    with tarfile.open(fileobj=io.BytesIO(data)) as source:
        kept = [one for one in source if not any(one.name == name or one.name.startswith(f"{name}/") for name in names)]
        return [(one, source.extractfile(one).read() if one.isreg() else b"") for one in kept]


def workplace(backend, tmp_path, *members, instead_of=()):
    path = tmp_path / "root.tar"
    path.write_bytes(archive(*without(busybox_archive(busybox()), *instead_of), *members))
    base = backend.resolve_base(
        RootfsBase(path=str(path), sha256=None), project=tmp_path, platform=host_platform(), sha256=sha256
    )
    return Workplace(backend, base, "hostile")


@pytest.mark.parametrize("start", ["/oldroot", "../oldroot", "../../../../oldroot", ""])
@pytest.mark.parametrize("name", ["etc", "run"])
def test_a_directory_of_the_base_that_is_a_link_does_not_lead_to_this_machine(backend, tmp_path, outside, name, start):
    link = (member(name, tarfile.SYMTYPE, link=f"{start}{outside}"), b"")
    place = workplace(backend, tmp_path, link, instead_of=(name,))
    try:
        place.capture(shell("true"))
    finally:
        place.close()
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("name", ["proc", "dev"])
def test_a_base_whose_proc_or_dev_is_a_link_is_refused(backend, tmp_path, outside, name):
    place = workplace(backend, tmp_path, (member(name, tarfile.SYMTYPE, link=f"/oldroot{outside}"), b""))
    with pytest.raises(CaptureFailedError, match=f"/{name} of the sandbox leads to"):
        place.capture(shell("true"))
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("way", ["/proc/self/root/oldroot", "../proc/1/root/oldroot"])
def test_a_link_below_proc_is_refused(backend, tmp_path, outside, way):
    link = (member("etc", tarfile.SYMTYPE, link=f"{way}{outside}"), b"")
    place = workplace(backend, tmp_path, link, instead_of=("etc",))
    with pytest.raises(CaptureFailedError, match="nothing can be mounted"):
        place.capture(shell("true"))
    assert list(outside.iterdir()) == []


def test_links_that_a_session_left_do_not_lead_to_this_machine_when_it_starts_again(backend, tmp_path, outside):
    place = workplace(backend, tmp_path)
    template = place.capture(shell("true"))
    session = place.open(place.opening(template, "again"))
    left = f"rm -f /etc/resolv.conf; ln -s /x/resolv /etc/resolv.conf; ln -s /oldroot{outside} /x"
    assert place.run(session, left, cwd="/", user="root").ok
    other = place.open(place.opening(template, "again", network=Network.ALL))
    assert place.run(other, f"cat /oldroot{outside}/resolv", cwd="/", user="root").stdout.encode() == SERVERS
    place.close()
    assert list(outside.iterdir()) == []


def test_packing_everything_leaves_proc_out(backend, tmp_path):
    place = workplace(backend, tmp_path)
    session = place.open(place.capture(shell("true")))
    with tarfile.open(fileobj=io.BytesIO(b"".join(session.files.get_tree("/")))) as tar:
        names = tar.getnames()
    place.close()
    assert "etc/passwd" in names
    assert [name for name in names if name.startswith("proc/")] == []


def directories(tmp_path, *trees):
    """Lay directories out: a text is a file, ``->`` a link, ``None`` a directory."""
    found = []
    for number, tree in enumerate(trees):
        root = tmp_path / str(number)
        root.mkdir()
        for path, what in tree.items():
            place = root / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if what is None:
                place.mkdir(exist_ok=True)
            elif what.startswith("->"):
                place.symlink_to(what[2:])
            else:
                place.write_text(what)
        found.append(root)
    return found


def test_a_place_is_found_through_links_and_layers(tmp_path):
    places = Places(
        directories(
            tmp_path,
            {"etc/resolv.conf": "->../run/resolve/stub", "var/run": "->/run", "run": None, "a": "->b", "b/c": "->../d"},
            {"d": None, "e": "->/var/run/e"},
        )
    )
    assert places.of("/etc/hosts") == "/etc/hosts"
    assert places.of("/etc/resolv.conf") == "/run/resolve/stub"
    assert places.of("/a/c/x") == "/d/x"
    assert places.of("/e") == "/run/e"
    assert places.of("/not/there") == "/not/there"


def test_a_link_that_an_upper_layer_covers_does_not_count(tmp_path):
    lower, upper, top = directories(tmp_path, {"etc/x": "->/y", "opt": "->/proc"}, {"etc": None, "opt": None}, {})
    assert Places((lower, upper, top)).of("/opt/z") == "/opt/z"
    assert Places((lower, upper, top)).of("/etc/x") == "/y"
    os.setxattr(upper / "etc", "user.overlay.opaque", b"y")
    assert Places((lower, upper, top)).of("/etc/x") == "/etc/x"


def test_links_in_a_circle_are_refused(tmp_path):
    places = Places(directories(tmp_path, {"etc": "->usr", "usr": "->etc"}))
    with pytest.raises(SessionFailedError, match="leads nowhere"):
        places.of("/etc/hosts")


def test_a_place_that_is_the_root_is_refused(tmp_path):
    with pytest.raises(SessionFailedError, match="leads to /, where nothing can be mounted"):
        Places(directories(tmp_path, {"run": "->.."})).of("/run")
