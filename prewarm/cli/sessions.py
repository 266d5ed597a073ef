"""``prewarm sessions``."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import click

from prewarm.backends.base import Backend, SessionRecord
from prewarm.backends.ending import EndsSessions
from prewarm.cli import _installed, _names, _output, _text
from prewarm.cli._group import command
from prewarm.cli._options import BACKEND, HOME, JSON, Invocation, invocation
from prewarm.errors import SessionGoneError
from prewarm.session.ledger import Lease, Ledger

_EXAMPLE = """\
prewarm sessions
prewarm sessions --json
prewarm sessions --remove user-42"""
_SHORT_ID: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """A live session: what its backend says, and what this machine remembers of it."""

    backend: Backend
    record: SessionRecord
    lease: Lease | None


@command("sessions", example=_EXAMPLE)
@click.option("--namespace", help="Only sessions of this namespace.")
@click.option(
    "--remove",
    multiple=True,
    metavar="KEY",
    shell_complete=_names.complete_sessions,
    help="End the sessions with this key or id (its first 12 digits will do). Can be given again.",
)
@click.option("--remove-all", is_flag=True, help="End every session that would be listed.")
@HOME
@BACKEND
@JSON
def _sessions(*, namespace: str | None, remove: tuple[str, ...], remove_all: bool) -> None:
    """List the sessions that live on this machine's backends, or end some of them with their files.

    Sessions end by themselves, idle or too old; see 'session' in the definition.
    """
    run = invocation()
    listed = _list(run, namespace)
    if remove or remove_all:
        ended = _end(run, listed, None if remove_all else remove)
        if run.as_json:
            _output.json_object({"schema": "prewarm.sessions/1", "removed": [one.record.id for one in ended]})
        else:
            _output.talk(f"ended {len(ended)} session{'s' if len(ended) != 1 else ''}")
    elif run.as_json:
        _output.json_object({"schema": "prewarm.sessions/1", "sessions": [_as_json(one) for one in listed]})
    else:
        columns = ("SESSION", "SANDBOX", "BACKEND", "STATE", "ENDS WITHIN", "ID")
        # A terminal gets as much of the id as '--remove' needs; everything else gets it whole.
        digits = _SHORT_ID if _output.is_terminal(sys.stdout) else None
        _output.table(columns, [_row(one, digits) for one in listed], cut=(0, 1))


def _list(run: Invocation, namespace: str | None) -> list[_Listed]:
    ledger = Ledger(run.home)
    live = {backend: backend.sessions() for backend in _installed.working(run)}
    ledger.retain({backend.name: {record.id for record in records} for backend, records in live.items()})
    leases: Mapping[tuple[str, str], Lease] = {(lease.backend, lease.id): lease for lease in ledger.leases()}
    listed = [
        _Listed(backend=backend, record=record, lease=leases.get((backend.name, record.id)))
        for backend, records in live.items()
        for record in records
        if namespace in {None, record.namespace}
    ]
    return sorted(listed, key=lambda one: (one.record.namespace, one.record.name, one.record.session_key))


def _end(run: Invocation, listed: list[_Listed], wanted: tuple[str, ...] | None) -> list[_Listed]:
    wanted = None if wanted is None else tuple(_whole(text, listed) for text in wanted)
    known = {text for one in listed for text in (one.record.session_key, one.record.id)}
    if wanted is not None and (unknown := [text for text in wanted if text not in known]):
        raise SessionGoneError(
            f"no live session has the key or id {', '.join(repr(text) for text in unknown)}",
            hint="'prewarm sessions' lists those that live",
        )
    ended = [one for one in listed if wanted is None or {one.record.session_key, one.record.id} & set(wanted)]
    for one in ended:
        if isinstance(one.backend, EndsSessions):
            one.backend.end_session(one.record.state)
        else:
            with contextlib.suppress(SessionGoneError):  # It ended by itself meanwhile, which is what was wanted.
                one.backend.attach(one.record.state).remove()
        Ledger(run.home).forget(one.backend.name, one.record.id)
    return ended


def _whole(text: str, listed: list[_Listed]) -> str:
    """Give the id that a text begins, if it begins just one and is no key; or else the text."""
    ids = [one.record.id for one in listed if one.record.id.startswith(text)]
    is_key = any(one.record.session_key == text for one in listed)
    return ids[0] if len(ids) == 1 and len(text) >= _SHORT_ID and not is_key else text


def _row(one: _Listed, digits: int | None) -> tuple[str, ...]:
    record = one.record
    left = "-" if record.expires_at is None else _text.duration(max(0.0, record.expires_at - time.time()))
    state = "running" if record.running else "stopped"
    return (record.session_key, f"{record.namespace}/{record.name}", one.backend.name, state, left, record.id[:digits])


def _as_json(one: _Listed) -> _output.JsonObject:
    record, lease = one.record, one.lease
    return {
        "id": record.id,
        "namespace": record.namespace,
        "name": record.name,
        "session_key": record.session_key,
        "key": str(record.key),
        "backend": one.backend.name,
        "running": record.running,
        "expires_at": record.expires_at,
        "opened_at": None if lease is None else lease.created,
        "used_at": None if lease is None else lease.used,
    }


COMMAND: click.Command = _sessions
