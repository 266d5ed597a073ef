"""The plan: reuse is proven, and everything else has a reason."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewarm.backends.base import Presence, Probe, TemplateRef
from prewarm.catalog.records import Place, Record
from prewarm.key import KeyInputs, TemplateKey
from prewarm.plan import Action, Candidate, Found, Previous, Reason, Status, decide


def inputs(**changes) -> KeyInputs:
    start = KeyInputs(
        backend="memory",
        capture_format="memory/1",
        platform="linux/amd64",
        base="sha256:00",
        parent=None,
        user="sandbox",
        workdir="/workspace",
    )
    return replace(start, **changes)


def place(digit="a") -> Place:
    return Place(backend="memory", key=TemplateKey(digit * 64))


def ref(name="x") -> TemplateRef:
    return TemplateRef(backend="memory", format="memory/1", value={"id": name})


def candidate(name="analyst", digit="a", parent=None, **changes) -> Candidate:
    return Candidate(name=name, place=place(digit), inputs=inputs(**changes), parent=parent)


def recorded(digit="a", presence=Presence.PRESENT, *, where=None, parent=None) -> Found:
    where = where or ref(digit)
    record = Record(
        namespace="acme", place=place(digit), name="n", ref=where, parent=parent, seconds={"seed": 2.0, "seal": 1.0}
    )
    return Found(ref=where, probe=Probe(presence=presence, detail="told"), record=record)


def only(candidates, found=None, previous=None, forced=()):
    items = decide(candidates, found=found or {}, previous=previous or {}, forced=frozenset(forced))
    return {item.name: item for item in items}


def test_what_the_backend_has_is_reused_and_says_what_that_saves():
    item = only([candidate()], {place(): recorded()})["analyst"]
    assert (item.action, item.reason, item.ref, item.saved_s) == (Action.REUSE, Reason.UNCHANGED, ref("a"), 3.0)
    assert item.status is Status.REUSED


def test_a_record_alone_proves_nothing():
    found = replace(recorded(), probe=None)
    assert only([candidate()], {place(): found})["analyst"].action is Action.CAPTURE


def test_what_the_backend_has_without_a_record_is_reused():
    found = Found(ref=ref(), probe=Probe(presence=Presence.PRESENT))
    item = only([candidate()], {place(): found})["analyst"]
    assert (item.action, item.reason, item.size) == (Action.REUSE, Reason.FOUND, None)


def test_what_nobody_knows_is_captured_first():
    item = only([candidate()])["analyst"]
    assert (item.action, item.reason, item.status) == (Action.CAPTURE, Reason.FIRST_CAPTURE, Status.FRESH)


@pytest.mark.parametrize(
    ("presence", "reason"),
    [
        (Presence.MISSING, Reason.MISSING),
        (Presence.CORRUPT, Reason.CORRUPT),
        (Presence.EXPIRED, Reason.EXPIRED),
    ],
)
def test_what_cannot_be_opened_is_captured_with_that_reason(presence, reason):
    item = only([candidate()], {place(): recorded(presence=presence)})["analyst"]
    assert (item.action, item.reason, item.detail) == (Action.CAPTURE, reason, "told")


def test_a_changed_input_is_named_old_and_new():
    previous = {"analyst": Previous(place=place("b"), inputs=inputs(user="root"))}
    item = only([candidate()], previous=previous)["analyst"]
    assert item.reason is Reason.INPUTS_CHANGED
    assert item.changes == ('user: "root" -> "sandbox"',)


def test_going_back_to_a_template_that_is_gone_says_what_changed_since():
    previous = {"analyst": Previous(place=place("b"), inputs=inputs(user="root"))}
    found = {place(): recorded(presence=Presence.MISSING)}
    assert only([candidate()], found, previous)["analyst"].reason is Reason.INPUTS_CHANGED


def test_a_change_whose_old_inputs_are_lost_says_the_old_key():
    item = only([candidate()], previous={"analyst": Previous(place=place("b"))})["analyst"]
    assert (item.reason, item.detail) == (Reason.INPUTS_CHANGED, "its key was bbbbbbbbbbbb")


def test_a_template_of_the_same_key_that_is_on_no_record_any_more_is_missing():
    item = only([candidate()], previous={"analyst": Previous(place=place("a"), inputs=inputs())})["analyst"]
    assert item.reason is Reason.MISSING


def test_another_way_to_capture_is_a_reason_of_its_own():
    previous = {"analyst": Previous(place=place("b"), inputs=inputs(capture_format="memory/0"))}
    item = only([candidate()], previous=previous)["analyst"]
    assert item.reason is Reason.CAPTURE_FORMAT_CHANGED
    assert item.changes == ('capture format: "memory/0" -> "memory/1"',)


def test_another_way_to_capture_beside_a_changed_input_is_a_changed_input():
    previous = {"analyst": Previous(place=place("b"), inputs=inputs(capture_format="memory/0", user="root"))}
    assert only([candidate()], previous=previous)["analyst"].reason is Reason.INPUTS_CHANGED


def test_a_child_whose_parent_has_another_key_says_so():
    previous = {"child": Previous(place=place("c"), inputs=inputs(parent="1" * 64))}
    child = candidate("child", "b", parent="base")
    child = replace(child, inputs=inputs(parent="2" * 64))
    items = only([candidate("base", "a"), child], {place("a"): recorded("a")}, previous)
    assert items["child"].reason is Reason.PARENT_CAPTURED_AGAIN
    assert items["child"].changes == ("extends: key 111111111111… -> 222222222222…",)


def test_a_child_that_is_there_is_captured_again_after_its_parent():
    found = {place("a"): recorded("a", Presence.MISSING), place("b"): recorded("b", parent=ref("a"))}
    items = only([candidate("base", "a"), candidate("child", "b", parent="base")], found)
    assert items["base"].reason is Reason.MISSING
    assert (items["child"].action, items["child"].reason) == (Action.CAPTURE, Reason.PARENT_CAPTURED_AGAIN)


def test_a_child_that_stands_on_another_capture_of_its_parent_is_captured_again():
    found = {place("a"): recorded("a"), place("b"): recorded("b", parent=ref("older"))}
    items = only([candidate("base", "a"), candidate("child", "b", parent="base")], found)
    assert items["base"].action is Action.REUSE
    assert items["child"].reason is Reason.PARENT_CAPTURED_AGAIN


def test_a_child_that_stands_on_this_capture_of_its_parent_is_reused():
    found = {place("a"): recorded("a"), place("b"): recorded("b", parent=ref("a"))}
    items = only([candidate("base", "a"), candidate("child", "b", parent="base")], found)
    assert items["child"].action is Action.REUSE


def test_force_captures_what_is_there():
    item = only([candidate()], {place(): recorded()}, forced=["analyst"])["analyst"]
    assert (item.action, item.reason) == (Action.CAPTURE, Reason.FORCED)


def test_force_is_for_those_that_are_named():
    found = {place("a"): recorded("a"), place("b"): recorded("b")}
    items = only([candidate("one", "a"), candidate("two", "b")], found, forced=["two"])
    assert [items[name].action for name in ("one", "two")] == [Action.REUSE, Action.CAPTURE]


def test_two_sandboxes_of_one_key_are_captured_once():
    items = only([candidate("one"), candidate("two")])
    assert items["one"].action is Action.CAPTURE
    assert (items["two"].action, items["two"].reason, items["two"].shares) == (Action.SHARE, Reason.IDENTICAL, "one")
    assert items["two"].status is Status.REUSED


def test_forcing_the_second_of_two_alike_captures_for_both():
    items = only([candidate("one"), candidate("two")], {place(): recorded()}, forced=["two"])
    assert (items["one"].reason, items["two"].action) == (Reason.FORCED, Action.SHARE)


def test_two_sandboxes_of_one_key_that_is_there_are_both_reused():
    items = only([candidate("one"), candidate("two")], {place(): recorded()})
    assert {item.reason for item in items.values()} == {Reason.UNCHANGED}


def test_the_same_key_at_another_backend_is_another_template():
    other = replace(candidate("two"), place=Place(backend="local", key=place().key))
    assert only([candidate("one"), other])["two"].action is Action.CAPTURE


def test_every_reason_has_a_sentence():
    assert all(reason.sentence for reason in Reason)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([None, *Presence]), st.booleans()), max_size=8),
)
def test_nothing_is_ever_reused_that_the_backend_did_not_confirm(sandboxes):
    candidates, found, forced = [], {}, set()
    for number, (digit, presence, is_forced) in enumerate(sandboxes):
        candidates.append(candidate(f"n{number}", digit, parent=f"n{number - 1}" if number and is_forced else None))
        if presence is not None:
            found.setdefault(place(digit), recorded(digit, presence))
        if is_forced:
            forced.add(f"n{number}")
    items = decide(candidates, found=found, previous={}, forced=frozenset(forced))
    assert [item.name for item in items] == [one.name for one in candidates]
    for item in items:
        if item.action is Action.REUSE:
            assert found[item.place].usable
            assert item.ref == found[item.place].ref
        if item.shares is not None:
            leader = next(one for one in items if one.name == item.shares)
            assert (leader.action, leader.place) == (Action.CAPTURE, item.place)
