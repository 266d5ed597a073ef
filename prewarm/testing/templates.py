"""The contract of templates: found when they are there, unchanged and published, and at no other time."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from prewarm.backends.base import Backend
from prewarm.backends.capturing import Presence
from prewarm.backends.context import BackendContext, Feature
from prewarm.definition.model import RootfsBase
from prewarm.errors import TemplateInUseError, TemplateNotFoundError, UnkeyableInputError
from prewarm.machine import host_platform
from prewarm.testing.builders import key_of, shell
from prewarm.testing.fakes import RecordingObserver
from prewarm.testing.harness import Harness, needs
from prewarm.testing.worker import Capture, Find
from prewarm.testing.workplace import Captured, Workplace


class TemplatesContract(Harness):
    """Publication, proof of presence, removal, races, crashes."""

    def test_a_backend_under_test_works_here(self, backend: Backend) -> None:
        health = backend.check()
        assert health.ok, health.reason
        assert health.findings

    def test_an_option_that_the_backend_does_not_know_is_a_problem(self, backend: Backend) -> None:
        assert backend.option_problems({"no-such-option": 1}, {})
        assert backend.option_problems({}, {"no-such-option": 1})
        assert not backend.option_problems({}, {})

    def test_a_template_that_was_never_captured_is_not_found(self, place: Workplace) -> None:
        assert place.backend.find(place.namespace, key_of("never captured")) is None

    def test_a_published_template_is_found_by_its_key(self, place: Workplace, template: Captured) -> None:
        assert place.backend.find(place.namespace, template.key) == template.ref

    def test_a_published_template_is_listed(self, place: Workplace, template: Captured) -> None:
        listed = [record for record in place.backend.templates(place.namespace) if record.key == template.key]
        assert [(record.namespace, record.name, record.ref) for record in listed] == [
            (place.namespace, "shared", template.ref)
        ]
        assert template.ref in [record.ref for record in place.backend.templates()]

    def test_a_published_template_is_proven_present(self, place: Workplace, template: Captured) -> None:
        (probe,) = place.backend.probe([(template.key, template.ref)])
        assert probe.presence is Presence.PRESENT, probe.detail

    def test_a_template_under_another_key_is_corrupt(self, place: Workplace, template: Captured) -> None:
        (probe,) = place.backend.probe([(key_of("another"), template.ref)])
        assert probe.presence is Presence.CORRUPT
        assert probe.detail

    def test_many_templates_are_answered_in_the_order_asked(self, place: Workplace, template: Captured) -> None:
        gone = place.capture(shell("echo x > /workspace/x"))
        place.backend.remove(gone.ref)
        asked = [(gone.key, gone.ref), (template.key, template.ref), (gone.key, gone.ref)]
        answers = [probe.presence for probe in place.backend.probe(asked)]
        assert answers == [Presence.MISSING, Presence.PRESENT, Presence.MISSING]

    def test_no_question_has_no_answer(self, place: Workplace) -> None:
        assert not place.backend.probe([])

    def test_a_ref_is_plain_data_without_a_path_of_this_machine(
        self, template: Captured, context: BackendContext
    ) -> None:
        assert str(context.home) not in json.dumps(dict(template.ref.value))

    def test_another_instance_finds_the_template(
        self, backend: Backend, place: Workplace, template: Captured, context: BackendContext
    ) -> None:
        assert self.again(backend, context).find(place.namespace, template.key) == template.ref

    @needs(Feature.CROSS_PROCESS)
    def test_another_process_finds_the_template(
        self, backend: Backend, place: Workplace, template: Captured, context: BackendContext
    ) -> None:
        said = self.worker(backend, context).do(Find(namespace=place.namespace, key=template.key))
        assert said["ref"] == dict(template.ref.value)

    def test_another_namespace_does_not_see_the_template(self, place: Workplace, template: Captured) -> None:
        assert place.backend.find(f"{place.namespace}-x", template.key) is None
        assert not place.backend.templates(f"{place.namespace}-x")

    def test_a_staged_template_is_not_found_and_can_be_opened(self, place: Workplace) -> None:
        request = place.request(shell("echo staged > /workspace/staged"))
        with place.backend.capture(request, RecordingObserver()) as staged:
            found = place.backend.find(place.namespace, request.key)
            captured = Captured(request=request, ref=staged.ref, observer=RecordingObserver())
            session = place.open(captured)
            content = session.files.read("/workspace/staged")
            session.remove()
        assert found is None
        assert content == b"staged\n"

    def test_a_capture_that_is_not_published_leaves_nothing(self, place: Workplace) -> None:
        request = place.request(shell("echo dropped > /workspace/dropped"))
        before = set(self.leftovers(place.backend, place.namespace))
        with place.backend.capture(request, RecordingObserver()) as staged:
            ref = staged.ref
        assert place.backend.find(place.namespace, request.key) is None
        assert place.backend.probe([(request.key, ref)])[0].presence is Presence.MISSING
        assert not self.litter(place.backend, place.namespace)
        assert set(self.leftovers(place.backend, place.namespace)) <= before

    def test_a_capture_that_is_broken_off_leaves_nothing(self, place: Workplace) -> None:
        request = place.request(shell("echo dropped > /workspace/dropped"))
        with pytest.raises(KeyError), place.backend.capture(request, RecordingObserver()):
            raise KeyError("verify failed")
        assert place.backend.find(place.namespace, request.key) is None
        assert not self.litter(place.backend, place.namespace)

    def test_a_ref_stays_the_same_when_it_is_published(self, place: Workplace) -> None:
        with place.backend.capture(place.request(shell("true")), RecordingObserver()) as staged:
            before = staged.ref
            staged.publish()
            after = staged.ref
        place.backend.remove(after)
        assert before == after

    def test_publishing_twice_is_fine(self, place: Workplace) -> None:
        request = place.request(shell("true"))
        with place.backend.capture(request, RecordingObserver()) as staged:
            staged.publish()
            staged.publish()
        place.backend.remove(staged.ref)

    def test_the_size_is_what_was_added(self, place: Workplace) -> None:
        text = "x" * 5000
        with place.backend.capture(place.request(shell(f"echo {text} > /workspace/x")), RecordingObserver()) as staged:
            size = staged.size
        assert 5000 <= size < 10_000_000

    def test_two_builders_of_one_key_publish_one_template(
        self, backend: Backend, place: Workplace, context: BackendContext
    ) -> None:
        request = place.request(shell("echo $$ > /workspace/who"))
        made: list[Captured] = []
        errors: list[BaseException] = []

        def build(which: Backend) -> None:
            try:
                made.append(place.publish(request, which))
            except BaseException as error:  # noqa: BLE001 - told to the test.
                errors.append(error)

        threads = [threading.Thread(target=build, args=(which,)) for which in (backend, self.again(backend, context))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        found = backend.find(place.namespace, request.key)
        assert found is not None
        assert [record.key for record in backend.templates(place.namespace)].count(request.key) == 1
        for captured in made:
            assert place.open(captured).files.read("/workspace/who")

    def test_removing_takes_the_template_away(self, place: Workplace) -> None:
        captured = place.capture(shell("true"))
        place.backend.remove(captured.ref)
        assert place.backend.find(place.namespace, captured.key) is None
        assert place.backend.probe([(captured.key, captured.ref)])[0].presence is Presence.MISSING

    def test_removing_twice_is_fine(self, place: Workplace) -> None:
        captured = place.capture(shell("true"))
        place.backend.remove(captured.ref)
        place.backend.remove(captured.ref)
        assert place.backend.find(place.namespace, captured.key) is None

    def test_a_template_with_a_live_session_is_not_removed(self, place: Workplace) -> None:
        captured = place.capture(shell("echo x > /workspace/x"))
        session = place.open(captured)
        with pytest.raises(TemplateInUseError):
            place.backend.remove(captured.ref)
        assert session.files.read("/workspace/x") == b"x\n"
        session.remove()
        place.backend.remove(captured.ref)

    def test_a_template_that_another_stands_on_is_not_removed(self, place: Workplace) -> None:
        parent = place.capture(shell("echo parent > /workspace/parent"))
        child = place.capture(shell("echo child > /workspace/child"), parent=parent)
        with pytest.raises(TemplateInUseError):
            place.backend.remove(parent.ref)
        assert place.open(child).files.read("/workspace/parent") == b"parent\n"

    def test_a_template_deleted_behind_our_back_is_missing(self, place: Workplace) -> None:
        captured = place.capture(shell("echo x > /workspace/x"))
        self.delete_behind(place.backend, captured.ref)
        assert place.backend.probe([(captured.key, captured.ref)])[0].presence is Presence.MISSING
        with pytest.raises(TemplateNotFoundError) as caught:
            place.open(captured)
        assert caught.value.hint

    def test_a_template_damaged_behind_our_back_is_corrupt(self, place: Workplace) -> None:
        captured = place.capture(shell("echo x > /workspace/x"))
        self.damage_behind(place.backend, captured.ref)
        (probe,) = place.backend.probe([(captured.key, captured.ref)])
        assert probe.presence is Presence.CORRUPT
        assert probe.detail

    def test_a_running_capture_is_no_litter(self, place: Workplace) -> None:
        with place.backend.capture(place.request(shell("true")), RecordingObserver()):
            assert not self.litter(place.backend, place.namespace)

    def test_a_live_session_is_no_litter(self, place: Workplace, template: Captured) -> None:
        place.open(template)
        assert not self.litter(place.backend, place.namespace)

    @needs(Feature.CROSS_PROCESS, Feature.PROCESSES)
    def test_a_capture_killed_in_a_step_leaves_no_template_and_no_litter_that_is_not_found(
        self, backend: Backend, place: Workplace, context: BackendContext, tmp_path: Path
    ) -> None:
        before = set(self.leftovers(backend, place.namespace))
        request = place.request(shell("echo begun; sleep 600"))
        child = self.worker(backend, context).start(Capture(request=request), tmp_path)
        with child:
            assert child.stdout is not None
            while (said := json.loads(child.stdout.readline())) != {"line": "begun"}:
                assert "ref" not in said
        deadline = time.monotonic() + self.expiry_patience_s
        while set(self.leftovers(backend, place.namespace)) - before and time.monotonic() < deadline:
            for piece in self.litter(backend, place.namespace):
                assert piece.description
                piece.remove()
                piece.remove()
            time.sleep(0.1)
        assert backend.find(place.namespace, request.key) is None
        assert not self.litter(backend, place.namespace)
        assert set(self.leftovers(backend, place.namespace)) <= before

    @needs(Feature.ROOTFS)
    def test_an_archive_that_is_not_there_is_an_error(self, backend: Backend, tmp_path: Path) -> None:
        with pytest.raises(UnkeyableInputError):
            backend.resolve_base(
                RootfsBase(path="missing.tar"),
                project=tmp_path,
                platform=host_platform(),
                sha256=lambda path: path.read_text(),
            )
