"""What every part of the contract stands on: the fixtures, and the hooks that a backend's author may override."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, TypeVar

import pytest

from prewarm import process
from prewarm.backends.base import Backend
from prewarm.backends.capturing import Litter, TemplateRecord
from prewarm.backends.context import BackendContext, Feature
from prewarm.backends.hosting import SessionHandle
from prewarm.definition.model import HostBase
from prewarm.machine import host_platform
from prewarm.request import ResolvedBase, TemplateRef
from prewarm.testing.builders import seed_directory, seed_file, shell
from prewarm.testing.worker import Worker
from prewarm.testing.workplace import PATIENCE_S, Captured, Workplace

_Test = TypeVar("_Test", bound=Callable[..., object])
_NEEDS = "contract_needs"


def needs(*features: Feature) -> Callable[[_Test], _Test]:
    """Mark a test of abilities that not every backend has; it is skipped, with the reason, where one is lacking."""

    def mark(test: _Test) -> _Test:
        setattr(test, _NEEDS, features)
        return test

    return mark


class Harness:
    """Fixtures and hooks.

    A subclass must give a ``backend`` fixture, best made from ``context``: all tests of a class share its home, so that
    what is slow is done once. It may override ``base`` and the hooks.

    Attributes:
        expiry_s: The shortest idle timeout and lifetime that the tests of expiry ask for; where a machine is too slow for
            it, they ask for longer ones.
        expiry_patience_s: How long after that a session may take to be gone.
    """

    expiry_s: ClassVar[float] = 2.0
    expiry_patience_s: ClassVar[float] = PATIENCE_S

    _namespace: ClassVar[str]
    _home: ClassVar[Path]
    _shared: ClassVar[Captured]
    _shared_at: ClassVar[Backend]

    # fixtures

    @pytest.fixture
    def context(self, tmp_path_factory: pytest.TempPathFactory) -> BackendContext:
        """What the backend may use: one home a class, this process's environment."""
        cls = type(self)
        if "_home" not in cls.__dict__:
            cls._home = tmp_path_factory.mktemp("home")
        return BackendContext(home=cls._home, environment=process.environment())

    @pytest.fixture
    def backend(self, context: BackendContext) -> Backend:
        """The backend under test; a subclass must say."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture 'backend'")

    @pytest.fixture
    def base(self, backend: Backend) -> ResolvedBase:
        """What templates start from: something with a shell and the usual small programs."""
        return backend.resolve_base(
            HostBase(), project=Path.cwd(), platform=host_platform(), sha256=lambda path: pytest.fail(str(path))
        )

    @pytest.fixture
    def place(self, request: pytest.FixtureRequest, backend: Backend, base: ResolvedBase) -> Iterator[Workplace]:
        """Where a test works; all that it made is taken away afterwards."""
        self._skip_unless_able(request, backend)
        place = Workplace(backend, base, self.namespace())
        yield place
        place.close()

    @pytest.fixture
    def template(self, place: Workplace) -> Captured:
        """A template that tests share: a seed file, and a file that bootstrap wrote."""
        cls = type(self)
        shared = cls.__dict__.get("_shared")
        if isinstance(shared, Captured) and place.backend.find(place.namespace, shared.key) is not None:
            return shared
        request = place.request(
            shell("echo written by bootstrap > /workspace/written"),
            name="shared",
            seeds=(seed_directory("/workspace"), seed_file("/workspace/seeded", b"a seed\n")),
        )
        # Published beside the workplace, so that it stays for the next test.
        cls._shared = Workplace(place.backend, place.base, place.namespace).publish(request)
        cls._shared_at = place.backend
        return cls._shared

    @classmethod
    def teardown_class(cls) -> None:
        """Take away what the tests of a class shared."""
        if "_shared" in cls.__dict__:
            cls._shared_at.remove(cls._shared.ref)

    @pytest.fixture
    def session(self, place: Workplace, template: Captured) -> SessionHandle:
        """A session of the shared template."""
        return place.open(template)

    # hooks

    def again(self, backend: Backend, context: BackendContext) -> Backend:
        """Make a second, fresh backend that works on the same state."""
        made: Backend = type(backend)(context)  # type: ignore[call-arg] # a backend's class takes a context.
        return made

    def delete_behind(self, backend: Backend, ref: TemplateRef) -> None:  # noqa: ARG002 - a hook.
        """Delete what a ref names, as somebody with a shell would; not through ``remove``."""
        pytest.skip(f"this suite does not know how to delete a template of {backend.name} behind its back")

    def damage_behind(self, backend: Backend, ref: TemplateRef) -> None:  # noqa: ARG002 - a hook.
        """Change the content of what a ref names, as a failing disk would."""
        pytest.skip(f"this suite does not know how to damage a template of {backend.name} behind its back")

    def leftovers(self, backend: Backend, namespace: str) -> Sequence[str]:  # noqa: ARG002 - a hook.
        """Name everything that the backend still has of a namespace, found without asking the backend."""
        return ()

    def litter(self, backend: Backend, namespace: str) -> Sequence[Litter]:
        """Give what the backend would take away of a namespace, without what is nobody's and was left by others."""
        return backend.litter(namespace)

    def worker(self, backend: Backend, context: BackendContext) -> Worker:
        """Give what does things with this backend in another process."""
        kind = type(backend)
        return Worker(f"{kind.__module__}:{kind.__qualname__}", context.home)

    # for the parts

    @classmethod
    def namespace(cls) -> str:
        """Give the namespace of all that this class makes."""
        if "_namespace" not in cls.__dict__:
            cls._namespace = f"contract-{os.urandom(4).hex()}"
        return cls._namespace

    @staticmethod
    def held(backend: Backend, namespace: str) -> tuple[TemplateRecord, ...]:
        """Give the templates of a namespace, sorted by key."""
        return tuple(sorted(backend.templates(namespace), key=lambda record: record.key))

    def _skip_unless_able(self, request: pytest.FixtureRequest, backend: Backend) -> None:
        wanted: tuple[Feature, ...] = getattr(request.function, _NEEDS, ())
        lacking = [feature.value for feature in wanted if feature not in backend.features]
        if lacking:
            pytest.skip(f"{backend.name} has no {', no '.join(lacking)}")
