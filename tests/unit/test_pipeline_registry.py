"""Builds that look into a registry before they capture."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from building import Listener, Workshop, define, reasons, statuses, steps

from prewarm import lockfile
from prewarm.backends.base import BackendContext
from prewarm.backends.memory import MemoryBackend, MemoryStore
from prewarm.backends.memory.store import ref_of
from prewarm.cancellation import Cancellation
from prewarm.errors import BackendUnavailableError, TemplateCorruptError, UnsupportedOptionError

REGISTRY = "registry.example.org/team"


class Travelling(MemoryBackend):
    """A memory backend whose registry is the store of another machine."""

    def __init__(self, shop: Workshop) -> None:
        super().__init__(BackendContext(home=shop.home.path, environment={}), commands=shop.commands)
        self.remote = MemoryStore()
        self.asked: list[str] = []
        self.fetched: list[str] = []
        self.fault: Exception | None = None

    def give_away(self) -> None:
        """Push all templates and forget them here."""
        for identity, template in list(self.store.templates.items()):
            self.remote.templates[identity] = template
            del self.store.templates[identity]

    def push(self, template, registry, hear):
        raise NotImplementedError

    def pull(self, template, registry, hear):
        raise NotImplementedError

    def offers(self, namespace, key, registry):
        assert registry == REGISTRY
        self.asked.append(key)
        return self.remote.find(namespace, key) is not None

    def fetch(self, namespace, key, registry, hear):
        hear("pulling")
        if self.fault is not None:
            raise self.fault
        self.fetched.append(key)
        found = self.remote.find(namespace, key)
        assert found is not None
        self.store.templates[found.identity] = found
        return ref_of(found.identity)


@pytest.fixture
def shop(tmp_path):
    def make(*definitions):
        workshop = Workshop(tmp_path, *definitions)
        workshop.backend = Travelling(workshop)
        return workshop

    return make


def elsewhere(workshop):
    """Build, push, and forget it all as another machine never knew it."""
    workshop.build()
    workshop.backend.give_away()
    for path in workshop.home.path.glob("state.db*"):
        path.unlink()
    workshop.lock.unlink()
    return workshop


def test_what_the_registry_has_is_pulled_and_not_captured(shop):
    workshop = elsewhere(shop(define("a", "mark a"), define("b", "mark b", extends="a")))
    listener = Listener()
    report = workshop.build(registry=REGISTRY, listener=listener)
    assert (statuses(report), workshop.ran) == ({"a": "reused", "b": "reused"}, [])
    assert reasons(report) == {"a": "found in registry", "b": "found in registry"}
    assert len(workshop.backend.fetched) == 2
    assert [entry.status.value for entry in lockfile.read(workshop.lock).entries] == ["captured", "captured"]


def test_what_was_pulled_is_unchanged_in_the_next_build(shop):
    workshop = elsewhere(shop(define("a", "mark a")))
    workshop.build(registry=REGISTRY)
    workshop.backend.asked.clear()
    assert reasons(workshop.build(registry=REGISTRY)) == {"a": "unchanged"}
    assert workshop.backend.asked == []


def test_what_the_registry_has_not_is_captured_with_its_own_reason(shop):
    workshop = elsewhere(shop(define("a", "mark a"), define("b", "mark b")))
    workshop.change("b", bootstrap=steps("mark c"))
    report = workshop.build(registry=REGISTRY)
    assert (statuses(report), workshop.ran) == ({"a": "reused", "b": "fresh"}, ["c"])
    assert reasons(report) == {"a": "found in registry", "b": "first capture"}


def test_what_is_damaged_here_is_taken_from_the_registry(shop):
    workshop = shop(define("a", "mark a"))
    workshop.build()
    backend = workshop.backend
    backend.remote.templates.update(backend.store.templates)
    backend.store.damage(workshop.identity("a"))
    assert reasons(workshop.build(registry=REGISTRY)) == {"a": "found in registry"}
    assert workshop.ran == []


def test_a_template_of_another_key_in_the_registry_is_never_used(shop):
    workshop = elsewhere(shop(define("a", "mark a")))
    workshop.backend.fault = TemplateCorruptError("registry.example.org/team/acme:12 does not carry its key")
    (report,) = workshop.build(registry=REGISTRY).templates
    assert (report.status.value, report.reason.value, workshop.ran) == ("fresh", "corrupt", ["a"])
    assert report.detail == "registry.example.org/team/acme:12 does not carry its key"


def test_what_was_pulled_and_is_not_what_was_captured_is_never_used(shop):
    workshop = elsewhere(shop(define("a", "mark a")))
    remote = workshop.backend.remote
    ((identity, template),) = remote.templates.items()
    remote.templates[identity] = replace(template, digest="0" * 64)
    (report,) = workshop.build(registry=REGISTRY).templates
    assert (report.status.value, report.reason.value, workshop.ran) == ("fresh", "corrupt", ["a"])


def test_a_registry_that_refuses_ends_the_build_before_anything_runs(shop):
    workshop = elsewhere(shop(define("a", "mark a")))
    workshop.backend.fault = BackendUnavailableError("the registry refuses: denied")
    with pytest.raises(BackendUnavailableError, match="the registry refuses: denied"):
        workshop.build(registry=REGISTRY)
    assert (workshop.ran, workshop.lock.exists()) == ([], False)


def test_what_another_build_captured_meanwhile_is_not_pulled(shop):
    workshop = elsewhere(shop(define("a", "mark a")))
    backend = workshop.backend
    offers = backend.offers

    def captured_meanwhile(*arguments):
        backend.store.templates.update(backend.remote.templates)
        return offers(*arguments)

    backend.offers = captured_meanwhile
    assert (reasons(workshop.build(registry=REGISTRY)), backend.fetched) == ({"a": "found at the backend"}, [])


def test_force_captures_what_the_registry_has(shop):
    workshop = elsewhere(shop(define("a", "mark a")))
    report = workshop.build(registry=REGISTRY, force=True)
    assert (reasons(report), workshop.ran, workshop.backend.asked) == ({"a": "forced"}, ["a"], [])


def test_a_plan_says_what_the_registry_has_and_pulls_nothing(shop):
    workshop = elsewhere(shop(define("a", "mark a"), define("b", "mark b", extends="a")))
    report = workshop.plan(registry=REGISTRY)
    assert (statuses(report), workshop.backend.fetched) == ({"a": "reused", "b": "reused"}, [])
    assert reasons(report) == {"a": "found in registry", "b": "found in registry"}


def test_a_stopped_build_pulls_no_more(shop):
    workshop = elsewhere(shop(define("a", "mark a")))
    cancellation = Cancellation()
    cancellation.cancel()
    report = workshop.build(registry=REGISTRY, cancellation=cancellation)
    assert (report.interrupted, reasons(report), workshop.backend.fetched) == (True, {"a": "interrupted"}, [])


def test_ctrl_c_while_a_template_is_pulled_is_reported(shop):
    workshop = elsewhere(shop(define("a", "mark a"), define("b", "mark b")))
    workshop.backend.fetch = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    report = workshop.build(registry=REGISTRY)
    assert (report.interrupted, set(reasons(report).values()), workshop.ran) == (True, {"interrupted"}, [])


def test_a_backend_without_registries_is_named_before_anything_runs(tmp_path):
    workshop = Workshop(tmp_path, define("a", "mark a"))
    with pytest.raises(
        UnsupportedOptionError, match="templates of the memory backend do not come from a registry"
    ) as caught:
        workshop.build(registry=REGISTRY)
    assert caught.value.hint == "build without --from, or with a backend whose templates travel, such as docker"
    assert (workshop.ran, workshop.lock.exists()) == ([], False)
    with pytest.raises(UnsupportedOptionError):
        workshop.plan(registry=REGISTRY)


def test_a_pull_has_its_seconds_in_the_report(shop):
    workshop = elsewhere(shop(define("a", "mark a")))
    (report,) = workshop.build(registry=REGISTRY).templates
    assert set(report.to_json()["seconds"]) == {"pull"}


def test_what_can_be_pulled_is_pulled_at_a_time(shop):
    workshop = elsewhere(shop(define("a", "mark a"), define("b", "mark b"), define("c", "mark c")))
    together, fetch = threading.Barrier(3, timeout=60), workshop.backend.fetch

    def fetch_together(*arguments):
        together.wait()
        return fetch(*arguments)

    workshop.backend.fetch = fetch_together
    assert set(reasons(workshop.build(registry=REGISTRY)).values()) == {"found in registry"}


def test_a_pull_that_fails_does_not_keep_the_others_from_coming(shop):
    workshop = elsewhere(shop(define("a", "mark a"), define("b", "mark b"), define("c", "mark c")))
    backend, fetch = workshop.backend, workshop.backend.fetch
    refused = []

    def refuse_one(namespace, key, registry, hear):
        if not refused:
            refused.append(key)
            raise BackendUnavailableError("the registry refuses: denied")
        return fetch(namespace, key, registry, hear)

    backend.fetch = refuse_one
    with pytest.raises(BackendUnavailableError, match="denied"):
        workshop.build(registry=REGISTRY)
    assert len(backend.fetched) == 2
    assert workshop.ran == []
