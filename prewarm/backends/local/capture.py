"""Making a template: base, seeds, steps, seal; every step in a fresh sandbox over the same upper directory.

A step's background processes, ``/run`` (with its secrets) and network end with the step; its files stay. The upper
directory then is the new layer, as it is.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from prewarm.backends.capturing import CaptureObserver, CaptureRequest, Phase
from prewarm.backends.hosting import ProcessRequest
from prewarm.backends.local import bwrap, options, seeding
from prewarm.backends.local import holder as holders
from prewarm.backends.local import templates as records
from prewarm.backends.local.bases import Bases, Ground, template_of
from prewarm.backends.local.command import LocalProcess
from prewarm.backends.local.files import LocalFiles
from prewarm.backends.local.litter import Cleaner
from prewarm.backends.local.sandbox import Machine, Sandbox, Surroundings, view_of
from prewarm.backends.local.store import Staging, Store
from prewarm.backends.local.templates import Template, Templates
from prewarm.backends.steps import run_bootstrap_step
from prewarm.definition.options import Json, Network
from prewarm.errors import CaptureFailedError, PrewarmError, SessionFailedError
from prewarm.home import is_full
from prewarm.key import TemplateKey
from prewarm.process import Redactor
from prewarm.request import CaptureStep, TemplateRef


class Maker:
    """Captures templates into a store."""

    def __init__(self, store: Store, templates: Templates, bases: Bases, machine: Machine, cleaner: Cleaner) -> None:
        self._store = store
        self._templates = templates
        self._bases = bases
        self._machine = machine
        self._cleaner = cleaner

    @contextlib.contextmanager
    def capture(self, request: CaptureRequest, observer: CaptureObserver) -> Iterator[Staged]:
        """Make a template: ``TemplateBackend.capture``."""
        with self._cleaner.staging() as staging:
            with _failing(request, self._store.path.parent):
                made = self._make(request, observer, staging)
                records.write(staging.path / "template.json", made)
            yield Staged(self._store, self._templates, made, replaces=request.replaces)

    def _make(self, request: CaptureRequest, observer: CaptureObserver, staging: Staging) -> Template:
        deadline = time.monotonic() + request.timeout_s
        observer.phase(Phase.BASE)
        ground = self._bases.ground(request.base, options.host_paths(request.options), staging)
        upper, work = staging.fresh("upper"), staging.fresh("work")
        upper.chmod(0o755)
        trees = tuple(self._store.tree(digest) for digest in ground.layers)
        if bwrap.overlay_bytes((*trees, self._store.tree("0" * 64)), upper, work) > bwrap.OPTION_BYTES:
            ground = self._bases.flattened(ground, staging)
        request.cancellation.check()
        place = _Place(self._store, self._machine, request, ground, staging)
        observer.phase(Phase.SEED)
        with place.sandbox("root", Network.NONE) as sandbox:
            user = seeding.ensure_user(sandbox, request.user)
            owner = (user.uid, user.gid) if self._machine.identity.many else None
            seeding.make_home(sandbox, user, owner)
            seeding.make_workdir(sandbox, request.workdir, owner)
            seeding.place_seeds(sandbox, request.seeds, owner, request.cancellation.check)
        observer.phase(Phase.BOOTSTRAP)
        redact = Redactor(value.decode("utf-8", "replace") for value in request.secrets.values())
        for number, step in enumerate(request.steps, start=1):
            request.cancellation.check()
            with place.sandbox(step.user, step.network, _secrets(request, step)) as sandbox:
                run_bootstrap_step(
                    _StepHandle(sandbox, request.key), number, request, observer, redact=redact, deadline=deadline
                )
        request.cancellation.check()
        observer.phase(Phase.SEAL)
        layer, size = self._store.seal(upper, staging)
        return template_of(
            ground, namespace=request.namespace, name=request.name, key=request.key, layer=layer, size=size
        )


def _secrets(request: CaptureRequest, step: CaptureStep) -> dict[str, bytes]:
    missing = [name for name in step.secrets if name not in request.secrets]
    if missing:
        raise CaptureFailedError(f"secret '{missing[0]}' has no value", hint="list it under 'secrets' of 'build'")
    return {name: request.secrets[name] for name in step.secrets}


class _Place:
    """Where one template is being made; lends sandboxes over it, one after the other."""

    def __init__(
        self, store: Store, machine: Machine, request: CaptureRequest, ground: Ground, staging: Staging
    ) -> None:
        self._layers = tuple(store.tree(digest) for digest in ground.layers)
        self._machine = machine
        self._request = request
        self._ground = ground
        self._staging = staging

    @contextlib.contextmanager
    def sandbox(self, user: str, network: Network, secrets: Mapping[str, bytes] | None = None) -> Iterator[Sandbox]:
        """Lend a sandbox; all that runs in it is killed at the end, or where the builder is killed."""
        view = view_of(
            self._layers,
            self._staging.path / "upper",
            self._staging.path / "work",
            binds=self._ground.binds,
            network=network,
            secrets=secrets,
        )
        with holders.lent(view, self._machine.identity) as holder:
            surroundings = Surroundings(user=user, network=network, environment=self._ground.environment)
            sandbox = Sandbox(holder, self._machine, surroundings, lambda _: _nothing)
            if sandbox.owner is not None:
                for path in view.secrets:
                    seeding.give(sandbox, path, sandbox.owner)
            yield sandbox


def _nothing() -> None:
    """Do nothing: nobody counts how long a capture is in use."""


class _StepHandle:
    """The sandbox of a step as a ``SessionHandle``."""

    def __init__(self, sandbox: Sandbox, key: TemplateKey) -> None:
        self._sandbox = sandbox
        self._key = key

    @property
    def id(self) -> str:
        return "capture"

    @property
    def template_key(self) -> TemplateKey:
        return self._key

    @property
    def files(self) -> LocalFiles:
        return self._sandbox.files

    def start(self, request: ProcessRequest) -> LocalProcess:
        return self._sandbox.start(request)

    def state(self) -> Mapping[str, Json]:
        raise SessionFailedError("a template under way is no session")

    def detach(self) -> None:
        """Nothing to let go of."""

    def remove(self) -> None:
        self._sandbox.holder.kill()


class Staged:
    """A finished capture: ``StagedTemplate``."""

    def __init__(self, store: Store, templates: Templates, made: Template, *, replaces: bool) -> None:
        self._store = store
        self._templates = templates
        self._made = made
        self._replaces = replaces

    @property
    def ref(self) -> TemplateRef:
        return self._made.ref

    @property
    def size(self) -> int:
        return self._made.size

    def publish(self) -> None:
        """Make it findable. What is published under this key already stays, unless this capture replaces it."""
        with self._store.changing():
            now = self._templates.find(self._made.namespace, self._made.key)
            if now is not None and not self._replaces:
                self._made = now
                return
            try:
                self._templates.publish(self._made)
            except OSError as error:
                raise CaptureFailedError(f"template '{self._made.name}' could not be published: {error}") from error


@contextlib.contextmanager
def _failing(request: CaptureRequest, home: Path) -> Iterator[None]:
    """Let errors say which capture failed."""
    try:
        yield
    except SessionFailedError as error:
        raise CaptureFailedError(
            f"capture of '{request.name}' ({request.key.short}) failed: {error.message}", hint=error.hint
        ) from error
    except CaptureFailedError as error:
        if error.hint is None and is_full(home):
            error.hint = f"free some space: the disk of {home} is full"
        raise
    except PrewarmError:
        raise
    except (OSError, ValueError) as error:
        raise CaptureFailedError(f"capture of '{request.name}' ({request.key.short}) failed: {error}") from error
