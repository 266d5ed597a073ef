"""The contract of expiry: a session ends by itself, with every client dead."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from prewarm.backends.base import Backend
from prewarm.backends.context import BackendContext, Feature
from prewarm.backends.hosting import OpenRequest, SessionHandle
from prewarm.errors import SessionFileNotFoundError, SessionGoneError
from prewarm.testing.harness import Harness, needs
from prewarm.testing.worker import Open
from prewarm.testing.workplace import Captured, Workplace

_SLOWER = (1, 3, 9)  # How many times the shortest timeout a machine under load is given.


class ExpiryContract(Harness):
    """Idle timeout, longest lifetime."""

    @needs(Feature.SELF_EXPIRY)
    def test_an_idle_session_ends_by_itself(self, place: Workplace, template: Captured) -> None:
        before = set(self.leftovers(place.backend, place.namespace))
        session = self._marked(place, place.opening(template))
        self._wait_until_gone(place, session)
        with pytest.raises(SessionGoneError):
            place.backend.attach(session.state())
        with pytest.raises(SessionGoneError):
            place.run(session, "true")
        assert self._left_in_the_end(place, before) == set()

    @needs(Feature.SELF_EXPIRY)
    def test_a_session_that_is_used_does_not_end(self, place: Workplace, template: Captured) -> None:
        def outlives(idle_s: float) -> bool:
            session = place.open(place.opening(template, idle_timeout_s=idle_s))
            used, pauses = time.monotonic(), [0.0]
            until = used + 2 * idle_s
            try:
                while used < until:
                    time.sleep(idle_s / 8)
                    place.run(session, "true")
                    pauses.append(time.monotonic() - used)
                    used += pauses[-1]
                return place.backend.attach(session.state()).id == session.id
            except SessionGoneError:
                pauses.append(time.monotonic() - used)
                assert max(pauses) > idle_s / 2, "a session that was used ended"
                return False

        assert self._in_time(outlives)

    @needs(Feature.SELF_EXPIRY)
    def test_a_session_in_which_a_command_runs_is_not_idle(self, place: Workplace, template: Captured) -> None:
        def outlives(idle_s: float) -> bool:
            session = place.open(place.opening(template, idle_timeout_s=idle_s))
            try:
                result = place.run(session, f"sleep {2 * idle_s}; echo awake")
            except SessionGoneError:  # Before it began.
                return False
            return (result.exit_code, result.stdout) == (0, "awake\n")

        assert self._in_time(outlives)

    @needs(Feature.SELF_EXPIRY)
    def test_a_session_ends_at_its_longest_lifetime_also_when_used(self, place: Workplace, template: Captured) -> None:
        session = place.open(place.opening(template, max_lifetime_s=self.expiry_s))
        deadline = time.monotonic() + self.expiry_patience_s
        with pytest.raises(SessionGoneError):
            self._use_until(place, session, deadline)

    @needs(Feature.SELF_EXPIRY)
    def test_an_ended_sessions_key_opens_a_new_one(self, place: Workplace, template: Captured) -> None:
        opening = place.opening(template)
        first = self._marked(place, opening)
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
        deadline = time.monotonic() + self.expiry_patience_s
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

    def _in_time(self, holds: Callable[[float], bool]) -> bool:
        """Say whether something holds for an idle timeout: a short one, or a longer one where this machine is too slow."""
        return any(holds(times * self.expiry_s) for times in _SLOWER)

    def _marked(self, place: Workplace, opening: OpenRequest) -> SessionHandle:
        """Open a session that soon expires, and write a file before it does."""
        for times in _SLOWER:
            options = replace(opening.options, idle_timeout_s=times * self.expiry_s)
            session = place.open(replace(opening, options=options))
            with contextlib.suppress(SessionGoneError):
                session.files.write("/workspace/mark", b"x")
                return session
        raise AssertionError("a session that was just opened is gone")

    def _wait_until_gone(self, place: Workplace, session: SessionHandle) -> None:
        deadline = time.monotonic() + self.expiry_patience_s
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
            for piece in self.litter(place.backend, place.namespace):
                piece.remove()
            left = set(self.leftovers(place.backend, place.namespace)) - before
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.1)

    @staticmethod
    def _is_listed(place: Workplace, identity: str) -> bool:
        return identity in [record.id for record in place.backend.sessions(place.namespace)]
