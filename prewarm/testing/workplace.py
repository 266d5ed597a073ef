"""What a contract test works with: captures, sessions and commands in few words, all taken away afterwards."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prewarm.backends.base import Backend
from prewarm.backends.capturing import CaptureRequest
from prewarm.backends.commands import command_argv, run_command
from prewarm.backends.hosting import OpenRequest, ProcessHandle, ProcessRequest, SessionHandle
from prewarm.definition.model import Network, Resources, SessionOptions
from prewarm.errors import TemplateInUseError
from prewarm.inputs import SeedEntry
from prewarm.key import TemplateKey
from prewarm.request import CaptureStep, CommandResult, ResolvedBase, TemplateRef
from prewarm.testing.builders import capture_request, child_base
from prewarm.testing.fakes import RecordingObserver

WORKDIR = "/workspace"
USER = "sandbox"
PATIENCE_S = 60.0
MAX_OUTPUT = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """A published template, and what its capture told."""

    request: CaptureRequest
    ref: TemplateRef
    observer: RecordingObserver

    @property
    def key(self) -> TemplateKey:
        return self.request.key


class Workplace:
    """One backend under test.

    Args:
        backend: Under test.
        base: What templates start from.
        namespace: Of everything made here.
    """

    def __init__(self, backend: Backend, base: ResolvedBase, namespace: str) -> None:
        self.backend = backend
        self.base = base
        self.namespace = namespace
        self._sessions: list[SessionHandle] = []
        self._templates: list[TemplateRef] = []

    def request(
        self,
        *steps: CaptureStep,
        name: str = "subject",
        key: TemplateKey | None = None,
        parent: Captured | None = None,
        env: Mapping[str, str] | None = None,
        seeds: tuple[SeedEntry, ...] = (),
        pass_env: Mapping[str, str] | None = None,
        secrets: Mapping[str, bytes] | None = None,
        timeout_s: float = 120.0,
    ) -> CaptureRequest:
        """Make a request for a capture."""
        return capture_request(
            self.base if parent is None else child_base(parent.key, parent.ref),
            *steps,
            namespace=self.namespace,
            name=name,
            key=key,
            user=USER,
            workdir=WORKDIR,
            # A backend may keep what a step left and not run it again: no two captures of a suite are alike to it.
            env={"CONTRACT_CAPTURE": os.urandom(8).hex(), **(env or {})},
            seeds=seeds,
            pass_env=pass_env,
            secrets=secrets,
            timeout_s=timeout_s,
        )

    def publish(self, request: CaptureRequest, backend: Backend | None = None) -> Captured:
        """Capture and publish."""
        observer = RecordingObserver()
        with (backend or self.backend).capture(request, observer) as staged:
            staged.publish()
            captured = Captured(request=request, ref=staged.ref, observer=observer)
        self._templates.append(captured.ref)
        return captured

    def capture(
        self,
        *steps: CaptureStep,
        parent: Captured | None = None,
        env: Mapping[str, str] | None = None,
        seeds: tuple[SeedEntry, ...] = (),
        pass_env: Mapping[str, str] | None = None,
        secrets: Mapping[str, bytes] | None = None,
    ) -> Captured:
        """Capture and publish a template of these steps and seeds."""
        return self.publish(
            self.request(*steps, parent=parent, env=env, seeds=seeds, pass_env=pass_env, secrets=secrets)
        )

    def opening(
        self,
        template: Captured,
        session_key: str | None = None,
        *,
        network: Network = Network.NONE,
        resources: Resources | None = None,
        idle_timeout_s: float = 600.0,
        max_lifetime_s: float = 3600.0,
    ) -> OpenRequest:
        """Make a request to open a session; its key is a new one unless given."""
        return OpenRequest(
            namespace=template.request.namespace,
            name=template.request.name,
            key=template.key,
            ref=template.ref,
            session_key=session_key or f"key-{os.urandom(8).hex()}",
            user=USER,
            workdir=WORKDIR,
            env=template.request.env,
            options=SessionOptions(
                network=network,
                resources=resources or Resources(),
                idle_timeout_s=idle_timeout_s,
                max_lifetime_s=max_lifetime_s,
            ),
        )

    def open(self, what: OpenRequest | Captured, backend: Backend | None = None) -> SessionHandle:
        """Open a session; it is removed after the test."""
        request = what if isinstance(what, OpenRequest) else self.opening(what)
        return self.keep((backend or self.backend).open(request))

    def keep(self, session: SessionHandle) -> SessionHandle:
        """Have a session removed after the test."""
        self._sessions.append(session)
        return session

    def start(
        self,
        session: SessionHandle,
        command: str | Sequence[str],
        *,
        cwd: str = WORKDIR,
        env: Mapping[str, str] | None = None,
        user: str = USER,
        stdin: bool = False,
        terminal: tuple[int, int] | None = None,
    ) -> ProcessHandle:
        """Start a command; the caller closes it."""
        return session.start(
            ProcessRequest(
                argv=command_argv(command), cwd=cwd, env=env or {}, user=user, stdin=stdin, terminal=terminal
            )
        )

    def run(
        self,
        session: SessionHandle,
        command: str | Sequence[str],
        *,
        cwd: str = WORKDIR,
        env: Mapping[str, str] | None = None,
        user: str = USER,
        stdin: bytes | None = None,
        timeout: float = PATIENCE_S,
        max_output: int = MAX_OUTPUT,
    ) -> CommandResult:
        """Run a command to its end."""
        request = ProcessRequest(argv=command_argv(command), cwd=cwd, env=env or {}, user=user, stdin=stdin is not None)
        return run_command(session, request, stdin=stdin, deadline=time.monotonic() + timeout, max_output=max_output)

    def text(self, session: SessionHandle, command: str | Sequence[str]) -> str:
        """Run a command that must succeed; give its output without the last line end."""
        result = self.run(session, command)
        assert result.ok, (command, result.exit_code, result.stderr)
        return result.stdout.rstrip("\n")

    def await_line(self, session: SessionHandle, command: str, line: str) -> None:
        """Run a command again and again until it prints this line, whatever its exit code: for what is under way."""
        until = time.monotonic() + PATIENCE_S
        while (result := self.run(session, command)).stdout.strip() != line:
            assert time.monotonic() < until, (command, line, result.stdout, result.stderr)
            time.sleep(0.1)

    def close(self) -> None:
        """Take everything away."""
        for session in self._sessions:
            session.remove()
        for ref in reversed(self._templates):
            with contextlib.suppress(TemplateInUseError):  # By what a test made beside this workplace.
                self.backend.remove(ref)
