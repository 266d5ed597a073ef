"""The contract of sessions: opened, found again, kept apart, bound to their template, gone when they are gone."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest

from prewarm.backends.base import Backend
from prewarm.backends.context import BackendContext, Feature
from prewarm.backends.ending import EndsSessions
from prewarm.backends.hosting import SessionHandle
from prewarm.errors import (
    SessionFileNotFoundError,
    SessionGoneError,
    SessionStateError,
    TemplateCorruptError,
    TemplateNotFoundError,
)
from prewarm.testing.builders import key_of, shell
from prewarm.testing.harness import Harness, needs
from prewarm.testing.worker import Run
from prewarm.testing.workplace import PATIENCE_S, USER, WORKDIR, Captured, Workplace


class SessionsContract(Harness):
    """Opening, attaching, isolation, removal."""

    def test_a_session_has_what_the_template_has(self, session: SessionHandle) -> None:
        assert session.files.read("/workspace/seeded") == b"a seed\n"
        assert session.files.read("/workspace/written") == b"written by bootstrap\n"

    def test_a_session_knows_the_template_it_was_born_from(self, session: SessionHandle, template: Captured) -> None:
        assert session.template_key == template.key

    def test_opening_the_same_key_again_attaches(self, place: Workplace, template: Captured) -> None:
        opening = place.opening(template)
        first = place.open(opening)
        first.files.write("/workspace/mark", b"first")
        second = place.open(opening)
        assert second.id == first.id
        assert second.files.read("/workspace/mark") == b"first"

    def test_another_key_is_another_session(self, place: Workplace, template: Captured) -> None:
        assert place.open(template).id != place.open(template).id

    def test_another_namespace_is_another_session(self, place: Workplace, template: Captured) -> None:
        opening = place.opening(template)
        there = place.open(opening)
        assert place.open(replace(opening, namespace=f"{place.namespace}-x")).id != there.id

    def test_another_sandbox_is_another_session(self, place: Workplace, template: Captured) -> None:
        opening = place.opening(template)
        there = place.open(opening)
        assert place.open(replace(opening, name="another")).id != there.id

    def test_eight_openings_of_one_key_at_once_give_one_session(
        self, backend: Backend, place: Workplace, template: Captured, context: BackendContext
    ) -> None:
        opening = place.opening(template)
        opened: list[str] = []
        errors: list[BaseException] = []

        def enter(which: Backend) -> None:
            try:
                session = place.open(opening, which)
                opened.append(session.id)
                assert place.text(session, "cat /workspace/seeded") == "a seed"
            except BaseException as error:  # noqa: BLE001 - told to the test.
                errors.append(error)

        instances = [backend if number % 2 else self.again(backend, context) for number in range(8)]
        threads = [threading.Thread(target=enter, args=(which,)) for which in instances]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert len(opened) == 8
        assert len(set(opened)) == 1

    def test_two_sessions_do_not_see_each_others_files(self, place: Workplace, template: Captured) -> None:
        one, two = place.open(template), place.open(template)
        one.files.write("/workspace/secret", b"of one")
        one.files.write("/workspace/seeded", b"changed by one")
        one.files.remove("/workspace/written")
        with pytest.raises(SessionFileNotFoundError):
            two.files.read("/workspace/secret")
        assert two.files.read("/workspace/seeded") == b"a seed\n"
        assert two.files.read("/workspace/written") == b"written by bootstrap\n"

    def test_the_template_does_not_see_a_sessions_files(self, place: Workplace, template: Captured) -> None:
        first = place.open(template)
        place.run(first, "echo changed > /workspace/seeded; rm /workspace/written; echo new > /workspace/new")
        first.remove()
        second = place.open(template)
        assert second.files.read("/workspace/seeded") == b"a seed\n"
        assert second.files.read("/workspace/written") == b"written by bootstrap\n"
        with pytest.raises(SessionFileNotFoundError):
            second.files.read("/workspace/new")

    @needs(Feature.PROCESSES)
    def test_two_sessions_do_not_see_each_others_processes(self, place: Workplace, template: Captured) -> None:
        one, two = place.open(template), place.open(template)
        place.run(one, "exec sleep 611 > /dev/null 2>&1 &")
        look = "for p in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $p 2>/dev/null; echo; done"
        assert "sleep 611" in place.text(one, look)
        assert "sleep 611" not in place.text(two, look)

    def test_a_session_stays_bound_to_the_template_it_was_born_from(self, place: Workplace) -> None:
        old = place.capture(shell("echo old > /workspace/version"))
        new = place.capture(shell("echo new > /workspace/version"))
        first = place.open(place.opening(old, "bound"))
        second = place.open(place.opening(new, "bound"))
        assert second.id == first.id
        assert second.template_key == old.key
        assert second.files.read("/workspace/version") == b"old\n"

    def test_files_survive_detaching_and_attaching(self, place: Workplace, session: SessionHandle) -> None:
        session.files.write("/workspace/kept", b"kept")
        state = session.state()
        session.detach()
        again = place.backend.attach(state)
        assert again.id == session.id
        assert again.template_key == session.template_key
        assert again.files.read("/workspace/kept") == b"kept"

    def test_another_instance_attaches(self, backend: Backend, session: SessionHandle, context: BackendContext) -> None:
        session.files.write("/workspace/kept", b"kept")
        state = session.state()
        session.detach()
        assert self.again(backend, context).attach(state).files.read("/workspace/kept") == b"kept"

    @needs(Feature.CROSS_PROCESS)
    def test_another_process_attaches(
        self, backend: Backend, place: Workplace, session: SessionHandle, context: BackendContext
    ) -> None:
        session.files.write("/workspace/kept", b"kept")
        job = Run(state=session.state(), command="cat kept; echo there > from-there", cwd=WORKDIR, user=USER)
        said = self.worker(backend, context).do(job)
        assert said == {"exit_code": 0, "stdout": "kept", "id": session.id}
        assert place.text(session, "cat from-there") == "there"

    def test_a_session_in_use_is_not_hurt_by_a_client_that_detaches(
        self, backend: Backend, place: Workplace, session: SessionHandle, context: BackendContext
    ) -> None:
        other = self.again(backend, context).attach(session.state())
        other.detach()
        other.detach()
        assert place.text(session, "cat /workspace/seeded") == "a seed"

    def test_a_state_is_plain_data_without_a_path_of_this_machine(
        self, session: SessionHandle, context: BackendContext
    ) -> None:
        text = json.dumps(session.state())
        assert json.loads(text) == session.state()
        assert str(context.home) not in text

    @pytest.mark.parametrize(
        "state", [{}, {"schema": "somebody-else.session/1", "id": "x"}, {"schema": 7}, {"id": "x"}]
    )
    def test_a_state_of_another_backend_is_refused(self, place: Workplace, state: dict[str, str | int]) -> None:
        with pytest.raises(SessionStateError):
            place.backend.attach(state)

    def test_a_state_of_another_version_is_refused(self, place: Workplace, session: SessionHandle) -> None:
        state = {**session.state()}
        versions = [name for name, value in state.items() if isinstance(value, str) and value.endswith("/1")]
        assert versions, "a state says which version it is: 'schema': 'name/1'"
        with pytest.raises(SessionStateError):
            place.backend.attach({**state, versions[0]: f"{str(state[versions[0]])[:-1]}999"})

    def test_live_sessions_are_listed(self, place: Workplace, template: Captured) -> None:
        opening = place.opening(template)
        session = place.open(opening)
        (listed,) = [record for record in place.backend.sessions(place.namespace) if record.id == session.id]
        assert (listed.namespace, listed.name, listed.session_key) == (
            place.namespace,
            template.request.name,
            opening.session_key,
        )
        assert (listed.key, listed.ref, listed.running) == (template.key, template.ref, True)
        assert place.backend.attach(listed.state).id == session.id
        assert session.id in [record.id for record in place.backend.sessions()]

    def test_another_namespace_does_not_list_them(self, place: Workplace, session: SessionHandle) -> None:
        assert session.id not in [record.id for record in place.backend.sessions(f"{place.namespace}-x")]

    def test_a_removed_session_is_gone(self, place: Workplace, session: SessionHandle) -> None:
        state = session.state()
        session.remove()
        assert session.id not in [record.id for record in place.backend.sessions(place.namespace)]
        with pytest.raises(SessionGoneError):
            place.backend.attach(state)
        with pytest.raises(SessionGoneError):
            place.run(session, "true")
        with pytest.raises(SessionGoneError):
            session.files.read("/workspace/seeded")

    def test_removing_a_session_twice_is_fine(
        self, backend: Backend, session: SessionHandle, context: BackendContext
    ) -> None:
        other = self.again(backend, context).attach(session.state())
        session.remove()
        session.remove()
        other.remove()
        session.detach()

    def test_a_session_ends_by_its_state(
        self, backend: Backend, place: Workplace, session: SessionHandle, context: BackendContext
    ) -> None:
        other = self.again(backend, context)
        if not isinstance(other, EndsSessions):
            pytest.skip("this backend ends a session only where it can find it")
        other.end_session(session.state())
        other.end_session(session.state())
        assert session.id not in [record.id for record in place.backend.sessions(place.namespace)]
        with pytest.raises(SessionGoneError):
            place.backend.attach(session.state())
        with pytest.raises(SessionStateError):
            other.end_session({**session.state(), "schema": "prewarm.of-somebody-else/1"})

    def test_removing_leaves_nothing(self, place: Workplace, template: Captured) -> None:
        before = set(self.leftovers(place.backend, place.namespace))
        session = place.open(template)
        session.files.write("/workspace/a/b/c", b"x" * 100_000)
        session.remove()
        assert set(self.leftovers(place.backend, place.namespace)) <= before
        assert not self.litter(place.backend, place.namespace)

    @needs(Feature.PROCESSES)
    def test_removing_ends_what_runs(self, place: Workplace, session: SessionHandle) -> None:
        process = place.start(session, "sleep 600")
        session.remove()
        assert process.wait(PATIENCE_S) is not None
        process.close()

    def test_a_removed_sessions_key_opens_a_new_one(self, place: Workplace, template: Captured) -> None:
        opening = place.opening(template)
        first = place.open(opening)
        first.files.write("/workspace/mark", b"x")
        first.remove()
        second = place.open(opening)
        assert second.id != first.id
        with pytest.raises(SessionFileNotFoundError):
            second.files.read("/workspace/mark")

    def test_a_missing_template_opens_nothing(self, place: Workplace) -> None:
        captured = place.capture(shell("true"))
        place.backend.remove(captured.ref)
        with pytest.raises(TemplateNotFoundError) as caught:
            place.open(captured)
        assert caught.value.hint
        assert not [r for r in place.backend.sessions(place.namespace) if r.key == captured.key]

    def test_a_template_of_another_key_opens_nothing(self, place: Workplace, template: Captured) -> None:
        with pytest.raises((TemplateCorruptError, TemplateNotFoundError)):
            place.open(replace(place.opening(template), key=key_of("another")))

    def test_the_longest_and_strangest_keys_are_sessions_of_their_own(
        self, place: Workplace, template: Captured
    ) -> None:
        keys = ["k" * 128, "k" * 127 + "K", "user:1", "user@1", "user-1", "user_1", "user.1", "-1", ".hidden", "A", "a"]
        ids = {place.open(place.opening(template, key)).id for key in keys}
        assert len(ids) == len(keys)
        listed = {record.session_key for record in place.backend.sessions(place.namespace)}
        assert set(keys) <= listed
