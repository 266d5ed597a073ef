"""The Dockerfile of a capture: what a step's line holds, and what it must not hold."""

import json
from dataclasses import replace

import pytest

from prewarm.backends.docker import recipe
from prewarm.backends.docker.accounts import Account
from prewarm.definition.model import Network
from prewarm.errors import UnsupportedOptionError
from prewarm.testing.builders import script, shell

USER = Account(name="sandbox", uid=1000, gid=1000, home="/home/sandbox")
PLACE = recipe.StepPlace(
    namespace="acme",
    account=USER,
    has_shell=True,
    has_apt=True,
    caches=True,
    known=frozenset({"LANG"}),
    exports={},
    passes_env=False,
    certificates={},
)


def words(line):
    return json.loads(line["argv"])


def test_a_step_is_not_the_first_process_of_its_container():
    line = recipe.step_line(shell("kill -9 $$"), 1, PLACE)

    assert words(line)[:2] == ["/bin/sh", "-c"]
    assert words(line)[2].endswith("exit $?")
    assert words(line)[4:] == ["/bin/sh", "-e", "-c", "kill -9 $$"]


def test_network_none_is_said_and_all_is_not():
    assert "--network=none" in recipe.step_line(shell("true"), 1, PLACE)["flags"]
    assert "--network=none" not in recipe.step_line(shell("true", network=Network.ALL), 1, PLACE)["flags"]


def test_a_secret_is_mounted_for_the_step_that_names_it_and_readable_by_its_user_alone():
    flags = recipe.step_line(shell("true", secrets=("npm",)), 1, PLACE)["flags"]

    assert "--mount=type=secret,id=npm,target=/run/secrets/npm,required=true,mode=0400,uid=1000,gid=1000" in flags


def test_a_user_whom_an_earlier_step_makes_can_read_its_secret():
    flags = recipe.step_line(shell("true", secrets=("npm",)), 1, replace(PLACE, account=None))["flags"]

    assert "--mount=type=secret,id=npm,target=/run/secrets/npm,required=true,mode=0444" in flags


def test_passed_variables_come_from_a_mounted_file():
    line = recipe.step_line(shell("true"), 1, replace(PLACE, passes_env=True))

    assert any("id=prewarm-env" in flag for flag in line["flags"])
    assert ". /run/prewarm/env" in words(line)[2]


def test_a_here_document_in_a_step_is_no_here_document_of_the_dockerfile():
    line = recipe.step_line(shell("cat <<EOF\nhi\nEOF"), 1, PLACE)

    assert "<<" not in line["argv"]
    assert words(line)[-1] == "cat <<EOF\nhi\nEOF"


def test_caches_are_shared_within_a_namespace_only():
    def mounts(namespace):
        flags = recipe.step_line(shell("true"), 1, replace(PLACE, namespace=namespace))["flags"]
        return [flag for flag in flags if "type=cache" in flag]

    assert mounts("acme")
    assert not set(mounts("acme")) & set(mounts("other"))


def test_apt_downloads_are_cached_for_root_only():
    root = replace(PLACE, account=Account(name="root", uid=0, gid=0, home="/root"))

    assert any("/var/cache/apt" in flag for flag in recipe.step_line(shell("true"), 1, root)["flags"])
    assert not any("/var/cache/apt" in flag for flag in recipe.step_line(shell("true"), 1, PLACE)["flags"])


def test_caches_can_be_left_out():
    flags = recipe.step_line(shell("true"), 1, replace(PLACE, caches=False))["flags"]

    assert not any("type=cache" in flag for flag in flags)


def test_a_script_is_mounted_and_run_by_its_interpreter():
    line = recipe.step_line(script("#!/usr/bin/env python3\n", "a b"), 4, PLACE)

    assert "--mount=type=bind,source=scripts/4,target=/run/prewarm/script" in line["flags"]
    assert words(line)[4:] == ["/usr/bin/env", "python3", "/run/prewarm/script", "a b"]


def test_a_base_without_a_shell_runs_the_words_as_they_are():
    line = recipe.step_line(replace(shell("x"), argv=("/app", "--init")), 1, replace(PLACE, has_shell=False))

    assert words(line) == ["/app", "--init"]


def test_a_base_without_a_shell_cannot_pass_variables():
    with pytest.raises(UnsupportedOptionError, match="needs /bin/sh") as caught:
        recipe.step_line(shell("x"), 1, replace(PLACE, has_shell=False, passes_env=True))
    assert "pass_env" in caught.value.hint


def test_nothing_in_a_value_is_expanded():
    assert recipe.dockerfile_quoted('a $b "c" \\d') == '"a \\$b \\"c\\" \\\\d"'


def test_a_value_with_a_line_break_is_exported_by_the_wrapper():
    line = recipe.step_line(shell("x"), 1, replace(PLACE, exports={"K": "a\nb"}))

    assert "K='a\nb'" in words(line)[2]


def test_a_passed_variable_that_names_certificates_points_at_the_mount():
    path = "/etc/ssl/certs/ca.crt"

    assert recipe.names_certificates("PIP_CERT", path)
    assert recipe.names_certificates("REQUESTS_CA_BUNDLE", path)
    assert not recipe.names_certificates("PIP_INDEX_URL", path)
    assert recipe.env_file({"PIP_CERT": path, "A": "b'c"}, {"PIP_CERT": "/run/x.pem"}) == (
        b"export PIP_CERT=/run/x.pem\nexport A='b'\"'\"'c'\n"
    )


def test_the_recipe_makes_one_layer_a_step_and_keeps_labels_out():
    text = recipe.render(
        recipe.source(),
        {
            "base": "prewarm-base/image:1",
            "tree": "tree.tar",
            "env": [{"name": "A", "quoted": '"b"'}],
            "workdir": '"/workspace"',
            "revalidate": "2d711642",
            "steps": [recipe.step_line(shell("one"), 1, PLACE), recipe.step_line(shell("two"), 2, PLACE)],
            "user": "sandbox",
            "entrypoint": "",
            "command": '["serve"]',
        },
    )

    lines = text.splitlines()
    assert lines[0] == "FROM prewarm-base/image:1 AS template"
    assert lines[1] == "ADD tree.tar /"
    runs = [number for number, line in enumerate(lines) if line.startswith("RUN ")]
    assert len(runs) == 2
    assert lines.index("ARG PREWARM_REVALIDATE=2d711642") < runs[0]
    assert lines[-2:] == ["USER sandbox", 'CMD ["serve"]']
    assert "LABEL" not in text
    assert "ENTRYPOINT" not in text
