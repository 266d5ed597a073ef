from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from prewarm.definition import find_definition_file, load_project
from prewarm.definition.model import (
    DockerfileBase,
    ExtendsBase,
    HostBase,
    ImageBase,
    InlineSeed,
    Network,
    PythonAction,
    RootfsBase,
    RunAction,
    ScriptAction,
    TreeSeed,
)
from prewarm.errors import DefinitionError

HEAD = "version: 1\nnamespace: acme\n"


def load(directory: Path, text: str, **how):
    file = directory / "prewarm.yaml"
    file.write_text(textwrap.dedent(text), encoding="utf-8")
    return load_project(file, **how)


def load_one(directory: Path, body: str, **how):
    """Load a file of one sandbox named 'a' whose body stands in flow style."""
    return load(directory, f"{HEAD}sandboxes:\n  a: {body}\n", **how).definitions[0]


def problems(directory: Path, text: str, **how) -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        load(directory, text, **how)
    return [problem.removeprefix(f"{directory}/") for problem in caught.value.problems]


def problems_of_one(directory: Path, body: str) -> list[str]:
    return problems(directory, f"{HEAD}sandboxes:\n  a: {body}\n")


# what is read


def test_the_example_of_the_design_loads(tmp_path):
    project = load(
        tmp_path,
        """\
        version: 1
        namespace: acme-bot
        vars: {pandas: "2.2.3"}
        sandboxes:
          base:
            base: debian:bookworm
            bootstrap:
              - run: apt-get update && apt-get install -y --no-install-recommends python3 python3-venv
          analyst:
            extends: base
            backend: auto
            user: sandbox
            workdir: /workspace
            env: {PYTHONUNBUFFERED: "1"}
            seed:
              - {source: ./workspace, target: /workspace, ignore: ["*.log"]}
              - {path: /workspace/motd.txt, content: "pandas {{ pandas }}\\n", mode: "0644"}
            bootstrap:
              - run: python3 -m venv /opt/venv && /opt/venv/bin/pip install pandas=={{ pandas }}
                timeout: 10m
              - script: ./hooks/setup.sh
              - python: hooks.setup:warm
            verify:
              - run: /opt/venv/bin/python -c "import pandas"
            inputs: [requirements.lock]
            revalidate: "2026-11"
            matrix: {python: ["3.11", "3.12"]}
            build:
              {network: all, pass_env: [HTTPS_PROXY, PIP_INDEX_URL], secrets: [{id: npm, env: NPM_TOKEN}], timeout: 30m}
            session:
              {network: none, resources: {memory: 1g, cpus: 1, pids: 256}, idle_timeout: 30m, max_lifetime: 8h}
        """,
    )

    assert [definition.name for definition in project.definitions] == ["base", "analyst-3.11", "analyst-3.12"]
    assert project.namespace == "acme-bot"
    assert project.directory == tmp_path
    analyst = project.definitions[1]
    assert str(analyst.origin) == f"{tmp_path}/prewarm.yaml:9:3"
    template = analyst.template
    assert template.base == ExtendsBase(sandbox="base")
    assert template.seeds == (
        TreeSeed(source="workspace", target="/workspace", ignore=("*.log",)),
        InlineSeed(path="/workspace/motd.txt", content=b"pandas 2.2.3\n", mode=0o644),
    )
    assert [step.action for step in template.bootstrap] == [
        RunAction(command="python3 -m venv /opt/venv && /opt/venv/bin/pip install pandas==2.2.3"),
        ScriptAction(path="hooks/setup.sh"),
        PythonAction(module="hooks.setup", function="warm"),
    ]
    assert template.bootstrap[0].limits.timeout_s == 600
    assert template.inputs == ("requirements.lock",)
    assert template.revalidate == "2026-11"
    assert analyst.build.timeout_s == 1800
    assert analyst.build.secrets[0].id == "npm"
    assert analyst.session.network is Network.NONE
    assert analyst.session.resources.memory == 2**30
    assert analyst.session.resources.cpus == 1
    assert analyst.session.max_lifetime_s == 8 * 3600


@pytest.mark.parametrize(
    ("written", "base"),
    [
        ("host", HostBase()),
        ("debian:bookworm", ImageBase(reference="debian:bookworm")),
        (
            "{image: localhost:5000/a/b@sha256:%s}" % ("a" * 64),
            ImageBase(reference=f"localhost:5000/a/b@sha256:{'a' * 64}"),
        ),
        ("'sha256:%s'" % ("a" * 64), ImageBase(reference=f"sha256:{'a' * 64}")),
        ("oci:./layout", ImageBase(reference="oci:layout")),
        ("oci-archive:./x.tar", ImageBase(reference="oci-archive:x.tar")),
        ("{rootfs: ./root.tar.zst, sha256: '%s'}" % ("b" * 64), RootfsBase(path="root.tar.zst", sha256="b" * 64)),
        (
            "{dockerfile: Dockerfile.dev, context: ./image, target: run, args: {A: b}}",
            DockerfileBase(dockerfile="Dockerfile.dev", context="image", target="run", args={"A": "b"}),
        ),
        ("{context: ./image}", DockerfileBase(context="image")),
    ],
)
def test_every_kind_of_base_is_read(tmp_path, written, base):
    assert load_one(tmp_path, f"{{base: {written}}}").template.base == base


def test_a_bare_string_is_a_step_and_a_list_is_an_argv(tmp_path):
    steps = load_one(tmp_path, "{base: host, bootstrap: ['make all', {run: [ls, '-l']}]}").template.bootstrap

    assert [step.action for step in steps] == [RunAction(command="make all"), RunAction(command=("ls", "-l"))]


def test_base64_content_is_bytes(tmp_path):
    seed = load_one(tmp_path, "{base: host, seed: [{path: /a, base64: AAH/, mode: '0600'}]}").template.seeds[0]

    assert seed == InlineSeed(path="/a", content=b"\x00\x01\xff", mode=0o600)


def test_options_stand_under_their_backends_until_one_is_chosen(tmp_path):
    definition = load_one(
        tmp_path, "{base: host, docker: {cache: true}, local: {a: 1}, session: {docker: {runtime: runsc}}}"
    )

    assert definition.template.options == {"docker": {"cache": True}, "local": {"a": 1}}
    assert definition.session.options == {"docker": {"runtime": "runsc"}}
    chosen = definition.for_backend("docker")
    assert (chosen.backend, chosen.template.options) == ("docker", {"cache": True})
    assert chosen.session.options == {"runtime": "runsc"}


def test_options_of_any_backend_that_is_named_are_taken(tmp_path):
    definition = load_one(tmp_path, "{base: host, backend: my-cloud, my-cloud: {size: 2}}")

    assert definition.template.options == {"my-cloud": {"size": 2}}


def test_anchors_and_merge_keys_share_parts_and_own_keys_win(tmp_path):
    project = load(
        tmp_path,
        HEAD
        + """\
x-common: &common
  base: host
  user: worker
sandboxes:
  a: {<<: *common}
  b: {<<: *common, user: other}
""",
    )

    assert [definition.template.user for definition in project.definitions] == ["worker", "other"]


@pytest.mark.parametrize(
    ("written", "seconds"), [("500ms", 0.5), ("30s", 30), ("1h30m", 5400), ("1.5m", 90), ("90", 90), ("2d", 172800)]
)
def test_durations_are_read(tmp_path, written, seconds):
    assert load_one(tmp_path, f"{{base: host, build: {{timeout: {written}}}}}").build.timeout_s == seconds


@pytest.mark.parametrize(
    ("written", "size"), [("512m", 2**29), ("1g", 2**30), ("1.5GiB", 3 * 2**29), ("2097152", 2**21), ("4096k", 2**22)]
)
def test_sizes_are_read(tmp_path, written, size):
    definition = load_one(tmp_path, f"{{base: host, session: {{resources: {{memory: {written}}}}}}}")

    assert definition.session.resources.memory == size


# variables


def test_by_hand_wins_over_the_environment_and_that_over_the_file(tmp_path):
    text = (
        HEAD
        + "vars: {a: file, b: file, c: file}\nsandboxes: {x: {base: host, bootstrap: ['{{ a }} {{ b }} {{ c }}']}}\n"
    )

    project = load(
        tmp_path,
        text,
        variables={"a": "hand"},
        environment={"PREWARM_VAR_A": "environment", "PREWARM_VAR_B": "environment", "C": "no"},
    )

    assert project.definitions[0].template.bootstrap[0].text == "hand environment file"


def test_a_variable_without_a_value_must_be_given(tmp_path):
    text = HEAD + "vars: {token: }\nsandboxes: {x: {base: host}}\n"

    assert problems(tmp_path, text) == [
        "prewarm.yaml:3:8: the variable 'token' has no value; give it: --set token=… or PREWARM_VAR_TOKEN"
    ]
    assert load(tmp_path, text, variables={"token": "x"}).definitions


def test_a_variable_that_is_used_but_not_declared_may_be_given(tmp_path):
    text = HEAD + "sandboxes: {x: {base: host, revalidate: '{{ day }}'}}\n"

    assert load(tmp_path, text, variables={"day": "1"}).definitions[0].template.revalidate == "1"
    assert load(tmp_path, text, environment={"PREWARM_VAR_DAY": "2"}).definitions[0].template.revalidate == "2"


def test_a_misspelt_variable_by_hand_is_refused_with_the_nearest_one(tmp_path):
    text = HEAD + "vars: {pandas: '2'}\nsandboxes: {x: {base: host}}\n"

    assert problems(tmp_path, text, variables={"pandsa": "3"}) == [
        "prewarm.yaml:1:1: --set names 'pandsa', which is no variable of this file; did you mean 'pandas'?"
    ]


def test_a_value_never_becomes_structure(tmp_path):
    evil = "x\n  evil: {base: host}\n# {{ y }}"

    definition = load_one(tmp_path, "{base: host, bootstrap: ['{{ v }}']}", variables={"v": evil})

    assert definition.template.bootstrap[0].action == RunAction(command=evil)


# matrix and extends


def test_a_matrix_gives_one_sandbox_a_combination_in_the_order_written(tmp_path):
    project = load(
        tmp_path,
        HEAD
        + """\
sandboxes:
  base: {base: "python:{{ matrix.python }}", matrix: {python: ["3.11", "3.12"]}}
  app:
    extends: base-{{ matrix.python }}
    matrix: {python: ["3.11", "3.12"], kind: [x, "y"]}
    env: {KIND: "{{ matrix.kind }}"}
""",
    )

    names = [definition.name for definition in project.definitions]
    assert names == ["base-3.11", "base-3.12", "app-3.11-x", "app-3.11-y", "app-3.12-x", "app-3.12-y"]
    assert project.definitions[1].template.base == ImageBase(reference="python:3.12")
    assert project.definitions[5].template.base == ExtendsBase(sandbox="base-3.12")
    assert project.definitions[5].template.env == {"KIND": "y"}


def test_a_child_goes_on_from_its_parent(tmp_path):
    project = load(
        tmp_path,
        HEAD
        + """\
sandboxes:
  c: {extends: b, env: {B: "3"}}
  b: {extends: a, user: worker, env: {B: "2"}, bootstrap: ["x"]}
  a: {base: host, backend: local, workdir: /srv, env: {A: "1", B: "1"}}
""",
    )

    child = project.definitions[0]
    assert (child.template.user, child.template.workdir, child.backend) == ("worker", "/srv", "local")
    assert child.template.env == {"A": "1", "B": "3"}
    assert child.template.bootstrap == ()


def test_a_child_cannot_have_another_backend(tmp_path):
    text = HEAD + "sandboxes:\n  a: {base: host, backend: local}\n  b: {extends: a, backend: docker}\n"

    assert problems(tmp_path, text) == [
        "prewarm.yaml:5:28: 'b' is captured by 'docker' but extends 'a', which is captured by 'local'; say the same in both"
    ]


def test_a_circle_of_extends_is_told_once(tmp_path):
    text = HEAD + "sandboxes:\n  a: {extends: b}\n  b: {extends: c}\n  c: {extends: a}\n"

    assert problems(tmp_path, text) == ["prewarm.yaml:6:16: 'extends' goes in a circle: a -> b -> c -> a"]


def test_an_unknown_parent_is_told_with_the_nearest_name(tmp_path):
    text = HEAD + "sandboxes:\n  base: {base: host}\n  b: {extends: bsae}\n"

    assert problems(tmp_path, text) == ["prewarm.yaml:5:16: there is no sandbox 'bsae'; did you mean 'base'?"]


def test_a_parent_with_problems_of_its_own_is_still_known(tmp_path):
    text = HEAD + "sandboxes:\n  a: {base: host, usr: x}\n  b: {extends: a}\n"

    assert problems(tmp_path, text) == ["prewarm.yaml:4:19: unknown key 'usr'; did you mean 'user'?"]


def test_a_clash_out_of_a_matrix_is_refused(tmp_path):
    text = HEAD + "sandboxes:\n  a-1: {base: host}\n  a: {base: host, matrix: {n: ['1']}}\n"

    assert problems(tmp_path, text) == ["prewarm.yaml:5:3: there are two sandboxes named 'a-1'"]


def test_a_matrix_value_that_cannot_be_in_a_name_is_refused(tmp_path):
    text = HEAD + "sandboxes:\n  a: {base: host, matrix: {n: ['x y']}}\n"

    assert "'a-x y' cannot be a sandbox's name" in problems(tmp_path, text)[0]


def test_one_problem_of_many_combinations_is_told_once(tmp_path):
    body = "{base: host, matrix: {n: ['1', '2', '3']}, bootstrap: ['{{ nope }}'], usr: x}"

    assert len(problems_of_one(tmp_path, body)) == 2


@pytest.mark.parametrize(
    "matrix", ["{n: [3.11, 3.12]}", "{n: [1, 1]}", "{n: '3.11'}", "{n: []}", "[n]", "{n: [{a: b}]}"]
)
def test_a_wrong_matrix_hides_nothing_of_its_sandbox(tmp_path, matrix):
    body = f"{{base: host, matrix: {matrix}, workdir: 'x-{{{{ matrix.n }}}}', usr: x, bootstrap: ['{{{{ nope }}}}']}}"

    found = problems_of_one(tmp_path, body)

    assert any("expected an absolute path" in one for one in found)
    assert any("unknown key 'usr'" in one for one in found)
    assert [one for one in found if "is not defined" in one and "'nope'" not in one] == []
    assert not any("two sandboxes" in one for one in found)


def test_whoever_extends_a_sandbox_of_a_wrong_matrix_is_not_told_that_it_is_missing(tmp_path):
    text = HEAD + "sandboxes:\n  a: {base: host, matrix: {n: [3.11]}}\n  b: {extends: a-3.11}\n"

    assert problems(tmp_path, text) == ['prewarm.yaml:4:32: expected text, found 3.11; quote it: "3.11"']


def test_of_too_many_combinations_the_first_is_checked(tmp_path):
    axis = "[" + ", ".join(f"'{number}'" for number in range(40)) + "]"

    found = problems_of_one(tmp_path, f"{{base: host, matrix: {{a: {axis}, b: {axis}}}, usr: x}}")

    assert len(found) == 2
    assert any("1600 combinations are more than 1000" in one for one in found)


# what is wrong


def test_a_version_in_quotes_is_told_what_is_wrong_with_it(tmp_path):
    text = 'version: "1"\nnamespace: n\nsandboxes:\n  a: {base: host}\n'
    assert problems(tmp_path, text) == ["prewarm.yaml:1:10: expected 1, found '1'; write it without quotes"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("{base: host, bootstrp: [x]}", "4:19: unknown key 'bootstrp'; did you mean 'bootstrap'?"),
        ("{base: host, env: {A: no}}", '4:28: expected text, found no, which YAML reads as false; quote it: "no"'),
        ("{base: host, env: {A: 1.10}}", '4:28: expected text, found the number 1.10; quote it: "1.10"'),
        (
            "{base: host, revalidate: 2026-11-01}",
            '4:31: expected text, found 2026-11-01, which YAML does not read as text; quote it: "2026-11-01"',
        ),
        ("{base: host, env: {A: }}", "4:25: nothing is written at 'A'; give it a value, or leave it out"),
        ("{base: host, env: {1: a}}", '4:25: the key 1 is read as a number; quote it: "1"'),
        ("{base: host, env: {A: a, A: b}}", "4:31: the key 'A' stands here twice, first in line 4"),
        (
            "{base: host, env: {A-B: a}}",
            "4:25: expected a name of letters, digits and _, not beginning with a digit, found 'A-B'",
        ),
        ("{base: host, bootstrap: x}", "4:30: expected a list, found 'x'; write [x], or a line that begins with '- '"),
        (
            "{base: host, bootstrap: [{run: x, timeout: 10 minutes}]}",
            "4:49: expected a duration such as 30s, 10m or 1h30m, found '10 minutes'",
        ),
        ("{base: host, bootstrap: [{runs: x}]}", "4:31: a step has 'run', 'script' or 'python'"),
        (
            "{base: host, bootstrap: [{run: x, script: y}]}",
            "4:40: a step has 'run', 'script' or 'python', and only one of them",
        ),
        (
            "{base: host, bootstrap: [{python: setup.py}]}",
            "4:40: expected module:function, such as hooks.setup:warm, found 'setup.py'",
        ),
        ("{base: host, bootstrap: [{run: ' '}]}", "4:37: expected something to run, found ''"),
        (
            "{base: host, session: {resources: {memory: 1gig}}}",
            "4:49: expected a size such as 512m or 1g, found '1gig'",
        ),
        ("{base: host, session: {network: some}}", "4:38: expected 'all' or 'none', found 'some'"),
        (
            "{base: host, seed: [{source: ../x, target: /x}]}",
            "4:35: this path leaves the project directory, found '../x'",
        ),
        (
            "{base: host, seed: [{source: a/../../x, target: /x}]}",
            "4:35: this path leaves the project directory, found 'a/../../x'",
        ),
        (
            "{base: host, seed: [{source: /etc, target: /x}]}",
            "4:35: expected a path relative to the project directory, so that it is the same on every machine, found '/etc'",
        ),
        (
            "{base: host, seed: [{source: x, target: x}]}",
            "4:46: expected an absolute path inside the template, such as /workspace, found 'x'",
        ),
        ("{base: host, seed: [{source: x, target: /a/../b}]}", "4:46: expected a path without '..', found '/a/../b'"),
        (
            "{base: host, seed: [{path: /a, content: x, base64: eA==}]}",
            "4:26: a file written here has 'content' or 'base64', and only one of them",
        ),
        ("{base: host, seed: [{path: /a, base64: '!'}]}", None),
        (
            "{base: host, seed: [{path: /a, content: x, mode: 0644}]}",
            '4:55: expected text, found the number 0644; quote it: "0644"',
        ),
        (
            "{base: host, seed: [{source: x, target: /x, mode: '0644'}]}",
            "4:50: unknown key 'mode'; known here: ignore, source, target",
        ),
        ("{base: host, build: {secrets: [{id: a}]}}", "4:37: a secret has 'env' or 'file', and only one of them"),
        (
            "{base: host, bootstrap: [{run: x, secrets: [npm]}]}",
            "4:50: the secret 'npm' is not declared in build.secrets",
        ),
        ("{base: host, extends: b}", None),
        ("{user: sandbox}", "4:6: a sandbox has 'base' or 'extends', and only one of them"),
        ("{base: 'deb ian'}", None),
        ("{base: oci:../x}", "4:13: this path leaves the project directory, found 'oci:../x'"),
        ("{base: host, user: Bad!}", None),
        ("{base: host, docker: [a]}", "4:27: expected a mapping, found a list"),
        ("{base: host, docker: {day: 2026-11-01}}", None),
        ("{base: host, backends: {a: {}}}", None),
        ('{base: host, env: {A: "a\\0b"}}', None),
        ("[a]", "4:6: expected a mapping that says what 'a' is"),
        ("{base: !!python/name:os.system x}", "4:13: the tag '!!python/name:os.system' is not known here"),
        ("{base: host, matrix: {n: [1]}}", '4:32: expected text, found 1; quote it: "1"'),
        ("{base: host, matrix: {n: []}}", "4:31: expected a list of at least one text"),
        ("{base: host, matrix: [x]}", None),
        ("{base: host, bootstrap: ['{{ }}']}", None),
    ],
)
def test_a_problem_has_its_place_and_the_offending_value(tmp_path, body, problem):
    found = problems_of_one(tmp_path, body)

    assert all(one.startswith("prewarm.yaml:4:") for one in found), found
    if problem is not None:
        assert f"prewarm.yaml:{problem}" in found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "prewarm.yaml:1:1: nothing is written here"),
        ("- a\n", "prewarm.yaml:1:1: expected a mapping with 'namespace' and 'sandboxes'"),
        ("namespace: a\n", "prewarm.yaml:1:1: 'sandboxes' is missing"),
        ("sandboxes: {a: {base: host}}\n", "prewarm.yaml:1:1: 'namespace' is missing"),
        (
            "namespace: a\nsandboxes: {}\n",
            "prewarm.yaml:2:12: expected a mapping of names to sandboxes, with at least one",
        ),
        (
            "version: 2\nnamespace: a\nsandboxes: {a: {base: host}}\n",
            "prewarm.yaml:1:10: expected 1, found the number 2",
        ),
        ("namespace: A b\nsandboxes: {a: {base: host}}\n", None),
        (
            "namespace: a\nsandbox: {}\nsandboxes: {a: {base: host}}\n",
            "prewarm.yaml:2:1: unknown key 'sandbox'; did you mean 'sandboxes'?",
        ),
        ("a: [\n", None),
        ("a: b: c\n", None),
        ("a: \x07\n", None),
        ("a: 1\n---\nb: 2\n", None),
        ("namespace: a\nvars: {matrix: x}\nsandboxes: {a: {base: host}}\n", None),
        ("namespace: a\nvars: {a: '{{ b }}'}\nsandboxes: {a: {base: host}}\n", None),
        ("namespace: a\nsandboxes: {a: &a {base: host, docker: {x: *a}}}\n", None),
    ],
)
def test_a_file_that_is_wrong_as_a_whole_says_where(tmp_path, text, problem):
    found = problems(tmp_path, text)

    assert all(one.startswith("prewarm.yaml:") for one in found)
    if problem is not None:
        assert problem in found


def test_all_problems_are_told_in_one_run_in_the_order_of_the_file(tmp_path):
    text = (
        HEAD
        + "vars: {a: 1}\nsandboxes:\n  x: {base: host, usr: a, env: {A: no}}\n  y: {extends: z, bootstrap: ['{{ q }}', {run: a, timeout: b}]}\n"
    )

    with pytest.raises(DefinitionError) as caught:
        load(tmp_path, text)

    places = [one.split(": ")[0].split(":", 1)[1] for one in caught.value.problems]
    assert places == ["3:11", "5:19", "5:36", "6:16", "6:31", "6:60"]
    assert caught.value.message.startswith(f"6 problems in {tmp_path}/prewarm.yaml:\n  {tmp_path}/prewarm.yaml:3:11: ")
    assert caught.value.exit_code == 2


def test_a_bomb_of_aliases_is_refused_quickly(tmp_path):
    levels = "".join(f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))

    found = problems(tmp_path, f"{HEAD}x-0: &a0 [x, x]\n{levels}sandboxes: {{a: {{base: host}}}}\n")

    assert len(found) == 1
    assert "aliases make more than" in found[0]


def test_a_file_that_is_missing_or_not_text_is_named(tmp_path):
    with pytest.raises(DefinitionError, match=r"cannot read .*prewarm.yaml: No such file"):
        load_project(tmp_path / "prewarm.yaml")
    (tmp_path / "prewarm.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(DefinitionError, match=r"prewarm.yaml:1:4: not UTF-8: invalid start byte at byte 3"):
        load_project(tmp_path / "prewarm.yaml")


def test_the_nearest_definition_file_above_is_found(tmp_path):
    (tmp_path / "prewarm.yaml").touch()
    (tmp_path / "a/b").mkdir(parents=True)

    assert find_definition_file(tmp_path / "a/b") == tmp_path / "prewarm.yaml"

    (tmp_path / "a/prewarm.yml").touch()
    assert find_definition_file(tmp_path / "a/b") == tmp_path / "a/prewarm.yml"

    (tmp_path / "a/prewarm.yaml").touch()
    with pytest.raises(DefinitionError, match=r"both prewarm.yaml and prewarm.yml"):
        find_definition_file(tmp_path / "a/b")


def test_no_definition_file_says_how_to_begin(tmp_path):
    with pytest.raises(DefinitionError) as caught:
        find_definition_file(tmp_path)

    assert caught.value.hint == "run 'prewarm init', or name a file with --file"
