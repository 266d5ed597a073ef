"""The files of a session by commands in it, as its user: where the engine's archive does not see, or may not write.

That is what lies in memory (``tmpfs``, ``/dev``, ``/proc``, ``/sys``: the archive shows what is under the mount instead)
and writing under a root that is read-only. Called by ``files`` alone.
"""

from __future__ import annotations

import contextlib
import posixpath
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Final

from prewarm.backends.commands import run_command
from prewarm.backends.docker.archive import PathFacts
from prewarm.backends.hosting import ProcessRequest, SessionHandle
from prewarm.backends.paths import is_below
from prewarm.definition.model import Json
from prewarm.errors import SessionFileError
from prewarm.values import CommandResult

_TIMEOUT_S: Final = 60.0
_MOST_WRITTEN: Final = 64 * 1024 * 1024
_ABSENT: Final = 66
_FACTS: Final = f"""
[ -e "$1" ] || [ -L "$1" ] || exit {_ABSENT}
stat -c '%f %s %Y' -- "$1" || exit
if [ -L "$1" ]; then readlink -f -- "$1"; fi
exit 0"""
_TYPE_BITS: Final = 0o170000
_DIRECTORY, _LINK, _FILE = 0o040000, 0o120000, 0o100000
_KERNELS: Final = ("/dev", "/proc", "/sys")


class Places:
    """Which paths of a session are for commands, by its options."""

    def __init__(self, options: Mapping[str, Json]) -> None:
        tmpfs, mounts = options.get("tmpfs"), options.get("mounts")
        self._memory = (*_KERNELS, *(tmpfs if isinstance(tmpfs, Mapping) else ()))
        self._read_only = bool(options.get("read_only"))
        self._mounts = [
            str(one.get("target"))
            for one in (mounts if isinstance(mounts, Sequence) else ())
            if isinstance(one, Mapping)
        ]

    def are_hidden(self, path: str) -> bool:
        """Say whether the engine's archive shows something else at a path than the session has there."""
        return any(is_below(path, root) for root in self._memory)

    def are_refused(self, path: str) -> bool:
        """Say whether the engine's archive does not write at a path, or not where the session sees it."""
        in_mount = any(is_below(path, root) for root in self._mounts)
        return self.are_hidden(path) or (self._read_only and not in_mount)


class Inside:
    """Commands about files, run as the session's user with no more rights than it has.

    Args:
        handle: The session.
        user: Its user, as the definition names it.
    """

    def __init__(self, handle: SessionHandle, user: str) -> None:
        self._handle = handle
        self._user = user

    def command(self, argv: tuple[str, ...], what: str, *, stdin: bytes | None = None) -> bytes:
        """Run a command and give what it wrote.

        Raises:
            SessionFileError: It failed.
        """
        result = self._run(argv, stdin)
        if not result.ok:
            raise SessionFileError(f"cannot {what}: {_reason(result)}")
        return result.stdout_bytes

    def facts(self, path: str) -> PathFacts | None:
        """Say what a path is; ``None`` if there is nothing that this user can see."""
        result = self._run(("/bin/sh", "-c", _FACTS, "facts", path), None)
        if result.exit_code == _ABSENT:
            return None
        if not result.ok:
            raise SessionFileError(f"cannot look at '{path}': {_reason(result)}")
        line, _, link = result.stdout.partition("\n")
        mode, size, modified = line.split()
        bits = int(mode, 16)
        kind = bits & _TYPE_BITS
        return PathFacts(
            name=posixpath.basename(path),
            size=int(size),
            mode=bits & 0o7777,
            modified=float(modified),
            link=link.removesuffix("\n"),
            is_directory=kind == _DIRECTORY,
            is_link=kind == _LINK,
            is_other=kind not in {_DIRECTORY, _LINK, _FILE},
        )

    def unpack(self, directory: str, archive: IO[bytes], what: str) -> None:
        """Unpack an archive into a directory."""
        self.command(("tar", "-x", "-p", "-o", "-f", "-", "-C", directory), f"write '{what}'", stdin=archive.read())

    def read(self, path: str, limit: int | None) -> bytes:
        """Give the bytes of a file; what the kernel makes up as it is read has no size before.

        Raises:
            SessionFileError: It cannot be read, or is longer than the limit or than what commands may write.
        """
        most = _MOST_WRITTEN if limit is None else min(limit, _MOST_WRITTEN)
        result = self._run(("head", "-c", str(most + 1), "--", path), None, most=most)
        if result.truncated:
            raise SessionFileError(f"'{path}' has more bytes than the limit of {most}")
        if not result.ok:
            raise SessionFileError(f"cannot read '{path}': {_reason(result)}")
        return result.stdout_bytes

    @contextlib.contextmanager
    def archive(self, path: str) -> Iterator[tarfile.TarFile]:
        """Lend a tar stream of a path, named by its last part, as the engine gives it."""
        parent, name = posixpath.split(path)
        argv = ("tar", "-c", "-f", "-", "-C", parent, "--", name)
        process = self._handle.start(ProcessRequest(argv=argv, cwd="/", env={"LC_ALL": "C"}, user=self._user))
        try:
            with tarfile.open(
                fileobj=process.stdout,
                mode="r|",
                encoding="utf-8",
                errors="surrogateescape",
            ) as tar:
                yield tar
            if exit_code := process.wait(_TIMEOUT_S):
                raise SessionFileError(f"cannot read '{path}': tar exited {exit_code}")
        except tarfile.TarError as error:
            raise SessionFileError(f"cannot read '{path}': {error}") from error
        finally:
            process.kill()
            process.close()

    def _run(self, argv: tuple[str, ...], stdin: bytes | None, *, most: int = _MOST_WRITTEN) -> CommandResult:
        request = ProcessRequest(argv=argv, cwd="/", env={"LC_ALL": "C"}, user=self._user, stdin=stdin is not None)
        return run_command(
            self._handle,
            request,
            stdin=stdin,
            deadline=time.monotonic() + _TIMEOUT_S,
            max_output=most,
        )


def _reason(result: CommandResult) -> str:
    lines = result.stderr.strip().splitlines()
    if result.timed_out:
        return "it timed out"
    return lines[0] if lines else f"exited {result.exit_code}"
