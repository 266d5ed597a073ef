from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewarm.key import (
    EntryKind,
    FileFact,
    KeyInputs,
    StepFact,
    StepKind,
    TemplateKey,
    canonical_bytes,
    diff,
    template_key,
)
from prewarm.key.canonical import encode

VECTORS = Path(__file__).parent / "data" / "keys.json"
SHA_A, SHA_B = "a" * 64, "b" * 64


def file(path=b"/workspace/a.csv", mode=0o644, sha256=SHA_A) -> FileFact:
    return FileFact(path, EntryKind.FILE, mode, sha256, b"")


def link(path=b"/workspace/l", target=b"a.csv") -> FileFact:
    return FileFact(path, EntryKind.SYMLINK, 0o777, "", target)


def step(*words, kind=StepKind.SHELL, **changes) -> StepFact:
    return StepFact(kind=kind, words=words, **({"user": "root"} | changes))


def inputs(**changes) -> KeyInputs:
    values = {
        "backend": "local",
        "capture_format": "1",
        "platform": "linux/amd64",
        "base": f"sha256:{SHA_A}",
        "parent": None,
        "user": "sandbox",
        "workdir": "/workspace",
    }
    return KeyInputs(**(values | changes))


def full() -> KeyInputs:
    return inputs(
        options={"cache": True, "sizes": [1, 2.5, None, "x"], "nested": {"a": {"b": "c"}}},
        env={"B": "2", "A": "ä"},
        seeds=(
            FileFact(b"/workspace", EntryKind.DIRECTORY, 0o755, "", b""),
            file(),
            file(b"/workspace/b\xff\n.sh", 0o755, SHA_B),
            link(),
        ),
        inputs=(file(b"requirements.lock"),),
        bootstrap=(
            step("apt-get update", secrets=("npm",)),
            step("ls", "-l", kind=StepKind.ARGV, user="1000:1000"),
            step("hooks/setup.sh", "x", kind=StepKind.SCRIPT, files=(file(b"hooks/setup.sh", 0o755),)),
            step("hooks.setup", "warm", kind=StepKind.PYTHON, files=(file(b"hooks/setup.py"), file(b"hooks/u.py"))),
        ),
        verify=(step("true", user="sandbox"),),
        revalidate="2026-11",
        recipe="FROM x\n",
    )


EXAMPLES = {
    "the least": inputs(),
    "everything": full(),
    "a child": inputs(base=None, parent=SHA_B, backend="docker", capture_format="7", platform="linux/arm64"),
}


# golden vectors


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_golden_key_never_moves(name):
    golden = json.loads(VECTORS.read_text())[name]

    assert canonical_bytes(EXAMPLES[name]).decode("utf-8", "surrogateescape") == golden["bytes"]
    assert template_key(EXAMPLES[name]) == golden["key"]


def test_a_key_is_the_sha256_of_tag_and_fields():
    data = canonical_bytes(inputs())

    assert data.startswith(b"s13:prewarm.key/1m15:s7:backends5:local")
    assert template_key(inputs()) == hashlib.sha256(data).hexdigest()


# the bytes


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (None, b"n"),
        (True, b"t"),
        (False, b"f"),
        (-12, b"i-12;"),
        (0.5, b"d3:0.5"),
        ("aé", b"s3:a\xc3\xa9"),
        (b"a\0", b"b2:a\0"),
        (["a", 1], b"l2:s1:ai1;"),
        ((), b"l0:"),
        ({"b": 1, "a": None}, b"m2:s1:ans1:bi1;"),
    ],
)
def test_every_type_has_its_form(value, data):
    assert encode(value) == data


def test_what_has_no_form_is_refused():
    with pytest.raises(TypeError, match="no canonical form for set"):
        encode({"a": {1}})


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()) | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def decode(data: bytes):
    """Read canonical bytes back, the plain way: that it can be done shows that no two values share their bytes."""
    value, rest = _decode(data)
    assert rest == b""
    return value


def _decode(data: bytes):
    tag, rest = data[:1], data[1:]
    if tag in {b"n", b"t", b"f"}:
        return {b"n": None, b"t": True, b"f": False}[tag], rest
    if tag == b"i":
        digits, _, rest = rest.partition(b";")
        return int(digits), rest
    size, _, rest = rest.partition(b":")
    count = int(size)
    if tag in {b"s", b"b", b"d"}:
        part, rest = rest[:count], rest[count:]
        return {b"s": lambda: part.decode("utf-8", "surrogatepass"), b"b": lambda: part, b"d": lambda: float(part)}[
            tag
        ](), rest
    if tag == b"l":
        items = []
        for _ in range(count):
            item, rest = _decode(rest)
            items.append(item)
        return items, rest
    assert tag == b"m"
    entries = {}
    for _ in range(count):
        key, rest = _decode(rest)
        entries[key], rest = _decode(rest)
    return entries, rest


@given(PLAIN)
def test_bytes_can_be_read_back_so_no_two_values_share_them(value):
    again = decode(encode(value))

    assert repr(again) == repr(value) or again == value
    assert encode(again) == encode(value)


FACTS = st.builds(
    FileFact,
    st.binary(max_size=20),
    st.sampled_from(EntryKind),
    st.integers(0, 0o7777),
    st.sampled_from(["", SHA_A, SHA_B]),
    st.binary(max_size=8),
)


@given(st.lists(FACTS, max_size=5))
def test_facts_are_written_as_any_other_list(facts):
    plain = [[fact.path, fact.kind.value, fact.mode, fact.sha256, fact.link] for fact in facts]

    written = canonical_bytes(inputs(seeds=tuple(facts)))

    assert b"s5:seeds" + encode(plain) + b"s4:user" in written


# what counts

STEPS = st.builds(
    StepFact,
    kind=st.sampled_from(StepKind),
    words=st.lists(st.text(max_size=8), min_size=1, max_size=3).map(tuple),
    user=st.text(max_size=5),
    secrets=st.lists(st.text(max_size=4), max_size=2).map(tuple),
    files=st.lists(FACTS, max_size=2).map(tuple),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
FIELDS = {
    "backend": st.text(max_size=8),
    "capture_format": st.text(max_size=8),
    "platform": st.text(max_size=8),
    "base": st.none() | st.text(max_size=8),
    "parent": st.none() | st.text(max_size=8),
    "user": st.text(max_size=8),
    "workdir": st.text(max_size=8),
    "options": st.dictionaries(st.text(max_size=3), JSON, max_size=3),
    "env": st.dictionaries(st.text(max_size=3), st.text(max_size=5), max_size=3),
    "seeds": st.lists(FACTS, max_size=3).map(tuple),
    "inputs": st.lists(FACTS, max_size=3).map(tuple),
    "bootstrap": st.lists(STEPS, max_size=3).map(tuple),
    "verify": st.lists(STEPS, max_size=3).map(tuple),
    "revalidate": st.none() | st.text(max_size=8),
    "recipe": st.none() | st.text(max_size=8),
}
ANY_INPUTS = st.builds(KeyInputs, **FIELDS)


def test_every_field_is_drawn():
    assert set(FIELDS) == {field.name for field in dataclasses.fields(KeyInputs)}


@given(ANY_INPUTS, st.data())
def test_a_change_of_any_field_changes_the_key(old, data):
    name = data.draw(st.sampled_from(sorted(FIELDS)))
    value = data.draw(FIELDS[name])
    new = dataclasses.replace(old, **{name: value})

    same = json.dumps(old.to_json(), sort_keys=True) == json.dumps(new.to_json(), sort_keys=True)
    assert (template_key(old) == template_key(new)) == same


@given(ANY_INPUTS, ANY_INPUTS)
def test_two_inputs_have_one_key_only_if_they_are_the_same(one, other):
    same = json.dumps(one.to_json(), sort_keys=True) == json.dumps(other.to_json(), sort_keys=True)

    assert (template_key(one) == template_key(other)) == same
    assert (diff(one, other) == ()) == same


@given(ANY_INPUTS)
def test_stored_as_json_nothing_is_lost(original):
    again = KeyInputs.from_json(json.loads(json.dumps(original.to_json())))

    assert again == original
    assert template_key(again) == template_key(original)


def test_the_order_of_env_and_options_does_not_count():
    one = inputs(env={"A": "1", "B": "2"}, options={"x": {"a": 1, "b": 2}})
    other = inputs(env={"B": "2", "A": "1"}, options={"x": {"b": 2, "a": 1}})

    assert template_key(one) == template_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (inputs(options={"a": 1}), inputs(options={"a": 1.0})),
        (inputs(options={"a": 1}), inputs(options={"a": True})),
        (inputs(options={"a": "1"}), inputs(options={"a": 1})),
        (inputs(env={"A": "1", "B": ""}), inputs(env={"A": "1B"})),
        (inputs(bootstrap=(step("a b"),)), inputs(bootstrap=(step("a b", kind=StepKind.ARGV),))),
        (inputs(bootstrap=(step("a", "b", kind=StepKind.ARGV),)), inputs(bootstrap=(step("a b", kind=StepKind.ARGV),))),
        (inputs(bootstrap=(step("a"),)), inputs(verify=(step("a"),))),
        (inputs(seeds=(file(),)), inputs(inputs=(file(),))),
        (inputs(base=SHA_A), inputs(base=None, parent=SHA_A)),
        (inputs(revalidate=None), inputs(revalidate="")),
    ],
)
def test_what_looks_alike_is_told_apart(one, other):
    assert template_key(one) != template_key(other)
    assert diff(one, other) != ()


@pytest.mark.parametrize("text", ["a" * 63, "a" * 65, "A" * 64, "g" * 64, f"{'a' * 63}\n"])
def test_a_template_key_is_64_digits_or_nothing(text):
    with pytest.raises(ValueError, match="not a template key"):
        TemplateKey(text)


def test_the_first_twelve_digits_are_shown():
    assert TemplateKey("0123456789abcdef" * 4).short == "0123456789ab"


@pytest.mark.parametrize(
    "damage", [{"schema": "prewarm.key/2"}, {"env": None}, {"seeds": [["a"]]}, {"bootstrap": [{}]}]
)
def test_stored_inputs_of_another_schema_or_damaged_are_refused(damage):
    with pytest.raises(ValueError, match="key inputs"):
        KeyInputs.from_json(full().to_json() | damage)


# differences


def test_a_changed_seed_is_named_with_its_digests():
    new = inputs(seeds=(file(sha256=SHA_B, mode=0o755),))

    assert diff(inputs(seeds=(file(),)), new) == (
        "seed /workspace/a.csv: content aaaaaaaaaaaa… -> bbbbbbbbbbbb…, mode 0644 -> 0755",
    )


def test_added_removed_and_turned_seeds_are_told_apart():
    old = inputs(seeds=(file(b"/a"), file(b"/b"), link(b"/l", b"x")))
    new = inputs(seeds=(file(b"/a"), file(b"/c"), link(b"/l", b"y")))
    turned = inputs(seeds=(link(b"/a"),))

    assert diff(old, new) == ("seed /b removed", "seed /c added", "seed /l: link x -> y")
    assert diff(inputs(seeds=(file(b"/a"),)), turned) == ("seed /a: file -> symlink",)


def test_many_changes_are_counted_not_listed():
    new = inputs(seeds=tuple(file(b"/%03d" % number) for number in range(49)), revalidate="2")

    told = diff(inputs(), new)

    assert told[0] == 'revalidate: nothing -> "2"'
    assert told[1] == "seed /000 added"
    assert told[-1] == "and 37 more seed files"


def test_a_step_put_in_between_is_one_change():
    old = inputs(bootstrap=(step("a"), step("c")))
    new = inputs(bootstrap=(step("a"), step("b"), step("c")))

    assert diff(old, new) == ('bootstrap step 2 added: "b"',)
    assert diff(new, old) == ('bootstrap step 2 removed: "b"',)


def test_a_changed_step_shows_old_and_new():
    old = inputs(bootstrap=(step("pip install a==1"),), verify=(step("x"),))
    new = inputs(bootstrap=(step("pip install a==2"),), verify=(step("x", user="root2", secrets=("npm",)),))

    assert diff(old, new) == (
        'bootstrap step 1: "pip install a==1" -> "pip install a==2"',
        "verify step 1: user root -> root2",
        'verify step 1: secrets [] -> ["npm"]',
    )


def test_a_changed_helper_of_a_hook_is_named():
    def hook(sha256):
        return inputs(
            bootstrap=(step("hooks.a", "warm", kind=StepKind.PYTHON, files=(file(b"hooks/util.py", sha256=sha256),)),)
        )

    assert diff(hook(SHA_A), hook(SHA_B)) == (
        "bootstrap step 1: file hooks/util.py: content aaaaaaaaaaaa… -> bbbbbbbbbbbb…",
    )


def test_a_moved_base_and_plain_fields_are_shown():
    old = inputs(env={"A": "1", "C": "x"}, options={"cache": 1})
    new = inputs(
        base=f"sha256:{SHA_B}", env={"A": "2", "B": "y"}, options={"cache": True}, capture_format="2", user="u"
    )

    assert diff(old, new) == (
        'capture format: "1" -> "2"',
        "base sha256:aaaaaaaaaaaa… -> sha256:bbbbbbbbbbbb…",
        "option cache: 1 -> true",
        'user: "sandbox" -> "u"',
        'env A: "1" -> "2"',
        'env B added: "y"',
        'env C removed: "x"',
    )


def test_a_parent_captured_anew_is_shown_by_its_key():
    old, new = inputs(base=None, parent=SHA_A), inputs(base=None, parent=SHA_B)

    assert diff(old, new) == ("extends: key aaaaaaaaaaaa… -> bbbbbbbbbbbb…",)


def test_names_that_are_no_text_are_shown_safely():
    new = inputs(seeds=(file(b"/a\xff"), file(b"/b\n\x1b[31m")))

    assert diff(inputs(), new) == ("seed /a\\xff added", 'seed "/b\\n\\u001b[31m" added')


def test_long_values_are_cut_to_a_line():
    told = diff(inputs(), inputs(bootstrap=(step("x" * 500),)))

    assert len(told[0]) < 120
    assert told[0].endswith("…")
