import re

import pytest

from prewarm.backends import registry
from prewarm.backends.base import BackendContext, Finding, Health
from prewarm.backends.memory import MemoryBackend
from prewarm.errors import BackendUnavailableError, UnknownBackendError


@pytest.fixture
def context(tmp_path):
    return BackendContext(home=tmp_path, environment={})


def install(directory, monkeypatch, name, entries):
    """Put a distribution that offers backends on the path."""
    info = directory / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[console_scripts]\nx = y:z\n\n[prewarm.backends]\n# a comment\n" + "".join(f"{k} = {v}\n" for k, v in entries)
    )
    monkeypatch.syspath_prepend(str(directory))


class Sick(MemoryBackend):
    def check(self):
        return Health(
            findings=(
                Finding(subject="engine", ok=False, detail="it does not answer", hint="start it"),
                Finding(subject="colour", ok=False, detail="grey", required=False),
            )
        )


class Healthy(MemoryBackend):
    pass


def test_the_built_in_backends_are_installed():
    assert {"docker", "local", "memory"} <= set(registry.names())


def test_a_backend_is_loaded_by_name(context):
    assert isinstance(registry.load("memory", context), MemoryBackend)


def test_anybodys_backend_is_found_like_a_built_in_one(tmp_path, monkeypatch, context):
    install(tmp_path / "site", monkeypatch, "theirs", [("theirs", f"{__name__}:Healthy")])
    monkeypatch.setitem(__import__("sys").modules, __name__, __import__("types").SimpleNamespace(Healthy=Healthy))
    assert "theirs" in registry.names()
    assert type(registry.load("theirs", context)) is Healthy


def test_an_unknown_backend_is_named_with_the_nearest(context):
    with pytest.raises(UnknownBackendError, match="'memry'") as caught:
        registry.load("memry", context)
    assert caught.value.hint == "did you mean 'memory'?"


def test_an_unknown_backend_that_is_like_no_other_shows_what_is_installed(context):
    with pytest.raises(UnknownBackendError) as caught:
        registry.load("zzz", context)
    assert caught.value.hint is not None
    assert "memory" in caught.value.hint


def test_a_backend_offered_twice_is_refused(tmp_path, monkeypatch, context):
    install(tmp_path / "one", monkeypatch, "one", [("twin", "one:Backend")])
    install(tmp_path / "two", monkeypatch, "two", [("twin", "two:Backend")])
    with pytest.raises(BackendUnavailableError, match="more than once: one:Backend, two:Backend"):
        registry.load("twin", context)


def test_a_backend_that_cannot_be_imported_says_why(tmp_path, monkeypatch, context):
    install(tmp_path / "site", monkeypatch, "broken", [("broken", "no_such_module_at_all:Backend")])
    with pytest.raises(BackendUnavailableError, match="no_such_module_at_all") as caught:
        registry.load("broken", context)
    assert caught.value.hint


def test_what_is_no_backend_is_refused(tmp_path, monkeypatch, context):
    install(tmp_path / "site", monkeypatch, "wrong", [("wrong", "types:SimpleNamespace")])
    monkeypatch.setattr("types.SimpleNamespace", lambda context: object())
    with pytest.raises(BackendUnavailableError, match="does not implement"):
        registry.load("wrong", context)


def test_a_backend_asked_for_by_name_is_checked(monkeypatch, context):
    monkeypatch.setattr(registry, "load", lambda name, context: Sick(context))
    with pytest.raises(BackendUnavailableError, match=re.escape("does not work here: engine: it does not answer")) as e:
        registry.choose("sick", context)
    assert e.value.hint == "start it"


def test_a_backend_asked_for_by_name_that_works_is_given(context):
    backend, why = registry.choose("memory", context)
    assert (backend.name, why) == ("memory", "asked for")


def test_auto_takes_docker_first(monkeypatch, context):
    monkeypatch.setattr(registry, "load", lambda name, context: Healthy(context))
    _, why = registry.choose("auto", context)
    assert why == "it works here"


def test_auto_takes_local_where_docker_does_not_work_and_says_why(monkeypatch, context):
    asked = []

    def load(name, context):
        asked.append(name)
        return Sick(context) if name == "docker" else Healthy(context)

    monkeypatch.setattr(registry, "load", load)
    backend, why = registry.choose("auto", context)
    assert type(backend) is Healthy
    assert asked == ["docker", "local"]
    assert why == "it works here and backend 'docker' does not work here: engine: it does not answer"


def test_auto_gives_every_reason_where_none_works(monkeypatch, context):
    monkeypatch.setattr(registry, "load", lambda name, context: Sick(context))
    with pytest.raises(BackendUnavailableError, match=r"'docker' does not work.*'local' does not work") as caught:
        registry.choose("auto", context)
    assert caught.value.hint == "docker: start it; local: start it"


def test_the_quick_way_to_find_backends_finds_what_the_slow_one_finds():
    assert registry._light_targets() == registry._targets()
