from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewarm.errors import DefinitionError
from prewarm.render import Renderer, render_recipe, render_text

VARIABLES = {"pandas": "2.2.3", "matrix": {"python": "3.11"}}


def test_a_variable_is_filled_in_and_a_final_line_end_is_kept():
    assert Renderer().render("pandas {{ pandas }}\n", VARIABLES) == "pandas 2.2.3\n"


def test_a_value_of_the_matrix_is_filled_in():
    assert Renderer().render("python:{{ matrix.python }}", VARIABLES) == "python:3.11"


def test_a_length_in_shell_does_not_begin_a_comment():
    text = "for i in ${#names[@]}; do echo {{ pandas }}; done  # a #} b"

    assert Renderer().render(text, VARIABLES) == "for i in ${#names[@]}; do echo 2.2.3; done  # a #} b"


def test_a_value_is_not_rendered_again():
    assert Renderer().render("{{ a }}", {"a": "{{ b }}", "b": "no"}) == "{{ b }}"


@given(st.text().filter(lambda text: "{{" not in text and "{%" not in text))
def test_text_without_expressions_comes_back_as_it_is(text):
    assert Renderer().render(text, {}) == text


@given(st.text())
def test_any_value_arrives_unchanged(value):
    assert Renderer().render("<{{ a }}>", {"a": value}) == f"<{value}>"


def test_an_undefined_name_is_told_with_the_nearest_one():
    with pytest.raises(DefinitionError) as caught:
        render_text("{{ pandsa }}", VARIABLES, "prewarm.yaml:3:4")

    assert caught.value.message == "prewarm.yaml:3:4: 'pandsa' is not defined; did you mean 'pandas'?"
    assert caught.value.hint is not None
    assert "matrix.python, pandas" in caught.value.hint


def test_an_undefined_key_of_the_matrix_is_told_with_the_nearest_one():
    with pytest.raises(DefinitionError, match=r"^'pyton' is not defined; did you mean 'python'\?$"):
        Renderer().render("{{ matrix.pyton }}", VARIABLES)


@pytest.mark.parametrize(
    "text", ["{{ lipsum() }}", "{{ pandas.upper }}", "{{ matrix }}", "{{ pandas | random }}", "{{ cycler }}"]
)
def test_what_would_give_another_text_every_time_is_refused(text):
    with pytest.raises(DefinitionError):
        Renderer().render(text, VARIABLES)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{{ 'a' * 9999999999 }}", "longer than"),
        ("{{ 99999999 * (pandas,) }}", "longer than"),
        ("{{ 9 ** 999999999 }}", "too high a power"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{{ pandas }}{% endfor %}{% endfor %}", "longer than"),
    ],
)
def test_what_would_fill_the_memory_is_refused(text, why):
    with pytest.raises(DefinitionError, match=why):
        Renderer().render(text, VARIABLES)


def test_small_products_are_none_of_that():
    assert Renderer().render("{{ 'ab' * 3 }} {{ 6 * 7 }} {{ 2 ** 10 }}", VARIABLES) == "ababab 42 1024"


@pytest.mark.parametrize("text", ["{{ pandas.__class__.__mro__ }}", "{{ matrix.pop('python') }}"])
def test_the_sandbox_cannot_be_left(text):
    with pytest.raises(DefinitionError):
        Renderer().render(text, VARIABLES)


def test_go_templates_are_told_how_to_be_written():
    with pytest.raises(DefinitionError) as caught:
        Renderer().render("docker inspect -f '{{.Id}}'", {})

    assert caught.value.message == "not a valid template: unexpected '.'"
    assert caught.value.hint is not None
    assert "{% raw %}" in caught.value.hint


def test_raw_text_is_left_alone():
    assert Renderer().render("{% raw %}{{.Id}}{% endraw %}", {}) == "{{.Id}}"


def test_a_recipe_quotes_for_the_shell_and_for_json():
    recipe = "{# a comment #}\n{% for word in words %}\nRUN {{ word | shell }}\n{% endfor %}\nCMD {{ words | json }}\n"

    assert render_recipe(recipe, {"words": ["a b", "<c>"]}, "D.j2") == "RUN 'a b'\nRUN '<c>'\nCMD [\"a b\", \"<c>\"]\n"


def test_a_recipe_that_is_wrong_is_named_with_its_line():
    with pytest.raises(DefinitionError, match=r"cannot render Dockerfile.j2:2: "):
        render_recipe("FROM x\n{% for %}\n", {}, "Dockerfile.j2")


@given(
    st.lists(
        st.sampled_from(
            ["a", " ", "\r\n", "\r", "\n", "{", "}", "#}", "{#", "{{ v }}", "{{v}}", "{{ m.k }}", "{{ v }}}", "é"]
        )
    ).map("".join),
    st.text(st.characters(exclude_characters="\0")),
)
def test_plain_names_are_filled_in_as_jinja_does(text, value):
    variables = {"v": value, "m": {"k": value}}
    renderer = Renderer()

    def outcome(render):
        try:
            return render(text, variables)
        except DefinitionError:
            return None

    assert outcome(renderer.render) == outcome(renderer._render)


def test_line_ends_stay_as_they_are_also_beside_an_expression():
    assert Renderer().render("a\r\n{{ v | upper }}\rb\n", {"v": "x"}) == "a\r\nX\rb\n"


@pytest.mark.parametrize("name", ["true", "None", "not"])
def test_a_literal_is_no_variable(name):
    with pytest.raises(DefinitionError):
        Renderer().render(f"{{{{ nope }}}} {{{{ {name} }}}}", {name: "x"})
