"""What is handed on to BuildKit, and what is refused before it would be dropped."""

from __future__ import annotations

import os

import pytest
from building import Workshop, define

from prewarm.backends.buildkit import BuildKitOptions
from prewarm.backends.docker.builders import arguments, credentials, effective, problems
from prewarm.backends.docker.engine import Engine
from prewarm.errors import BackendUnavailableError, UnsupportedOptionError

LOCAL = "type=local,dest=/cache/{name}"


def asked(*names, environment=None, **options):
    return problems(Engine(environment or {}), BuildKitOptions(**options), names or ("a",))


def test_what_the_environment_says_counts_where_nothing_was_asked_for():
    environment = {
        "PREWARM_DOCKER_CACHE_FROM": "type=local,src=/c type=gha",
        "PREWARM_DOCKER_CACHE_TO": "type=inline",
        "PREWARM_DOCKER_PROVENANCE": "mode=max",
        "PREWARM_DOCKER_SBOM": "true",
        "PREWARM_DOCKER_REPRODUCIBLE": "yes",
    }
    assert effective(None, environment).reproducible
    assert not effective(None, {"PREWARM_DOCKER_REPRODUCIBLE": "0"}).reproducible
    assert arguments(effective(None, environment), "a") == [
        "--cache-from=type=local,src=/c",
        "--cache-from=type=gha",
        "--cache-to=type=inline",
        "--provenance=mode=max",
        "--sbom=true",
    ]
    chosen = effective(BuildKitOptions(cache_from=("type=registry,ref=r/c",), sbom="false"), environment)
    assert arguments(chosen, "a") == [
        "--cache-from=type=registry,ref=r/c",
        "--cache-to=type=inline",
        "--provenance=mode=max",
        "--sbom=false",
    ]


def test_nothing_is_added_by_default():
    assert arguments(effective(None, {"HOME": "/root"}), "a") == []
    assert asked() == []


def test_a_cache_is_named_after_the_sandbox_and_the_part_of_its_capture():
    options = BuildKitOptions(cache_to=(LOCAL,))
    assert arguments(options, "a") == ["--cache-to=type=local,dest=/cache/a"]
    assert arguments(options, "a", 3) == ["--cache-to=type=local,dest=/cache/a-3"]


def test_a_cache_that_would_keep_one_of_several_sandboxes_is_refused():
    (problem,) = asked("a", "b", cache_to=("type=inline", "type=gha,scope=x,token=t,url=http://c"))
    assert problem == (
        "the cache 'type=gha,scope=x,token=***,url=http://c' would keep the last of 2 sandboxes only;"
        " write {name} where their names are to stand"
    )


def test_a_cache_without_a_type_is_refused():
    assert asked(cache_from=("src=/cache",)) == ["the cache 'src=/cache' has no type"]
    assert asked(cache_from=("registry.example.org/team:cache", "type=local,src=/c")) == []


def test_the_cache_of_github_is_refused_where_buildkit_would_leave_it_out():
    (problem,) = asked(cache_from=("type=gha,scope={name}",))
    assert "needs ACTIONS_RUNTIME_TOKEN, and ACTIONS_CACHE_URL" in problem
    (problem,) = asked(cache_from=("type=gha",), environment={"ACTIONS_RUNTIME_TOKEN": "t"})
    assert "ACTIONS_RESULTS_URL, in the environment" in problem
    given = {"ACTIONS_RUNTIME_TOKEN": "t", "ACTIONS_CACHE_URL": "http://c"}
    assert asked(cache_from=("type=gha",), environment=given) == []


def test_what_opens_a_cache_is_hidden():
    options = BuildKitOptions(
        cache_from=("type=gha,scope=x", "type=s3,bucket=b,access_key_id=i,secret_access_key=k"),
        cache_to=("type=gha,Token=t",),
    )
    assert credentials(options, {"ACTIONS_RUNTIME_TOKEN": "r"}) == {"r", "t", "i", "k"}
    assert credentials(BuildKitOptions(cache_from=("type=inline",)), {"ACTIONS_RUNTIME_TOKEN": "r"}) == set()


def test_a_backend_without_buildkit_is_named_before_anything_runs(tmp_path):
    workshop = Workshop(tmp_path, define("a", "mark a"))
    with pytest.raises(UnsupportedOptionError, match="backend 'memory' has no BuildKit") as caught:
        workshop.build(buildkit=BuildKitOptions(cache_to=("type=inline",)))
    assert caught.value.hint is not None
    assert "'Caches of BuildKit'" in caught.value.hint
    assert (workshop.ran, workshop.lock.exists()) == ([], False)


@pytest.fixture
def engine(absent):
    """The engine of the tests, whose own image store is not containerd's."""
    if "DOCKER_HOST" not in os.environ:
        absent("docker", "DOCKER_HOST is not set; see ci/services.sh")
    one = Engine(os.environ)
    yield one
    one.close()


def test_what_dockers_own_builder_cannot_export_is_refused(engine):
    found = problems(
        engine,
        BuildKitOptions(cache_to=("type=inline", LOCAL), provenance="mode=max", sbom="false", reproducible=True),
        ["a"],
    )
    assert found[0].startswith(f"Docker's own builder cannot write the cache '{LOCAL}': without the containerd")
    assert found[1] == (
        "this engine cannot keep what --provenance=mode=max adds: it is without the containerd image store"
    )
    assert found[2].startswith("Docker's own builder cannot rewrite the times in layers, which --reproducible needs")
    assert len(found) == 3


def test_a_builder_that_does_not_exist_is_named(engine):
    nobody = Engine({**os.environ, "BUILDX_BUILDER": "nobody-there"})
    with pytest.raises(BackendUnavailableError, match=r"the builder cannot be looked at: .*nobody-there") as caught:
        problems(nobody, BuildKitOptions(cache_to=(LOCAL,)), ["a"])
    assert caught.value.hint == "see 'docker buildx ls', and BUILDX_BUILDER"
    nobody.close()
