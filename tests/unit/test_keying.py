"""Which backend a sandbox gets where its author left it to prewarm."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from prewarm.backends.base import Feature
from prewarm.definition.model import Definition, ExtendsBase, HostBase, ImageBase, Origin, RootfsBase, Template
from prewarm.errors import BackendUnavailableError, UnknownBackendError
from prewarm.pipeline.keying import choose_backends

DOCKER = SimpleNamespace(name="docker", features={Feature.IMAGES})
LOCAL = SimpleNamespace(name="local", features={Feature.IMAGES, Feature.HOST})


def define(name, base, **changes):
    return Definition(name=name, template=Template(base=base), **changes)


def machine(*backends):
    """A machine on which these backends work, the first of them preferred."""
    by_name = {backend.name: backend for backend in backends}

    def choose(name):
        if name == "auto":
            return backends[0], "it works here"
        if name not in by_name:
            raise BackendUnavailableError(f"backend '{name}' does not work here")
        return by_name[name], "asked for"

    return choose


def names(chosen):
    return [one.backend.name for one in chosen]


def test_auto_is_the_first_that_can_start_from_the_base():
    chosen, why = choose_backends(
        [define("image", ImageBase(reference="debian")), define("host", HostBase())], machine(DOCKER, LOCAL)
    )
    assert names(chosen) == ["docker", "local"]
    assert why == {"docker": "it works here", "local": "it works here, and 'docker' has no base of this kind: host"}


def test_what_extends_follows_its_parent():
    chosen, _ = choose_backends(
        [define("host", HostBase()), define("leaf", ExtendsBase(sandbox="host"))], machine(DOCKER, LOCAL)
    )
    assert names(chosen) == ["local", "local"]


@pytest.mark.parametrize("backends", [(DOCKER,), (DOCKER, LOCAL)])
def test_where_none_can_start_from_the_base_the_first_is_taken_and_refuses_it(backends):
    chosen, _ = choose_backends([define("odd", RootfsBase(path="rootfs.tar"))], machine(*backends))
    assert names(chosen) == ["docker"]


def test_a_backend_that_was_asked_for_is_never_replaced():
    chosen, _ = choose_backends([define("host", HostBase(), backend="docker")], machine(DOCKER, LOCAL))
    assert names(chosen) == ["docker"]


def unknown(name):
    raise UnknownBackendError(f"no installed package offers a backend named '{name}'", hint=f"for {name}")


def test_every_sandbox_of_an_unknown_backend_is_named_with_its_place():
    origin = Origin(file=Path("/p/prewarm.yaml"), line=4, column=3)
    with pytest.raises(UnknownBackendError) as caught:
        choose_backends(
            [
                define("a", HostBase(), backend="dokcer", origin=origin),
                define("child", ExtendsBase(sandbox="a"), backend="dokcer"),
                define("b", HostBase(), backend="locla"),
            ],
            unknown,
        )
    assert caught.value.message.splitlines()[1:] == [
        "  /p/prewarm.yaml:4:3: sandbox 'a': no installed package offers a backend named 'dokcer'",
        "  sandbox 'b': no installed package offers a backend named 'locla'",
    ]
    assert caught.value.hint == "for dokcer; for locla"


def test_an_unknown_backend_of_the_command_line_is_nobodys_sandbox():
    with pytest.raises(UnknownBackendError, match=r"^no installed package offers a backend named 'nope'$"):
        choose_backends([define("a", HostBase())], unknown, override="nope")
