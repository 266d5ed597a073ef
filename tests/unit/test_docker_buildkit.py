"""What the environment adds to every build."""

from prewarm.backends.docker.buildkit import passed_on


def test_caches_and_attestations_are_passed_on():
    environment = {
        "PREWARM_DOCKER_CACHE_FROM": "type=local,src=/c type=gha",
        "PREWARM_DOCKER_CACHE_TO": "type=inline",
        "PREWARM_DOCKER_PROVENANCE": "mode=max",
        "PREWARM_DOCKER_SBOM": "true",
    }

    assert passed_on(environment) == [
        "--cache-from=type=local,src=/c",
        "--cache-from=type=gha",
        "--cache-to=type=inline",
        "--provenance=mode=max",
        "--sbom=true",
    ]


def test_nothing_is_added_by_default():
    assert passed_on({"HOME": "/root"}) == []
