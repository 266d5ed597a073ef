from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from prewarm.definition import define, load_project, project
from prewarm.definition.model import ExtendsBase, InlineSeed
from prewarm.errors import DefinitionError

YAML = """\
namespace: acme
sandboxes:
  base: {base: "debian:bookworm", env: {A: "1"}, backend: docker, docker: {cache: true}}
  analyst:
    extends: base
    user: worker
    workdir: /srv/
    env: {B: "2"}
    seed:
      - {source: ./data, target: /srv, ignore: ["*.log"]}
      - {path: /srv/bin, base64: AAH/, mode: "0755"}
    bootstrap:
      - make all
      - {run: [ls, -l], timeout: 10m, user: root, network: none, secrets: [npm]}
      - {script: ./setup.sh, arguments: [a]}
      - {python: "hooks.setup:warm"}
    verify: ["true"]
    inputs: [a.lock]
    revalidate: "1"
    build: {network: none, pass_env: [HTTPS_PROXY], secrets: [{id: npm, env: NPM_TOKEN}], timeout: 1h}
    session: {network: all, resources: {memory: 1g, cpus: 2, pids: 10, disk: 2g}, idle_timeout: 5m, docker: {runtime: runsc}}
"""


def in_python():
    base = define("base", base="debian:bookworm", env={"A": "1"}, backend="docker", docker={"cache": True})
    analyst = define(
        "analyst",
        extends="base",
        user="worker",
        workdir="/srv",
        env={"B": "2"},
        seed=[
            {"source": Path("data"), "target": "/srv", "ignore": ["*.log"]},
            {"path": "/srv/bin", "content": b"\x00\x01\xff", "mode": "0755"},
        ],
        bootstrap=[
            "make all",
            {
                "run": ("ls", "-l"),
                "timeout": timedelta(minutes=10),
                "user": "root",
                "network": "none",
                "secrets": ["npm"],
            },
            {"script": "setup.sh", "arguments": ["a"]},
            {"python": "hooks.setup:warm"},
        ],
        verify=["true"],
        inputs=[Path("a.lock")],
        revalidate="1",
        build={
            "network": "none",
            "pass_env": ["HTTPS_PROXY"],
            "secrets": [{"id": "npm", "env": "NPM_TOKEN"}],
            "timeout": 3600,
        },
        session={
            "network": "all",
            "resources": {"memory": 2**30, "cpus": 2, "pids": 10, "disk": "2g"},
            "idle_timeout": "5m",
            "docker": {"runtime": "runsc"},
        },
    )
    return base, analyst


def test_the_same_definition_in_yaml_and_in_python_is_the_same_value(tmp_path):
    (tmp_path / "prewarm.yaml").write_text(YAML)

    from_yaml = load_project(tmp_path / "prewarm.yaml").definitions
    from_python = project("acme", tmp_path, in_python()).definitions

    for written, made in zip(from_yaml, from_python, strict=True):
        assert made.template == written.template
        assert made.build == written.build
        assert made.session == written.session
        assert made.backend == written.backend == "docker"


def test_linking_twice_changes_nothing(tmp_path):
    once = project("acme", tmp_path, in_python())

    assert project("acme", tmp_path, once.definitions) == once


def test_all_problems_are_told_with_their_place_in_the_call():
    with pytest.raises(DefinitionError) as caught:
        define(
            "analyst",
            base="host",
            usr={},
            bootstrap=["x", {"run": "y", "timeout": "soon"}],
            seed=[{"source": "../x", "target": "w"}],
        )

    assert caught.value.problems == (
        "definition 'analyst': bootstrap[1].timeout: expected a duration such as 30s, 10m or 1h30m, found 'soon'",
        "definition 'analyst': seed[0].source: this path leaves the project directory, found '../x'",
        "definition 'analyst': seed[0].target: expected an absolute path inside the template, such as /workspace, found 'w'",
        "definition 'analyst': usr: unknown key 'usr'; did you mean 'user'?",
    )


def test_a_name_that_cannot_be_one_is_refused():
    with pytest.raises(DefinitionError, match="'Über' cannot be a sandbox's name: expected 1 to 63"):
        define("Über", base="host")


def test_neither_base_nor_extends_is_refused():
    with pytest.raises(DefinitionError, match="definition 'a': a sandbox has 'base' or 'extends'"):
        define("a")


def test_strings_are_taken_as_they_are():
    seed = define("a", base="host", seed=[{"path": "/a", "content": "{{ x }}"}]).template.seeds[0]

    assert isinstance(seed, InlineSeed)
    assert seed.content == b"{{ x }}"


def test_definitions_that_do_not_go_together_are_refused(tmp_path):
    one, other = define("a", base="host"), define("b", extends="c")

    with pytest.raises(DefinitionError) as caught:
        project("Acme", tmp_path, [one, one, other])

    assert caught.value.problems == (
        "definition 'a': there are two of this name",
        "definition 'b': extends: there is no sandbox 'c'; known here: a, b",
        "namespace: expected 1 to 63 of a-z 0-9 . _ -, with a letter or digit at both ends, found 'Acme'",
    )


def test_a_child_named_before_its_parent_is_completed(tmp_path):
    child, parent = project(
        "acme", tmp_path, [define("b", extends="a"), define("a", base="host", user="worker")]
    ).definitions

    assert child.template.base == ExtendsBase(sandbox="a")
    assert child.template.user == parent.template.user == "worker"
