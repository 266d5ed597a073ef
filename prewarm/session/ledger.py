"""What this machine remembers of its sessions, in the state directory's database.

The backend is the truth about what lives; this adds what a backend does not know: which sessions were opened from here, by
which name and key, and when they were used last. ``prewarm sessions`` shows it, ``gc`` keeps the templates it names. A
session works without it: where the state directory cannot be written, opening goes on.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final, NamedTuple

from prewarm.document import parse
from prewarm.errors import HomeError
from prewarm.home import Home
from prewarm.key import TemplateKey
from prewarm.refs import ref_from, ref_text
from prewarm.values import TemplateRef

_BUSY_MS: Final = 2000
_TABLE: Final = """CREATE TABLE IF NOT EXISTS session (
    backend TEXT NOT NULL, id TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, session_key TEXT NOT NULL,
    template_key TEXT NOT NULL, ref TEXT NOT NULL, state TEXT NOT NULL,
    created REAL NOT NULL, used REAL NOT NULL, expires REAL NOT NULL,
    PRIMARY KEY (backend, id)) WITHOUT ROWID"""


class Lease(NamedTuple):
    """One session as this machine remembers it; times are seconds since the epoch.

    Attributes:
        id: The backend's own name for it.
        ref: What the lock file said when it was opened here; where ``template_key`` is another's, the session is older.
        state: JSON text for ``attach_session``.
        used: When a client on this machine called last, to the minute.
        expires: When its longest lifetime is over.
    """

    backend: str
    id: str
    namespace: str
    name: str
    session_key: str
    template_key: TemplateKey
    ref: TemplateRef
    state: str
    created: float
    used: float
    expires: float


class Ledger:
    """The sessions of one state directory.

    Args:
        home: Where it is kept.
        clock: Seconds since the epoch.

    Raises:
        HomeError: The state directory cannot be used (every method).
    """

    def __init__(self, home: Home, clock: Callable[[], float] = time.time) -> None:
        self._home = home
        self._clock = clock

    def record(self, lease: Lease) -> None:
        """Remember a session; of one that is known, all but its beginning is renewed."""
        with self._database() as database:
            database.execute(
                "INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (backend, id) DO UPDATE SET"
                " state = excluded.state, used = excluded.used, expires = max(expires, excluded.expires)",
                (
                    lease.backend,
                    lease.id,
                    lease.namespace,
                    lease.name,
                    lease.session_key,
                    lease.template_key,
                    ref_text(lease.ref),
                    lease.state,
                    lease.created,
                    lease.used,
                    lease.expires,
                ),
            )

    def touch(self, backend: str, identity: str) -> None:
        """Say that a client used a session now."""
        with self._database() as database:
            database.execute(
                "UPDATE session SET used = ? WHERE backend = ? AND id = ?", (self._clock(), backend, identity)
            )

    def forget(self, backend: str, identity: str) -> None:
        """Drop a session; one that is unknown is fine."""
        with self._database() as database:
            database.execute("DELETE FROM session WHERE backend = ? AND id = ?", (backend, identity))

    def retain(self, living: Mapping[str, Collection[str]]) -> None:
        """Drop the sessions that have ended.

        Args:
            living: For each backend that was asked, the ids of all its live sessions; those of others are left alone.
        """
        with self._database() as database:
            known = database.execute("SELECT backend, id FROM session").fetchall()
            ended = [(backend, one) for backend, one in known if backend in living and one not in living[backend]]
            database.executemany("DELETE FROM session WHERE backend = ? AND id = ?", ended)

    def leases(self, namespace: str | None = None) -> tuple[Lease, ...]:
        """Give what is remembered, oldest first. Only a backend knows what lives: a clock can jump."""
        with self._database() as database:
            rows = database.execute(
                "SELECT * FROM session WHERE :namespace IS NULL OR namespace = :namespace ORDER BY created, id",
                {"namespace": namespace},
            ).fetchall()
        return tuple(_lease(row) for row in rows)

    @contextlib.contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        connection = self._home.connect()
        try:
            connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
            connection.execute(_TABLE)
            yield connection
        except sqlite3.Error as error:
            raise HomeError(
                f"cannot use the sessions in {self._home.path}: {error}", hint="free some space, or delete state.db"
            ) from error
        finally:
            connection.close()


def _lease(row: tuple[str, ...]) -> Lease:
    backend, identity, namespace, name, session_key, template_key, ref, state, created, used, expires = row
    return Lease(
        backend=backend,
        id=identity,
        namespace=namespace,
        name=name,
        session_key=session_key,
        template_key=TemplateKey(template_key),
        ref=ref_from(parse(ref)),
        state=state,
        created=float(created),
        used=float(used),
        expires=float(expires),
    )
