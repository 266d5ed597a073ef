"""Whole stories on Docker: build, reuse, change, travel, open."""

import hashlib
import io
import json
import tarfile
import uuid

TOKEN = "hunter2-story-81c7"


def layers(archive):
    """Give every file of a saved image, layers unpacked."""
    with tarfile.open(archive) as saved:
        for member in saved:
            file = saved.extractfile(member)
            content = file.read() if file else b""
            yield member.name, content
            try:
                with tarfile.open(fileobj=io.BytesIO(content)) as layer:
                    for inner in layer:
                        part = layer.extractfile(inner) if inner.isreg() else None
                        yield inner.name, part.read() if part else b""
            except tarfile.TarError:  # A configuration or a manifest.
                continue


def test_a_python_sandbox_is_captured_once_and_opened(docker_story, tmp_path):
    story = docker_story("python")

    built = story.prewarm("build", "--json", STORY_TOKEN=TOKEN)
    again = story.build(STORY_TOKEN=TOKEN)

    assert {one["name"]: one["status"] for one in json.loads(built.stdout)["templates"]} == {
        "base": "fresh",
        "analyst": "fresh",
    }
    assert {(one["status"], one["reason"]) for one in again.values()} == {("reused", "unchanged")}
    assert story.inside("analyst", "cat", "motd.txt", "warmed") == "hello\nwarm True\n"
    assert story.inside("analyst", "cat", "proof").strip() == hashlib.sha256(TOKEN.encode()).hexdigest()[:12]
    # The secret is in no output, lock file, state, layer, configuration or history.
    assert TOKEN not in built.stdout + built.stderr
    assert TOKEN not in (story.project / "prewarm.lock").read_text()
    assert [p for p in story.home.rglob("*") if p.is_file() and TOKEN.encode() in p.read_bytes()] == []
    story.prewarm("export", str(tmp_path / "all.tar"))
    assert [name for name, content in layers(tmp_path / "all.tar") if TOKEN.encode() in content] == []


def test_a_change_to_the_last_step_keeps_the_layers_before_it(docker_story):
    story = docker_story("python")
    story.build(STORY_TOKEN=TOKEN)

    story.edit("hooks/setup.py", "warm'", "warmer'")
    changed = story.build(STORY_TOKEN=TOKEN)

    assert (changed["base"]["status"], changed["analyst"]["status"]) == ("reused", "fresh")
    assert changed["analyst"]["reason"] == "inputs changed"
    assert story.inside("analyst", "cat", "warmed") == "warmer True\n"


def test_a_node_sandbox_is_captured_and_opened(docker_story):
    story = docker_story("node")

    assert story.statuses() == {"node": "fresh"}
    script = "console.log(require('/usr/local/lib/node_modules/is-odd')(4))"
    assert story.inside("node", "node", "-e", script) == "false\n"


def test_templates_travel_through_a_registry(docker_story, registry):
    story = docker_story("python")
    story.build(STORY_TOKEN=TOKEN)
    where = f"{registry}/{uuid.uuid4().hex[:8]}"

    story.prewarm("push", where)
    story.forget()
    story.prewarm("check", code=7)
    story.prewarm("pull", where)

    assert "2 of 2 can be opened" in story.prewarm("check").stdout
    assert story.inside("analyst", "cat", "motd.txt") == "hello\n"
    assert "already there" in story.prewarm("pull", where).stdout
    assert story.statuses(STORY_TOKEN=TOKEN) == {"base": "reused", "analyst": "reused"}


def test_a_build_takes_from_a_registry_what_it_would_have_to_capture(docker_story, registry, tmp_path):
    story = docker_story("python")
    story.build(STORY_TOKEN=TOKEN)
    where = f"{registry}/{uuid.uuid4().hex[:8]}"
    story.prewarm("push", where)
    story.forget()
    (story.project / "prewarm.lock").unlink()
    elsewhere = story.elsewhere(tmp_path / "another-home")

    planned = json.loads(elsewhere.prewarm("plan", "--from", where, "--json").stdout)["templates"]
    nothing_moved = elsewhere.images()
    # Nothing is captured: not even the secret has to be there.
    built = json.loads(elsewhere.prewarm("build", "--from", where, "--json").stdout)["templates"]

    assert {(one["status"], one["reason"]) for one in planned} == {("reused", "found in registry")}
    assert nothing_moved == []
    assert {(one["status"], one["reason"]) for one in built} == {("reused", "found in registry")}
    assert "2 of 2 can be opened" in elsewhere.prewarm("check").stdout
    assert elsewhere.inside("analyst", "cat", "motd.txt") == "hello\n"
    elsewhere.end()


def test_an_image_that_does_not_carry_the_key_is_not_taken_from_a_registry(docker_story, registry):
    story = docker_story("python")
    story.write(
        "prewarm.yaml",
        "version: 1\nnamespace: OWN\nsandboxes:\n"
        "  one: {base: 'prewarm-test/busybox:2', backend: docker, bootstrap: [{run: 'echo 1 > /workspace/x'}]}\n",
    )
    key = story.prewarm("keys").stdout.split()[0]
    name = f"{registry}/{uuid.uuid4().hex[:8]}"
    foreign = f"{name}/{story.namespace}:{key}"
    story.docker("tag", "prewarm-test/busybox:2", foreign)
    story.docker("push", foreign)
    story.docker("rmi", foreign)

    (built,) = json.loads(story.prewarm("build", "--from", name, "--json").stdout)["templates"]

    assert (built["status"], built["reason"]) == ("fresh", "corrupt")
    assert "does not carry its key" in built["detail"]


def test_a_backend_whose_templates_do_not_travel_refuses_a_registry(docker_story):
    story = docker_story("python")
    story.write(
        "prewarm.yaml",
        "version: 1\nnamespace: OWN\nsandboxes:\n  one: {base: host, backend: memory, bootstrap: [{run: 'true'}]}\n",
    )

    failed = story.prewarm("build", "--from", "registry.example.org/team", code=2)

    assert "templates of the memory backend do not come from a registry" in failed.stderr
    assert not (story.project / "prewarm.lock").exists()


def test_a_registry_without_the_template_says_so(docker_story, registry):
    story = docker_story("python")
    story.build(STORY_TOKEN=TOKEN)
    story.forget()

    failed = story.prewarm("pull", f"{registry}/nobody-{uuid.uuid4().hex[:8]}", code=7)

    assert "has no template" in failed.stderr
    assert "hint: run 'prewarm push'" in failed.stderr


def test_templates_travel_in_an_archive(docker_story, tmp_path):
    story = docker_story("python")
    story.build(STORY_TOKEN=TOKEN)
    archive = tmp_path / "templates.tar"

    story.prewarm("export", str(archive))
    story.forget()
    story.prewarm("import", str(archive))

    assert "2 of 2 can be opened" in story.prewarm("check").stdout
    with tarfile.open(archive) as tar:
        blobs = [name for name in tar.getnames() if name.startswith("blobs/sha256/")]
    assert len(blobs) == len(set(blobs))


def test_a_damaged_archive_is_refused(docker_story, tmp_path):
    story = docker_story("python")
    story.build(STORY_TOKEN=TOKEN)
    archive = tmp_path / "templates.tar"
    story.prewarm("export", str(archive), "--only", "base")
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 0xFF
    archive.write_bytes(data)
    story.forget()

    failed = story.prewarm("import", str(archive), code=8)

    assert "hint:" in failed.stderr
    assert story.images() == []


def test_the_cache_of_a_ci_system_holds_what_the_lock_file_needs(docker_story, tmp_path):
    story = docker_story("python")
    story.build(STORY_TOKEN=TOKEN)
    cache = tmp_path / "cache"

    first = json.loads(story.prewarm("cache", "save", str(cache), "--json").stdout)
    (cache / "blobs" / "sha256" / ("0" * 64)).write_bytes(b"of a lock file that is no more")
    pruned = json.loads(story.prewarm("cache", "save", str(cache), "--json").stdout)
    second = json.loads(story.prewarm("cache", "save", str(cache), "--json").stdout)
    key = story.prewarm("cache", "key").stdout
    story.forget()
    story.prewarm("cache", "restore", str(cache))

    assert first["written"] > 0
    assert (pruned["written"], pruned["removed"]) == (0, len(b"of a lock file that is no more"))
    assert (second["written"], second["removed"]) == (0, 0)
    assert second["kept"] == first["written"]
    assert key == story.prewarm("cache", "key").stdout
    assert "2 of 2 can be opened" in story.prewarm("check").stdout


def test_a_moved_base_tag_captures_again_with_that_reason(docker_story):
    story = docker_story("python")
    name = f"prewarm-story-{uuid.uuid4().hex[:8]}:1"
    story.write(
        "prewarm.yaml",
        "version: 1\nnamespace: OWN\nsandboxes:\n"
        f"  one: {{base: '{name}', backend: docker, bootstrap: [{{run: 'echo 1 > /workspace/x'}}]}}\n",
    )
    story.docker("tag", "prewarm-test/debian:bookworm", name)
    story.build()

    story.docker("tag", "prewarm-test/busybox:2", name)
    changed = story.build()["one"]
    story.docker("rmi", name)

    assert (changed["status"], changed["reason"]) == ("fresh", "inputs changed")
    assert any("base" in change for change in changed["changes"])


def test_a_dockerfile_is_a_base(docker_story):
    story = docker_story("python")
    story.write(
        "image/Dockerfile", "FROM prewarm-test/busybox:2\nARG WORD=none\nCOPY data /data\nRUN echo $WORD > /word\n"
    )
    story.write("image/data/a.txt", "a\n")
    readme = story.write("image/README.md", "1")
    story.write(
        "prewarm.yaml",
        "version: 1\nnamespace: OWN\nsandboxes:\n  one:\n    backend: docker\n"
        "    base: {dockerfile: Dockerfile, context: ./image, args: {WORD: given}}\n",
    )

    assert story.statuses() == {"one": "fresh"}
    assert story.inside("one", "cat", "/word", "/data/a.txt") == "given\na\n"
    readme.write_text("2")
    assert story.statuses() == {"one": "reused"}
    story.write("image/data/a.txt", "b\n")
    assert story.statuses() == {"one": "fresh"}
    assert story.inside("one", "cat", "/data/a.txt") == "b\n"
