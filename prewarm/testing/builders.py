"""Values for tests, complete with few words: keys, seeds, steps, requests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from prewarm.backends.capturing import CaptureRequest
from prewarm.definition.model import Network
from prewarm.inputs import EntryKind, SeedEntry
from prewarm.key import TemplateKey
from prewarm.machine import host_platform
from prewarm.request import BootstrapSession, CaptureStep, HookStep, ResolvedBase, RunStep, ScriptStep, TemplateRef


def key_of(text: str) -> TemplateKey:
    """Give a template key that depends on the text alone."""
    return TemplateKey(hashlib.sha256(text.encode()).hexdigest())


def seed_file(target: str | bytes, content: bytes | Path = b"", mode: int = 0o644) -> SeedEntry:
    """Make a seed file with this content, or that of a file of this machine."""
    data = content.read_bytes() if isinstance(content, Path) else content
    return SeedEntry(
        target=os.fsencode(target),
        kind=EntryKind.FILE,
        mode=mode,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        link=b"",
        source=os.fspath(content) if isinstance(content, Path) else content,
    )


def seed_directory(target: str | bytes, mode: int = 0o755) -> SeedEntry:
    """Make a seed directory."""
    return SeedEntry(os.fsencode(target), EntryKind.DIRECTORY, mode, 0, "", b"", None)


def seed_link(target: str | bytes, link: str | bytes) -> SeedEntry:
    """Make a seed link at ``target`` that points to ``link``."""
    return SeedEntry(os.fsencode(target), EntryKind.SYMLINK, 0o777, 0, "", os.fsencode(link), None)


def shell(
    text: str,
    *,
    user: str = "root",
    timeout_s: float = 60.0,
    network: Network = Network.NONE,
    secrets: tuple[str, ...] = (),
) -> RunStep:
    """Make a step of shell text."""
    return RunStep(
        text=text,
        argv=("/bin/sh", "-e", "-c", text),
        user=user,
        timeout_s=timeout_s,
        network=network,
        secrets=secrets,
    )


def script(content: str, *arguments: str, user: str = "root", timeout_s: float = 60.0) -> ScriptStep:
    """Make a step of a script."""
    return ScriptStep(
        text=" ".join(("script", "step.sh", *arguments)),
        content=content.encode(),
        arguments=arguments,
        user=user,
        timeout_s=timeout_s,
        network=Network.NONE,
    )


def hook(call: Callable[[BootstrapSession], None], *, user: str = "root", timeout_s: float = 60.0) -> HookStep:
    """Make a step that calls a function."""
    return HookStep(
        text="python hooks:call",
        source_digest=hashlib.sha256(call.__code__.co_code).hexdigest(),
        call=call,
        user=user,
        timeout_s=timeout_s,
        network=Network.NONE,
    )


def child_base(key: TemplateKey, ref: TemplateRef) -> ResolvedBase:
    """Make the base of a definition that extends another."""
    return ResolvedBase(digest=f"sha256:{key}", description=f"template {key.short}", parent=ref)


def capture_request(  # noqa: PLR0913 - a request has many parts, and most callers name one.
    base: ResolvedBase,
    *steps: CaptureStep,
    namespace: str = "contract",
    name: str = "subject",
    key: TemplateKey | None = None,
    user: str = "sandbox",
    workdir: str = "/workspace",
    env: Mapping[str, str] | None = None,
    seeds: tuple[SeedEntry, ...] = (),
    pass_env: Mapping[str, str] | None = None,
    secrets: Mapping[str, bytes] | None = None,
    timeout_s: float = 120.0,
) -> CaptureRequest:
    """Make a request for a capture. Its key is a new one unless given: nothing here computes one from the rest."""
    return CaptureRequest(
        namespace=namespace,
        name=name,
        key=key or key_of(os.urandom(16).hex()),
        base=base,
        platform=host_platform(),
        user=user,
        workdir=workdir,
        env=env or {},
        seeds=tuple(sorted(seeds, key=lambda seed: seed.target)),
        steps=steps,
        pass_env=pass_env or {},
        secrets=secrets or {},
        timeout_s=timeout_s,
        project=Path.cwd(),
    )
