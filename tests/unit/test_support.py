"""What a backend cannot honour is refused before anything runs, all of it at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from prewarm.backends.base import BackendContext, Feature
from prewarm.backends.memory import MemoryBackend
from prewarm.definition.model import (
    BuildOptions,
    Definition,
    DockerfileBase,
    HostBase,
    ImageBase,
    InlineSeed,
    Network,
    Resources,
    RootfsBase,
    RunAction,
    Secret,
    SessionOptions,
    Step,
    StepLimits,
    Template,
    TreeSeed,
)
from prewarm.errors import DefinitionError, UnsupportedOptionError
from prewarm.pipeline.support import refuse_platform, refuse_unsupported

EVERYTHING = frozenset(Feature)


class Able(MemoryBackend):
    """The memory backend, pretending to be able to do other things than it can."""

    def __init__(self, features):
        super().__init__(BackendContext(home=Path("/nowhere"), environment={}))
        self._features = frozenset(features)

    @property
    def features(self):
        return self._features


def step(*, secrets=(), network=None) -> Step:
    return Step(action=RunAction(command="true"), secrets=secrets, limits=StepLimits(network=network))


def define(template=None, **changes) -> Definition:
    return Definition(name="analyst", template=template or Template(base=HostBase()), **changes)


def refusal(definition, features) -> str:
    with pytest.raises(UnsupportedOptionError) as caught:
        refuse_unsupported([(definition, Able(features))])
    assert caught.value.hint is not None
    return caught.value.message


@pytest.mark.parametrize(
    ("base", "feature", "told"),
    [
        (HostBase(), Feature.HOST, "base 'host'"),
        (ImageBase(reference="debian:12"), Feature.IMAGES, "base 'debian:12'"),
        (RootfsBase(path="root.tar"), Feature.ROOTFS, "base rootfs 'root.tar'"),
        (DockerfileBase(), Feature.DOCKERFILES, "base dockerfile 'Dockerfile'"),
    ],
)
def test_a_base_of_a_kind_that_the_backend_lacks_is_refused(base, feature, told):
    definition = define(Template(base=base))
    assert told in refusal(definition, EVERYTHING - {feature})
    refuse_unsupported([(definition, Able(EVERYTHING))])


def test_a_step_without_network_needs_a_backend_that_can_take_it_away():
    definition = define(
        Template(base=HostBase(), bootstrap=(step(network=Network.NONE),)), session=SessionOptions(network=Network.ALL)
    )
    assert "cannot take the network away" in refusal(definition, EVERYTHING - {Feature.NETWORK_POLICY})


def test_a_backend_without_any_network_has_nothing_to_take_away():
    refuse_unsupported([(define(), Able(EVERYTHING - {Feature.NETWORK, Feature.NETWORK_POLICY}))])


def test_a_network_asked_for_is_not_dropped():
    definition = define(session=SessionOptions(network=Network.ALL))
    assert "no network to give" in refusal(definition, EVERYTHING - {Feature.NETWORK})


def test_secrets_need_a_backend_that_hides_them():
    definition = define(
        Template(base=HostBase(), bootstrap=(step(secrets=("npm",)),)),
        build=BuildOptions(secrets=(Secret(id="npm", env="NPM_TOKEN"),)),
    )
    assert "cannot hide secrets from the template (npm)" in refusal(definition, EVERYTHING - {Feature.SECRETS})


def test_a_secret_that_is_not_declared_is_named():
    definition = define(Template(base=HostBase(), bootstrap=(step(secrets=("npm",)),)))
    assert "a step names secret 'npm'" in refusal(definition, EVERYTHING)


def test_verify_steps_have_no_secrets():
    definition = define(Template(base=HostBase(), verify=(step(secrets=("npm",)),)))
    assert "verify steps cannot have secrets" in refusal(definition, EVERYTHING)


@pytest.mark.parametrize(
    ("template", "told"),
    [
        (Template(base=HostBase(), seeds=(TreeSeed(source="x", target="/dev/x"),)), "a seed at /dev/x"),
        (Template(base=HostBase(), seeds=(InlineSeed(path="/proc/1/x", content=b""),)), "a seed at /proc/1/x"),
        (Template(base=HostBase(), seeds=(TreeSeed(source="x", target="/sys"),)), "a seed at /sys"),
        (Template(base=HostBase(), workdir="/dev/shm"), "'workdir' at /dev/shm"),
    ],
)
def test_what_the_kernel_keeps_to_itself_is_no_place_for_a_template(template, told):
    assert f"{told} would not be in the template" in refusal(define(template), EVERYTHING)


def test_a_place_that_only_begins_like_one_of_the_kernels_is_fine():
    refuse_unsupported([(define(Template(base=HostBase(), workdir="/devices")), Able(EVERYTHING))])


@pytest.mark.parametrize("text", ["zz", "linux", "linux/", "Linux/amd64", "linux/amd64 ", "linux/amd64/v8/x", ""])
def test_a_platform_that_no_lock_file_could_name_is_refused(text):
    with pytest.raises(DefinitionError, match="is not a platform") as caught:
        refuse_platform(text)
    assert caught.value.hint == "a platform is os/arch, such as linux/amd64"


def test_limits_that_were_asked_for_are_not_dropped():
    definition = define(session=SessionOptions(resources=Resources(memory=1 << 30)))
    assert "cannot limit resources" in refusal(definition, EVERYTHING - {Feature.LIMITS})
    refuse_unsupported([(define(), Able(EVERYTHING - {Feature.LIMITS}))])


def test_the_backends_own_complaints_about_options_are_told():
    definition = define(Template(base=HostBase(), options={"colour": "red"}))
    assert refusal(definition, EVERYTHING) == "sandbox 'analyst': the memory backend has no option 'colour'"


def test_all_problems_of_all_sandboxes_are_told_at_once():
    bad = define(Template(base=HostBase(), options={"colour": "red"}))
    worse = replace(bad, name="worse", session=SessionOptions(resources=Resources(cpus=2.0)))
    with pytest.raises(UnsupportedOptionError, match="3 things cannot be honoured") as caught:
        refuse_unsupported([(one, Able(EVERYTHING - {Feature.LIMITS})) for one in (bad, worse)])
    assert len(caught.value.problems) == 3
    assert "sandbox 'worse': backend 'memory' cannot limit resources" in caught.value.message
