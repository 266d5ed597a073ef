"""The contract of expiry: a session ends by itself, with every client dead."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from prewarm.backends.base import Backend
from prewarm.backends.context import BackendContext, Feature
from prewarm.backends.hosting import SessionHandle
from prewarm.errors import SessionFileNotFoundError, SessionGoneError
from prewarm.testing.harness import Harness, needs
from prewarm.testing.worker import Open
from prewarm.testing.workplace import Captured, Workplace


class ExpiryContract(Harness):
    """Idle timeout, longest lifetime."""

    @needs(Feature.SELF_EXPIRY)
    def test_an_idle_session_ends_by_itself(self, place: Workplace, template: Captured) -> None:
        before = set(self.leftovers(place.backend, place.namespace))
        session = place.open(place.opening(template, idle_timeout_s=self.expiry_s))
        session.files.write("/workspace/mark", b"x")
        self._wait_until_gone(place, session)
        with pytest.raises(SessionGoneError):
            place.backend.attach(session.state())
        with pytest.raises(SessionGoneError):
            place.run(session, "true")
        assert self._left_in_the_end(place, before) == set()

    @needs(Feature.SELF_EXPIRY)
    def test_a_session_that_is_used_does_not_end(self, place: Workplace, template: Captured) -> None:
        session = place.open(place.opening(template, idle_timeout_s=self.expiry_s))
        until = time.monotonic() + 2 * self.expiry_s
        while time.monotonic() < until:
            place.text(session, "true")
            time.sleep(self.expiry_s / 8)
        assert session.id in [record.id for record in place.backend.sessions(place.namespace)]

    @needs(Feature.SELF_EXPIRY)
    def test_a_session_in_which_a_command_runs_is_not_idle(self, place: Workplace, template: Captured) -> None:
        session = place.open(place.opening(template, idle_timeout_s=self.expiry_s))
        result = place.run(session, f"sleep {2 * self.expiry_s}; echo awake")
        assert (result.exit_code, result.stdout) == (0, "awake\n")

    @needs(Feature.SELF_EXPIRY)
    def test_a_session_ends_at_its_longest_lifetime_also_when_used(self, place: Workplace, template: Captured) -> None:
        session = place.open(place.opening(template, max_lifetime_s=self.expiry_s))
        deadline = time.monotonic() + self.expiry_s + self.expiry_patience_s
        with pytest.raises(SessionGoneError):
            self._use_until(place, session, deadline)

    @needs(Feature.SELF_EXPIRY)
    def test_an_ended_sessions_key_opens_a_new_one(self, place: Workplace, template: Captured) -> None:
        opening = place.opening(template, idle_timeout_s=self.expiry_s)
        first = place.open(opening)
        first.files.write("/workspace/mark", b"x")
        self._wait_until_gone(place, first)
        second = place.open(opening)
        assert second.id != first.id
        with pytest.raises(SessionFileNotFoundError):
            second.files.read("/workspace/mark")

    @needs(Feature.SELF_EXPIRY, Feature.CROSS_PROCESS)
    def test_a_session_whose_client_was_killed_ends_by_itself(
        self, backend: Backend, place: Workplace, template: Captured, context: BackendContext, tmp_path: Path
    ) -> None:
        before = set(self.leftovers(backend, place.namespace))
        opening = place.opening(template, idle_timeout_s=self.expiry_s)
        with self.worker(backend, context).start(Open(request=opening), tmp_path) as child:
            assert child.stdout is not None
            said = json.loads(child.stdout.readline())
        deadline = time.monotonic() + self.expiry_s + self.expiry_patience_s
        while self._is_listed(place, said["id"]) and time.monotonic() < deadline:
            time.sleep(0.1)
        with pytest.raises(SessionGoneError):
            backend.attach(said["state"])
        assert self._left_in_the_end(place, before) == set()

    @needs(Feature.SELF_EXPIRY)
    def test_an_expiry_is_listed(self, place: Workplace, template: Captured) -> None:
        session = place.open(place.opening(template, max_lifetime_s=1000.0))
        (record,) = [one for one in place.backend.sessions(place.namespace) if one.id == session.id]
        assert record.expires_at is not None
        assert 0 < record.expires_at - time.time() <= 1001

    def _wait_until_gone(self, place: Workplace, session: SessionHandle) -> None:
        deadline = time.monotonic() + self.expiry_s + self.expiry_patience_s
        while self._is_listed(place, session.id):
            assert time.monotonic() < deadline, "the session did not end by itself"
            time.sleep(0.1)

    def _use_until(self, place: Workplace, session: SessionHandle, deadline: float) -> None:
        while time.monotonic() < deadline:
            place.run(session, "true")
            time.sleep(self.expiry_s / 8)

    def _left_in_the_end(self, place: Workplace, before: set[str]) -> set[str]:
        """Give what is left once everything had its time, litter taken away as gc would."""
        deadline = time.monotonic() + self.expiry_patience_s
        while True:
            for piece in place.backend.litter(place.namespace):
                piece.remove()
            left = set(self.leftovers(place.backend, place.namespace)) - before
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.1)

    @staticmethod
    def _is_listed(place: Workplace, identity: str) -> bool:
        return identity in [record.id for record in place.backend.sessions(place.namespace)]
