"""The directory that BuildKit builds from: one archive with seeds and the new user, the scripts, the Dockerfile.

The archive carries owners, modes, links, names that are not UTF-8, and no clock, which a directory handed over file by
file would not. Beside the context, out of BuildKit's sight, lie the values that steps mount.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from prewarm.backends.docker.accounts import Account, Accounts
from prewarm.errors import CaptureFailedError
from prewarm.inputs import EntryKind, SeedEntry

_BLOCK: Final = 1024 * 1024


def write_tree(
    target: Path,
    *,
    seeds: Sequence[SeedEntry],
    owner: Account,
    accounts: Accounts | None,
    directories: Mapping[str, Account],
) -> bool:
    """Write the archive that is unpacked over the base; give whether there is anything in it.

    Args:
        target: The archive.
        seeds: Parents first.
        owner: Of the seeds.
        accounts: Account files to put in place; ``None`` leaves the image's.
        directories: Further directories with their owners, made before the seeds.

    Raises:
        CaptureFailedError: A seed cannot be read, or is not what was keyed.
    """
    if not seeds and accounts is None and not directories:
        return False
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape") as tar:
        if accounts is not None:
            _add_accounts(tar, accounts)
        seeded = {seed.target for seed in seeds}
        for path, account in directories.items():
            if path.encode() not in seeded:
                tar.addfile(_member(path.encode(), tarfile.DIRTYPE, 0o755, account))
        for seed in seeds:
            _add_seed(tar, seed, owner)
    return True


def _add_accounts(tar: tarfile.TarFile, accounts: Accounts) -> None:
    root = Account(name="root", uid=0, gid=0, home="/root")
    files = [("/etc/passwd", accounts.passwd, 0o644), ("/etc/group", accounts.group, 0o644)]
    if accounts.shadow is not None:
        files.append(("/etc/shadow", accounts.shadow, 0o640))
    for path, text, mode in files:
        data = text.encode("utf-8", "surrogateescape")
        member = _member(path.encode(), tarfile.REGTYPE, mode, root)
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))


def _add_seed(tar: tarfile.TarFile, seed: SeedEntry, owner: Account) -> None:
    match seed.kind:
        case EntryKind.DIRECTORY:
            tar.addfile(_member(seed.target, tarfile.DIRTYPE, seed.mode, owner))
        case EntryKind.SYMLINK:
            member = _member(seed.target, tarfile.SYMTYPE, 0o777, owner)
            member.linkname = os.fsdecode(seed.link)
            tar.addfile(member)
        case EntryKind.FILE:
            member = _member(seed.target, tarfile.REGTYPE, seed.mode, owner)
            member.size = seed.size
            try:
                with _opened(seed) as file:
                    reader = _Checked(file)
                    tar.addfile(member, reader)
                    extra = file.read(1)
            except OSError as error:
                raise CaptureFailedError(f"cannot read seed {os.fsdecode(seed.target)}: {error}") from error
            if extra or reader.sha256 != seed.sha256:
                raise CaptureFailedError(
                    f"seed {os.fsdecode(seed.target)} changed while it was captured", hint="build again"
                )


def _member(path: bytes, kind: bytes, mode: int, owner: Account) -> tarfile.TarInfo:
    member = tarfile.TarInfo(os.fsdecode(path.lstrip(b"/")))
    member.type = kind
    member.mode = mode
    member.uid = owner.uid
    member.gid = owner.gid
    return member


def _opened(seed: SeedEntry) -> IO[bytes]:
    if isinstance(seed.source, bytes):
        return io.BytesIO(seed.source)
    if seed.source is None:
        raise CaptureFailedError(f"seed {os.fsdecode(seed.target)} has no content")
    return Path(seed.source).open("rb")


class _Checked(io.RawIOBase):
    """A file that is digested while it is read, so that what is captured is what was keyed."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size if size >= 0 else _BLOCK)
        self._digest.update(data)
        return data
