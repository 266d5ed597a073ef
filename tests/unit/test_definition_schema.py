from __future__ import annotations

import textwrap

import jsonschema
import pytest
import yaml

from prewarm.definition import json_schema, load_project
from prewarm.errors import DefinitionError

SCHEMA = json_schema()
CHECKER = jsonschema.Draft202012Validator(SCHEMA)

GOOD = [
    "namespace: a\nsandboxes: {a: {base: host}}",
    "version: 1\nnamespace: a\nvars: {x: '1', y: }\nsandboxes: {a: {base: 'debian:{{ x }}', user: '{{ y }}'}}",
    "namespace: a\nvars: {n: none}\nsandboxes: {a: {base: host, session: {network: '{{ n }}'}, bootstrap: [{run: x, network: '{{ n }}'}]}}",
    "namespace: a\nx-common: {anything: 1}\nsandboxes: {a: {base: {rootfs: ./r.tar, sha256: '%s'}}}" % ("a" * 64),
    "namespace: a\nsandboxes: {a: {base: {dockerfile: D, args: {A: b}}}, b: {extends: a, matrix: {n: ['1']}}}",
    "namespace: a\nsandboxes: {a: {base: host, bootstrap: [x, {run: [a, b], timeout: 10m}, {script: s.sh, arguments: [q]}, {python: 'm:f', secrets: [s]}], build: {secrets: [{id: s, env: S}]}}}",
    "namespace: a\nsandboxes: {a: {base: host, seed: [{source: ./a, target: /a, ignore: ['*.log']}, {path: /b, content: c, mode: '0600'}, {path: /c, base64: AA==}]}}",
    "namespace: a\nsandboxes: {a: {base: host, docker: {a: [1]}, session: {resources: {memory: 1g, cpus: 0.5, pids: 3}, idle_timeout: 30, local: {}}}}",
]
BAD = [
    "sandboxes: {a: {base: host}}",
    "namespace: a",
    "namespace: a\nsandboxes: {}",
    "namespace: a\nsandbox: {}\nsandboxes: {a: {base: host}}",
    "namespace: a\nsandboxes: {A b: {base: host}}",
    "namespace: a\nsandboxes: {a: {}}",
    "namespace: a\nsandboxes: {a: {base: host, extends: b}}",
    "namespace: a\nsandboxes: {a: {base: host, bootstrp: []}}",
    "namespace: a\nsandboxes: {a: {base: host, bootstrap: [{run: x, script: y}]}}",
    "namespace: a\nsandboxes: {a: {base: host, bootstrap: [{run: x, timeout: soon}]}}",
    "namespace: a\nsandboxes: {a: {base: host, bootstrap: [3]}}",
    "namespace: a\nsandboxes: {a: {base: host, env: {A: 1.10}}}",
    "namespace: a\nsandboxes: {a: {base: host, env: {A-B: a}}}",
    "namespace: a\nsandboxes: {a: {base: host, seed: [{source: /x, target: /x}]}}",
    "namespace: a\nsandboxes: {a: {base: host, seed: [{source: x, target: x}]}}",
    "namespace: a\nsandboxes: {a: {base: host, seed: [{path: /x}]}}",
    "namespace: a\nsandboxes: {a: {base: host, seed: [{path: /x, content: a, base64: AA==}]}}",
    "namespace: a\nsandboxes: {a: {base: host, session: {network: some}}}",
    "namespace: a\nsandboxes: {a: {base: host, build: {secrets: [{id: a}]}}}",
    "namespace: a\nsandboxes: {a: {base: host, matrix: {n: []}}}",
    "namespace: a\nsandboxes: {a: {base: host, matrix: {n: ['1', '1']}}}",
    "namespace: a\nversion: 2\nsandboxes: {a: {base: host}}",
    "namespace: a\nsandboxes: {a: {base: host, user: }}",
]


def test_the_schema_is_one_of_its_draft():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("text", GOOD)
def test_what_loads_is_valid_in_an_editor(tmp_path, text):
    file = tmp_path / "prewarm.yaml"
    file.write_text(text)

    assert load_project(file, variables={"y": "worker"} if "{{ y }}" in text else {}).definitions
    assert list(CHECKER.iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize("text", BAD)
def test_what_is_wrong_is_wrong_in_an_editor_too(tmp_path, text):
    file = tmp_path / "prewarm.yaml"
    file.write_text(text)

    with pytest.raises(DefinitionError):
        load_project(file)
    assert list(CHECKER.iter_errors(yaml.safe_load(text))) != []


def test_every_key_is_described():
    def undescribed(schema, path):
        if isinstance(schema, dict):
            for name, field in schema.get("properties", {}).items():
                if "description" not in field:
                    yield f"{path}.{name}"
            for key, inner in schema.items():
                yield from undescribed(inner, f"{path}.{key}")

    assert list(undescribed(SCHEMA, "")) == []


def test_options_of_further_backends_can_be_told():
    text = textwrap.dedent("""\
        namespace: a
        sandboxes: {a: {base: host, backend: cloud, cloud: {size: 2}}}
    """)

    assert list(CHECKER.iter_errors(yaml.safe_load(text))) != []
    wider = jsonschema.Draft202012Validator(json_schema(["cloud"]))
    assert list(wider.iter_errors(yaml.safe_load(text))) == []
