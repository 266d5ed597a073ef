"""The JSON Schema of ``prewarm.yaml``, by which editors complete and check. Called by ``prewarm schema``.

Made from the models of ``schema``, so that the two cannot say different things. It accepts what is not yet rendered, and
it cannot see what several fields say together; ``load`` has the last word.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Final

from pydantic import Field

from prewarm.definition.forms import Name, Text, VariableName
from prewarm.definition.schema import BACKENDS, HeaderShape, SandboxShape

BUILT_IN_BACKENDS: Final = ("docker", "local", "memory")
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


class SandboxInFile(SandboxShape):
    """One sandbox."""

    matrix: dict[VariableName, Annotated[list[Text], Field(min_length=1, json_schema_extra={"uniqueItems": True})]] = (
        Field({}, description="One sandbox a combination, named NAME-VALUE; {{ matrix.KEY }} in its text.")
    )


class FileShape(HeaderShape):
    """Sandboxes that 'prewarm build' captures and applications open."""

    sandboxes: dict[Name, SandboxInFile] = Field(..., min_length=1, description="By name.")


def json_schema(backends: Collection[str] = BUILT_IN_BACKENDS) -> dict[str, Any]:
    """Give the JSON Schema (draft 2020-12) of ``prewarm.yaml``.

    Args:
        backends: Names under which options may stand: those of the installed backends.
    """
    schema = _tidy(FileShape.model_json_schema(by_alias=True))
    shapes = schema["$defs"]
    for shape in ("SandboxInFile", "SessionShape"):
        properties = shapes[shape]["properties"]
        del properties[BACKENDS]
        properties.update({name: {"type": "object", "description": f"Options of {name}."} for name in sorted(backends)})
    for variable in schema["properties"]["vars"]["patternProperties"].values():
        variable["type"] = ["string", "null"]  # The one place where nothing means something.
    sandbox = shapes["SandboxInFile"]
    sandbox["oneOf"] = [{"required": ["base"]}, {"required": ["extends"]}]
    shapes["SecretShape"]["oneOf"] = [{"required": ["env"]}, {"required": ["file"]}]
    shapes["InlineSeedShape"]["oneOf"] = [{"required": ["content"]}, {"required": ["base64"]}]
    _allow_text(sandbox["properties"]["base"], ["debian:bookworm", "host"])
    for phase in ("bootstrap", "verify"):
        _allow_text(sandbox["properties"][phase]["items"], ["pip install numpy==2.2.1"])
    return {"$schema": DIALECT, "title": "prewarm.yaml", **schema, "patternProperties": {"^x-": {}}}


def _allow_text(schema: dict[str, Any], examples: list[str]) -> None:
    """Let plain text stand where ``schema`` turns it into a mapping of one key."""
    mappings = schema.pop("oneOf")
    schema["anyOf"] = [{"type": "string", "minLength": 1, "examples": examples}, *mappings]


def _tidy(schema: Any) -> Any:
    """Drop titles that only repeat names, and ``null``, which stands for "leave it out" in the models alone."""
    if isinstance(schema, list):
        return [_tidy(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: value for key, value in schema.items() if not (key == "title" and isinstance(value, str))}
    if schema.get("default", ...) is None:
        del schema["default"]
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if "anyOf" in schema and len(choices) < len(schema["anyOf"]):
        del schema["anyOf"]
        schema = {**choices[0], **schema} if len(choices) == 1 else {**schema, "anyOf": choices}
    if "patternProperties" in schema:
        schema.setdefault("additionalProperties", False)
        schema.pop("propertyNames", None)
    return {key: _tidy(value) for key, value in schema.items()}
