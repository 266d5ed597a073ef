"""How the memory backend makes a template: base, seeds, steps, seal; staged until it is published."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from prewarm.backends.capturing import CaptureObserver, CaptureRequest, Phase, Presence
from prewarm.backends.memory.calls import Call
from prewarm.backends.memory.files import MemoryFiles, Node, bare_tree, tree_digest
from prewarm.backends.memory.session import Sandbox
from prewarm.backends.memory.store import MemoryStore, Template, identity_of, ref_of
from prewarm.backends.steps import run_bootstrap_step
from prewarm.definition.model import Json
from prewarm.errors import CaptureFailedError, SessionFileError
from prewarm.inputs import EntryKind, SeedEntry
from prewarm.key import TemplateKey
from prewarm.process import Redactor
from prewarm.request import CaptureStep, TemplateRef

_SECRETS: Final = "/run/secrets"


@contextlib.contextmanager
def capture(
    store: MemoryStore, request: CaptureRequest, observer: CaptureObserver, execute: Callable[[Call], int]
) -> Iterator[_Staged]:
    """Make a template out of a copy of its base's tree; as ``TemplateBackend.capture``."""
    observer.phase(Phase.BASE)
    parent = identity_of(request.base.parent)
    tree = bare_tree()
    if request.base.parent is not None:
        with store.guard:
            if parent not in store.templates:
                raise CaptureFailedError(
                    f"capture of '{request.name}' ({request.key.short}) failed: its parent is gone"
                )
            tree = dict(store.templates[parent].tree)
    before = _size(tree)
    files = MemoryFiles(tree, clock=time.time, alive=lambda: None)
    observer.phase(Phase.SEED)
    files.mkdir("/root" if request.user == "root" else f"/home/{request.user}")
    files.mkdir(request.workdir)
    for seed in request.seeds:
        _place(files, seed, request)
    observer.phase(Phase.BOOTSTRAP)
    _bootstrap(files, request, observer, execute)
    observer.phase(Phase.SEAL)
    sealed = files.snapshot()
    digest = tree_digest(sealed)
    template = Template(
        identity=hashlib.sha256(f"{request.namespace} {request.key} {digest}".encode()).hexdigest(),
        namespace=request.namespace,
        name=request.name,
        key=request.key,
        digest=digest,
        parent=parent,
        size=max(0, _size(sealed) - before),
        tree=sealed,
    )
    staged = _Staged(store, template, replaces=request.replaces)
    try:
        yield staged
    finally:
        staged.close()


def _bootstrap(
    files: MemoryFiles, request: CaptureRequest, observer: CaptureObserver, execute: Callable[[Call], int]
) -> None:
    redact = Redactor(value.decode("utf-8", "replace") for value in request.secrets.values())
    deadline = time.monotonic() + request.timeout_s
    for number, step in enumerate(request.steps, 1):
        sandbox = Sandbox(files, execute=execute, network=step.network)
        try:
            with _secrets(files, step, request.secrets):
                run_bootstrap_step(
                    _Workbench(sandbox, request.key), number, request, observer, redact=redact, deadline=deadline
                )
        finally:
            sandbox.kill_all()


class _Staged:
    """A template between seal and publication."""

    def __init__(self, store: MemoryStore, template: Template, *, replaces: bool) -> None:
        self._store = store
        self._replaces = replaces
        self._identity = template.identity
        self.size = template.size
        self._is_published = False
        with store.guard:
            # The same key and content may be there already: then this one is that one, unless that was damaged since.
            self._is_mine = store.probe(template.key, template.identity).presence is not Presence.PRESENT
            if self._is_mine:
                store.templates[template.identity] = template

    @property
    def ref(self) -> TemplateRef:
        return ref_of(self._identity)

    def publish(self) -> None:
        """Make it findable, or adopt what another builder published first."""
        self._identity = self._store.publish(self._identity, replaces=self._replaces)
        self._is_published = True

    def close(self) -> None:
        """Drop it unless it is published."""
        with self._store.guard:
            if self._is_mine and not self._is_published:
                self._store.templates.pop(self._identity, None)


class _Workbench:
    """A ``SessionHandle`` for the steps of a capture: nobody can attach to it."""

    def __init__(self, sandbox: Sandbox, template_key: TemplateKey) -> None:
        self.id = "capture"
        self.template_key = template_key
        self.files = sandbox.files
        self.start = sandbox.start

    def state(self) -> Mapping[str, Json]:
        return {}

    def detach(self) -> None:
        """Do nothing."""

    def remove(self) -> None:
        """Do nothing: the capture takes it away."""


def _size(tree: Mapping[str, Node]) -> int:
    return sum(len(node.data) for node in tree.values())


def _place(files: MemoryFiles, seed: SeedEntry, request: CaptureRequest) -> None:
    target = seed.target.decode("utf-8", "surrogateescape")
    try:
        match seed.kind:
            case EntryKind.DIRECTORY:
                files.mkdir(target)
                files.chmod(target, seed.mode)
            case EntryKind.SYMLINK:
                files.symlink(seed.link.decode("utf-8", "surrogateescape"), target)
            case EntryKind.FILE:
                files.write(target, _content(seed), mode=seed.mode)
    except SessionFileError as error:
        raise CaptureFailedError(
            f"capture of '{request.name}' ({request.key.short}) failed: seed {target}: {error.message}"
        ) from error


def _content(seed: SeedEntry) -> bytes:
    try:
        data = Path(seed.source).read_bytes() if isinstance(seed.source, str) else seed.source or b""
    except OSError as error:
        raise SessionFileError(f"cannot read {error.filename}: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != seed.sha256:
        raise SessionFileError("its content changed after it was keyed")
    return data


@contextlib.contextmanager
def _secrets(files: MemoryFiles, step: CaptureStep, values: Mapping[str, bytes]) -> Iterator[None]:
    had_run = files.is_directory("/run")
    for name in step.secrets:
        files.write(f"{_SECRETS}/{name}", values[name], mode=0o400)
    try:
        yield
    finally:
        if step.secrets:
            with contextlib.suppress(SessionFileError):
                files.remove(_SECRETS if had_run else "/run", recursive=True)
