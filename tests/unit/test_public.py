import json
import subprocess
import sys

import pytest

import prewarm
from prewarm import errors

RUNTIME = """
import sys
import prewarm
prewarm.open_session, prewarm.attach_session, prewarm.Session
import prewarm.session.ledger, prewarm.backends.registry, prewarm.backends.tree
prewarm.backends.registry.names()
import json
print(json.dumps(sorted(sys.modules)))
"""


def modules_after(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("name", prewarm.__all__)
def test_every_public_name_is_there(name):
    assert getattr(prewarm, name) is not None
    assert name in dir(prewarm)


def test_the_public_names_are_few_sorted_and_each_has_one_home():
    assert list(prewarm.__all__) == sorted(prewarm.__all__)
    assert set(prewarm.__all__) == {*prewarm._HOMES, *prewarm._MODULES}
    assert len(prewarm.__all__) <= 30


def test_a_name_that_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        prewarm.no_such_name  # noqa: B018 - the access is the test.


def test_importing_prewarm_loads_nothing_else_of_it():
    loaded = modules_after("import prewarm, sys, json; print(json.dumps(sorted(sys.modules)))")
    assert {name for name in loaded if name.startswith("prewarm")} == {"prewarm"}


def test_the_runtime_half_loads_the_standard_library_alone():
    others = {name.partition(".")[0] for name in modules_after(RUNTIME)} - sys.stdlib_module_names
    assert {name for name in others if not name.startswith(("_", "sitecustomize"))} <= {"prewarm"}


def test_the_runtime_half_loads_no_asyncio():
    assert not {"asyncio", "concurrent.futures"} & modules_after(
        RUNTIME.replace("prewarm.backends.registry.names()", "")
    )


def test_every_public_error_is_of_the_tree():
    named = [getattr(prewarm, name) for name in prewarm.__all__ if name.endswith("Error")]
    assert named
    assert all(issubclass(error, errors.PrewarmError) for error in named)
