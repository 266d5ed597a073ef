"""A Dockerfile as base is keyed by what it really reads."""

import hashlib
import os

import pytest

from prewarm.backends.docker.dockerfile import parse, read
from prewarm.definition.model import DockerfileBase
from prewarm.errors import UnkeyableInputError


class Context:
    def __init__(self, directory):
        self.directory = directory
        self.images = []

    def write(self, name, text=""):
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def read(self, **fields):
        def image(name):
            self.images.append(name)
            return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"

        return read(
            DockerfileBase(**fields),
            project=self.directory,
            sha256=lambda path: hashlib.sha256(path.read_bytes()).hexdigest(),
            image=image,
        )


@pytest.fixture
def context(tmp_path):
    return Context(tmp_path)


def test_only_files_that_are_copied_count(context):
    context.write("Dockerfile", "FROM debian:bookworm\nCOPY app lib/*.py /srv/\nADD https://x.example/a /a\n")
    for name in ("app/a.py", "app/deep/b.py", "lib/c.py", "lib/c.txt", "README.md"):
        context.write(name)

    assert context.read().files == ("app/a.py", "app/deep/b.py", "lib/c.py")
    assert context.images == ["debian:bookworm"]


def test_a_change_to_a_file_that_is_not_read_changes_nothing(context):
    context.write("Dockerfile", "FROM a\nCOPY app /app\n")
    context.write("app/x", "1")
    readme = context.write("README.md", "1")
    before = context.read().digest

    readme.write_text("2")
    assert context.read().digest == before
    context.write("app/x", "2")
    assert context.read().digest != before


def test_ignored_files_do_not_count_and_exceptions_do(context):
    context.write("Dockerfile", "FROM a\nCOPY . /app\n")
    context.write(".dockerignore", "# notes\n*.log\nbuild\n!build/keep\n")
    for name in ("a.py", "x.log", "sub/x.log", "build/out", "build/keep"):
        context.write(name)

    assert set(context.read().files) == {".dockerignore", "Dockerfile", "a.py", "build/keep", "sub/x.log"}


def test_a_name_that_only_a_build_knows_counts_the_whole_context(context):
    context.write("Dockerfile", "FROM a\nARG what\nCOPY $what /app\n")
    context.write("one")

    assert set(context.read().files) == {"Dockerfile", "one"}


def test_stages_are_not_images_and_arguments_are_filled_in(context):
    context.write("Dockerfile", "ARG V=1\nFROM base:${V} AS one\nFROM one\nFROM scratch\nCOPY --from=one /a /b\n")

    context.read(args={"V": "2"})

    assert context.images == ["base:2"]


@pytest.mark.parametrize("change", [{"target": "x"}, {"args": {"A": "1"}}])
def test_target_and_arguments_count(context, change):
    context.write("Dockerfile", "FROM a AS x\n")

    assert context.read(**change).digest != context.read().digest


def test_the_executable_bit_counts(context):
    context.write("Dockerfile", "FROM a\nCOPY run /run\n")
    path = context.write("run")
    before = context.read().digest

    path.chmod(0o755)

    assert context.read().digest != before


def test_a_link_counts_by_its_target(context):
    context.write("Dockerfile", "FROM a\nCOPY link /x\n")
    os.symlink("one", context.directory / "link")
    before = context.read().digest
    os.unlink(context.directory / "link")
    os.symlink("two", context.directory / "link")

    assert context.read().digest != before


def test_bind_mounts_of_the_context_are_read(context):
    context.write(
        "Dockerfile", "FROM a\nRUN --mount=type=bind,source=src,target=/s --mount=type=cache,target=/c make\n"
    )
    context.write("src/x")
    context.write("other")

    assert context.read().files == ("src/x",)


def test_here_documents_and_continuations_are_no_instructions():
    text = "FROM a\nRUN <<EOF\nCOPY no /no\nEOF\nCOPY one \\\n  two \\\n# between\n  /to/\n"

    assert [word for word, _ in parse(text)] == ["FROM", "RUN", "COPY"]
    assert list(parse(text))[2][1].split() == ["one", "two", "/to/"]


def test_a_missing_dockerfile_is_an_error(context):
    with pytest.raises(UnkeyableInputError, match=r"Dockerfile: No such file or directory$") as caught:
        context.read()
    assert "'context'" in caught.value.hint


def test_a_dockerfile_in_another_encoding_is_an_error(context):
    context.write("Dockerfile").write_bytes(b"FROM \xff")
    with pytest.raises(UnkeyableInputError, match="it is not UTF-8"):
        context.read()
