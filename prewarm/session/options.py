"""What an application says when it opens a session, over what the lock file says; refused where it cannot be honoured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from prewarm.backends.context import Feature
from prewarm.definition.options import Json, Network, Resources, SessionOptions
from prewarm.errors import UnsupportedOptionError

if TYPE_CHECKING:  # ``base`` is all that a backend is; opening needs the session half.
    from prewarm.backends.base import Backend


_Value = TypeVar("_Value")


class Overrides(NamedTuple):
    """As the caller wrote them; ``None`` leaves the lock file's."""

    network: Network | str | None
    memory: int | str | None
    cpus: float | None
    pids: int | None
    disk: int | str | None
    idle_timeout: float | str | None
    max_lifetime: float | str | None
    options: Mapping[str, Json] | None

    def over(self, defaults: SessionOptions) -> SessionOptions:
        """Give the options to open with.

        Raises:
            ValueError: One has no meaning; says which, and what is expected.
        """
        if all(value is None for value in (self.network, self.memory, self.cpus, self.pids, self.disk)) and all(
            value is None for value in (self.idle_timeout, self.max_lifetime, self.options)
        ):
            return defaults
        from prewarm.definition import fields  # How 512m and 30m are read; most callers override nothing.

        limits = defaults.resources
        return SessionOptions(
            network=_read("network", _network, self.network, defaults.network),
            resources=Resources(
                memory=_read("memory", fields.size, self.memory, limits.memory),
                cpus=_read("cpus", fields.cores, self.cpus, limits.cpus),
                pids=_read("pids", fields.count, self.pids, limits.pids),
                disk=_read("disk", fields.size, self.disk, limits.disk),
            ),
            idle_timeout_s=_read("idle_timeout", fields.duration, self.idle_timeout, defaults.idle_timeout_s),
            max_lifetime_s=_read("max_lifetime", fields.duration, self.max_lifetime, defaults.max_lifetime_s),
            options={**defaults.options, **(self.options or {})},
        )


def refuse_unsupported(backend: Backend, options: SessionOptions) -> None:
    """Check that a backend can honour what a session asks for, before anything runs.

    Raises:
        UnsupportedOptionError: It cannot.
    """
    lacking: list[str] = []
    if options.network is Network.NONE and Feature.NETWORK_POLICY not in backend.features:
        lacking.append("take the network away ('network: none')")
    if options.network is Network.ALL and Feature.NETWORK not in backend.features:
        lacking.append("give a network ('network: all')")
    if options.resources != Resources() and Feature.LIMITS not in backend.features:
        lacking.append("limit resources ('resources')")
    if lacking:
        raise UnsupportedOptionError(
            f"backend '{backend.name}' cannot {', nor '.join(lacking)}", hint="choose another backend, or do without it"
        )
    if options.options and (problems := backend.option_problems({}, options.options)):
        raise UnsupportedOptionError(f"backend '{backend.name}' refuses its session options: {'; '.join(problems)}")


def _network(value: object) -> Network:
    try:
        return Network(value)
    except ValueError:
        raise ValueError("expected 'all' or 'none'") from None


def _read(name: str, how: Callable[[object], _Value], given: object, default: _Value) -> _Value:
    if given is None:
        return default
    try:
        return how(given)
    except ValueError as error:
        raise ValueError(f"{name}={given!r}: {error}") from None
