"""The backends of this machine, as the commands that look over all of them see them."""

from __future__ import annotations

from collections.abc import Iterator

from prewarm.backends import registry
from prewarm.backends.base import Backend, BackendContext
from prewarm.cli._options import Invocation
from prewarm.errors import BackendUnavailableError


def context(invocation: Invocation) -> BackendContext:
    """Give what a backend may use of this machine."""
    return BackendContext(home=invocation.home.path, environment=invocation.environment)


def working(invocation: Invocation) -> Iterator[Backend]:
    """Give the backends that work here; of ``--backend`` only that one.

    Raises:
        BackendUnavailableError: The one that was asked for does not work.
    """
    if invocation.backend is not None:
        yield registry.choose(invocation.backend, context(invocation))[0]
        return
    for name in registry.names():
        try:
            backend = registry.load(name, context(invocation))
        except BackendUnavailableError:
            continue  # An installed package that cannot be imported here holds nothing that we could list.
        if backend.check().ok:
            yield backend
