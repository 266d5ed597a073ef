"""Root filesystem archives are known by their bytes, and those that are not what they should be are refused."""

import hashlib

import pytest

from prewarm.backends.rootfs_archives import digest
from prewarm.definition.model import RootfsBase
from prewarm.errors import UnkeyableInputError

CONTENT = hashlib.sha256(b"content").hexdigest()


def digest_of(project, path="root.tar", sha256=None):
    return digest(
        RootfsBase(path=path, sha256=sha256),
        project=project,
        sha256=lambda file: hashlib.sha256(file.read_bytes()).hexdigest(),
    )


@pytest.mark.parametrize("expected", [None, CONTENT])
def test_an_archive_is_its_bytes(tmp_path, expected):
    (tmp_path / "root.tar").write_bytes(b"content")
    assert digest_of(tmp_path, sha256=expected) == CONTENT


def test_another_archive_than_the_definition_says_is_refused(tmp_path):
    (tmp_path / "root.tar").write_bytes(b"other")
    with pytest.raises(UnkeyableInputError, match=f"'root.tar' is not the archive expected: .*not {CONTENT}") as caught:
        digest_of(tmp_path, sha256=CONTENT)
    assert "correct 'sha256'" in caught.value.hint


def test_an_archive_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UnkeyableInputError, match=r"root filesystem 'root\.tar' does not exist") as caught:
        digest_of(tmp_path)
    assert "project directory" in caught.value.hint


def test_a_directory_is_no_archive(tmp_path):
    (tmp_path / "root.tar").mkdir()
    with pytest.raises(UnkeyableInputError, match=r"root filesystem 'root\.tar' cannot be read: Is a directory"):
        digest_of(tmp_path)
