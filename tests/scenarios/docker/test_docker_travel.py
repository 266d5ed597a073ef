"""Templates travel between Docker's own image store and containerd's, which name one image in two ways."""

import contextlib
import hashlib
import io
import json
import tarfile
import uuid

import pytest

PROJECT = """\
version: 1
namespace: OWN
sandboxes:
  one:
    base: %s
    backend: docker
    env: {COLOUR: blue}
    build: {network: none}
    bootstrap: [{run: 'cat /proc/sys/kernel/random/uuid > /workspace/id'}]
  two:
    extends: one
    build: {network: none}
    bootstrap: [{run: 'echo two > /workspace/two'}]
"""


@pytest.fixture(params=["to containerd", "from containerd"])
def machines(request, docker_story, containerd, registry, tmp_path):
    """Two machines with one project, each with another image store; templates go from the first to the second."""
    with contextlib.ExitStack() as ends:
        story = docker_story("node")
        # A base that both machines find by its digest in a registry; what an engine alone holds is known by its id there.
        base = f"{registry}/{uuid.uuid4().hex[:8]}/busybox:2"
        for action in (("tag", "prewarm-test/busybox:2", base), ("push", base), ("rmi", base)):
            story.docker(*action)
        story.write("prewarm.yaml", PROJECT % base)
        other = story.elsewhere(tmp_path / "home-of-containerd", **containerd)
        ends.callback(other.end)
        yield (story, other) if request.param == "to containerd" else (other, story)


@pytest.fixture
def where(registry):
    return f"{registry}/{uuid.uuid4().hex[:8]}"


def moves(done):
    return {one["name"]: one["move"] for one in json.loads(done.stdout)["templates"]}


def opens(story):
    """Check that both templates can be opened, and give what the first wrote."""
    assert "2 of 2 can be opened" in story.prewarm("check").stdout
    assert story.inside("two", "sh", "-c", "cat two; echo $COLOUR") == "two\nblue\n"
    return story.inside("one", "cat", "id")


def test_both_machines_have_the_same_keys(machines):
    here, there = machines
    assert here.prewarm("keys").stdout == there.prewarm("keys").stdout


def test_a_pulled_template_is_the_one_of_the_lock_file(machines, where):
    here, there = machines
    here.build()
    written = opens(here)

    assert set(moves(here.prewarm("push", where, "--json")).values()) == {"moved"}
    there.prewarm("check", code=7)
    assert set(moves(there.prewarm("pull", where, "--json")).values()) == {"moved"}

    assert opens(there) == written
    assert set(moves(there.prewarm("pull", where, "--json")).values()) == {"already there"}
    assert set(moves(there.prewarm("push", where, "--json")).values()) == {"already there"}
    assert set(moves(here.prewarm("push", where, "--json")).values()) == {"already there"}


def test_a_build_reuses_what_was_pulled_and_leaves_the_lock_file_as_it_is(machines, where):
    here, there = machines
    here.build()
    here.prewarm("push", where)
    lock = (here.project / "prewarm.lock").read_bytes()
    there.prewarm("pull", where)

    assert there.statuses() == {"one": "reused", "two": "reused"}
    assert there.statuses() == {"one": "reused", "two": "reused"}
    assert (there.project / "prewarm.lock").read_bytes() == lock
    kept = json.loads(there.prewarm("gc", "--namespace", there.namespace, "--json").stdout)
    assert [one["kind"] for one in kept["garbage"] if one["kind"] == "template"] == []


def test_a_build_takes_from_a_registry_what_another_store_pushed(machines, where):
    here, there = machines
    here.build()
    here.prewarm("push", where)
    (here.project / "prewarm.lock").unlink()

    built = there.build("--from", where)

    assert {(one["status"], one["reason"]) for one in built.values()} == {("reused", "found in registry")}
    opens(there)
    opens(here)  # By the lock file that the other machine wrote.


def test_templates_travel_in_an_archive(machines, tmp_path):
    here, there = machines
    here.build()
    written = opens(here)

    here.prewarm("export", str(tmp_path / "all.tar"))
    there.prewarm("import", str(tmp_path / "all.tar"))

    assert opens(there) == written
    assert there.statuses() == {"one": "reused", "two": "reused"}


def test_templates_travel_in_the_cache_of_a_ci_system(machines, tmp_path):
    here, there = machines
    here.build()
    written, cache = opens(here), str(tmp_path / "cache")

    here.prewarm("cache", "save", cache)
    assert set(moves(there.prewarm("cache", "restore", cache, "--json")).values()) == {"moved"}

    assert opens(there) == written
    assert set(moves(there.prewarm("cache", "restore", cache, "--json")).values()) == {"already there"}
    assert json.loads(there.prewarm("cache", "save", cache, "--json").stdout)["written"] == 0
    assert here.prewarm("cache", "key").stdout == there.prewarm("cache", "key").stdout


def test_a_child_is_captured_on_a_parent_that_another_store_names(machines, where):
    here, there = machines
    here.build()
    here.prewarm("push", where)
    there.prewarm("pull", where)

    there.edit("prewarm.yaml", "echo two >", "echo too >")
    assert there.statuses() == {"one": "reused", "two": "fresh"}
    assert there.inside("two", "cat", "two") == "too\n"


def test_a_foreign_image_under_name_and_key_is_corrupt_and_never_used(machines, where):
    here, there = machines
    here.build("--only", "one")
    here.prewarm("push", where)
    there.prewarm("pull", where)
    (tag,) = [one["ref"]["value"]["tag"] for one in here.lock().values() if one["name"] == "one"]
    made = there.docker("create", tag, "none")
    # The same configuration, labels and all, over other files.
    there.docker("cp", str(there.project / "prewarm.yaml"), f"{made}:/workspace/evil")
    foreign = there.docker("commit", "--change", "CMD []", made, tag)
    there.docker("rm", made)

    checked = there.prewarm("check", code=8)
    failed = there.prewarm("open", "one", "--", "true", code=8)

    assert "corrupt" in checked.stdout
    assert f"{tag} is image " in failed.stderr
    there.prewarm("push", where, code=8)
    there.prewarm("export", str(there.home / "all.tar"), code=8)
    there.prewarm("cache", "save", str(there.home / "cache"), code=8)
    # What the registry has puts it right.
    there.prewarm("pull", where)
    assert "1 of 1 can be opened" in there.prewarm("check").stdout
    there.docker("rmi", foreign)


def test_a_foreign_image_with_every_label_is_captured_over(machines):
    here, _ = machines
    here.build("--only", "one")
    (tag,) = [one["ref"]["value"]["tag"] for one in here.lock().values() if one["name"] == "one"]
    made = here.docker("create", tag, "none")
    here.docker("cp", str(here.project / "prewarm.yaml"), f"{made}:/workspace/evil")
    # Committed with the configuration of the template: labels, user and all.
    foreign = here.docker("commit", "--change", "CMD []", made, tag)
    here.docker("rm", made)

    planned = here.prewarm("plan", "--only", "one").stdout
    (built,) = here.build("--only", "one").values()

    assert f"corrupt: {tag} is image {foreign}" in planned
    assert (built["status"], built["reason"]) == ("fresh", "corrupt")
    assert here.statuses("--only", "one") == {"one": "reused"}
    assert "evil" not in here.inside("one", "ls", "/workspace")
    here.docker("rmi", foreign)


def test_what_was_pulled_over_another_capture_of_the_same_key_is_reused(machines, where):
    here, there = machines
    here.build("--only", "one")
    here.prewarm("push", where)
    lock = (here.project / "prewarm.lock").read_text()
    there.build("--only", "one", "--force")
    (there.project / "prewarm.lock").write_text(lock)
    there.prewarm("pull", where)

    (built,) = there.build("--only", "one").values()

    assert built["status"] == "reused"
    assert (there.project / "prewarm.lock").read_text() == lock


def test_a_lock_file_without_contents_holds_where_it_was_written(machines):
    here, _ = machines
    here.build("--only", "one")
    lock = json.loads((here.project / "prewarm.lock").read_text())
    for one in lock["templates"]:
        del one["ref"]["value"]["content"]
    (here.project / "prewarm.lock").write_text(json.dumps(lock))

    here.prewarm("check")
    here.prewarm("open", "one", "--", "true")
    assert here.statuses("--only", "one") == {"one": "reused"}


def spoiled(source, target, change):
    """Write an archive again with its members, by name, changed; digests in its manifest follow."""
    with tarfile.open(source) as tar:
        members = {one.name: tar.extractfile(one).read() for one in tar if one.isreg()}
    change(members)
    with tarfile.open(target, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return str(target)


def replace_a_layer(members):
    """Let the manifest name a layer that is not the configuration's, under its own right digest."""
    (image,) = json.loads(members["manifest.json"])
    with io.BytesIO() as buffer:
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            member = tarfile.TarInfo("workspace/evil")
            tar.addfile(member)
        data = buffer.getvalue()
    image["Layers"][-1] = f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"
    members[image["Layers"][-1]] = data
    members["manifest.json"] = json.dumps([image]).encode()
    members.pop("index.json", None)
    members.pop("oci-layout", None)


def test_a_layer_that_is_not_the_configurations_is_refused(machines, tmp_path):
    here, there = machines
    here.build("--only", "one")
    here.prewarm("export", str(tmp_path / "good.tar"), "--only", "one")
    archive = spoiled(tmp_path / "good.tar", tmp_path / "bad.tar", replace_a_layer)

    failed = there.prewarm("import", archive, code=8)

    assert "hint:" in failed.stderr
    assert there.images() == []
    there.prewarm("check", code=7)


def test_an_index_of_an_archive_names_nothing_in_the_engine(machines, tmp_path):
    here, there = machines
    here.build("--only", "one")
    here.prewarm("export", str(tmp_path / "good.tar"), "--only", "one")
    evil = f"prewarm-evil-{uuid.uuid4().hex[:8]}:1"

    def name_another(members):
        index = json.loads(members["index.json"])
        (described,) = index["manifests"]
        named = {"io.containerd.image.name": f"docker.io/library/{evil}"}
        index["manifests"] = [described, {**described, "annotations": named}]
        members["index.json"] = json.dumps(index).encode()

    there.prewarm("import", spoiled(tmp_path / "good.tar", tmp_path / "bad.tar", name_another))

    there.prewarm("check")
    assert there.docker("images", "--quiet", evil) == ""
