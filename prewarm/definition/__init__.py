"""Definitions: YAML or Python in, every problem at once, frozen values out.

    model       the values, with bases and options
    document    YAML with its places            schema, forms, fields   the shape, checked by pydantic
    expand      vars, matrix, rendering         checking                pydantic's errors in the author's words
    assemble    shapes to values                link                    what definitions say about each other
    load        the story for files             construct               the story for Python

``model`` holds the values; it is all that the runtime half imports. The rest is loaded when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # what ``__getattr__`` loads; the runtime half must not pay for yaml and pydantic.
    from prewarm.definition.construct import define, project
    from prewarm.definition.editor import json_schema
    from prewarm.definition.load import find_definition_file, load_project

__all__ = ["define", "find_definition_file", "json_schema", "load_project", "project"]

_HOMES: Final = {
    "define": "construct",
    "find_definition_file": "load",
    "json_schema": "editor",
    "load_project": "load",
    "project": "construct",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
