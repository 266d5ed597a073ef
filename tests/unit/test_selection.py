"""Which sandboxes a run is about: those asked for and what they extend, parents first."""

from __future__ import annotations

from pathlib import Path

import pytest

from prewarm.definition.model import Definition, ExtendsBase, HostBase, Project, Template
from prewarm.errors import DefinitionError
from prewarm.pipeline.selection import matching, select


def define(name, extends=None) -> Definition:
    base = HostBase() if extends is None else ExtendsBase(sandbox=extends)
    return Definition(name=name, template=Template(base=base))


def project(*definitions) -> Project:
    return Project(namespace="acme", directory=Path("/p"), definitions=definitions)


def names(definitions) -> list[str]:
    return [definition.name for definition in definitions]


def test_all_are_meant_where_none_is_named_in_file_order():
    assert names(select(project(define("b"), define("a")))) == ["b", "a"]


def test_parents_come_first_whatever_the_file_says():
    chosen = select(project(define("leaf", "mid"), define("mid", "root"), define("root"), define("other")))
    assert names(chosen) == ["root", "mid", "leaf", "other"]


def test_one_that_is_asked_for_brings_what_it_extends_and_nothing_else():
    whole = project(define("root"), define("leaf", "root"), define("other"))
    assert names(select(whole, ["leaf"])) == ["root", "leaf"]


def test_the_order_asked_for_is_kept():
    whole = project(define("a"), define("b"), define("c"))
    assert names(select(whole, ["c", "a"])) == ["c", "a"]


def test_a_pattern_names_all_of_a_matrix():
    whole = project(define("py-3.11"), define("py-3.12"), define("node"))
    assert names(select(whole, ["py-*"])) == ["py-3.11", "py-3.12"]
    assert matching(["py-3.11", "py-3.12", "node"], ["py-*", "py-3.12"]) == ("py-3.11", "py-3.12")


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(DefinitionError, match="no sandbox is named 'analist'") as caught:
        select(project(define("analyst"), define("node")), ["analist"])
    assert caught.value.hint == "did you mean 'analyst'?"


def test_an_unknown_name_with_none_near_names_all():
    with pytest.raises(DefinitionError) as caught:
        select(project(define("b"), define("a")), ["zzzz"])
    assert caught.value.hint == "there are: a, b"


def test_what_extends_itself_is_refused_with_its_circle():
    with pytest.raises(DefinitionError, match="'a' extends itself: a -> b -> a"):
        select(project(define("a", "b"), define("b", "a")))


def test_what_extends_nothing_known_is_refused():
    with pytest.raises(DefinitionError, match="'a' extends 'ghost', which is not defined"):
        select(project(define("a", "ghost")))
