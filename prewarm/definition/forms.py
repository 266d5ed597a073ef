"""The field types of the schema: each text form of ``fields`` with what an editor may know of it.

Used by ``schema`` alone. A pattern always lets ``{{ … }}`` and ``{% … %}`` through: an editor sees text that is not yet rendered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, JsonValue, PlainValidator, WithJsonSchema

from prewarm.definition import fields


def _like(pattern: str, *examples: str) -> WithJsonSchema:
    shown = {"examples": list(examples)} if examples else {}
    return WithJsonSchema({"type": "string", "pattern": rf"^(?:{pattern})$|\{{[{{%]", **shown})


def _number_like(kind: str, pattern: str, *examples: str | float) -> WithJsonSchema:
    text = {"type": "string", "pattern": rf"^(?:{pattern})$|\{{[{{%]"}
    return WithJsonSchema({"anyOf": [{"type": kind, "exclusiveMinimum": 0}, text], "examples": list(examples)})


def _matching(pattern: str, expected: str) -> AfterValidator:
    def check(text: str) -> str:
        return fields.match(pattern, text, expected)

    return AfterValidator(check)


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("expected text without NUL characters")
    return text


def _something(text: str) -> str:
    if not text.strip():
        raise ValueError("expected something to run")
    return _without_nul(text)


def _checked(check: Callable[[str], str]) -> AfterValidator:
    return AfterValidator(check)


Text: TypeAlias = Annotated[str, _checked(_without_nul)]
Command: TypeAlias = Annotated[str, _checked(_something)]
Name: TypeAlias = Annotated[str, _checked(fields.name), _like(fields.NAME, "analyst")]
BackendName: TypeAlias = Annotated[str, _checked(fields.name), _like(fields.NAME, "auto", "local", "docker")]
UserName: TypeAlias = Annotated[
    str, _matching(fields.USER, "a user's name: a-z 0-9 _ -, beginning with a letter"), _like(fields.USER, "sandbox")
]
StepUser: TypeAlias = Annotated[
    str, _matching(fields.STEP_USER, "a user's name, a uid, or uid:gid"), _like(fields.STEP_USER, "root", "1000:1000")
]
VariableName: TypeAlias = Annotated[
    str,
    _matching(fields.VARIABLE, "a name of letters, digits and _, not beginning with a digit"),
    _like(fields.VARIABLE, "HTTPS_PROXY"),
]
SecretId: TypeAlias = Annotated[
    str, _matching(fields.SECRET_ID, "1 to 63 letters, digits, . _ -"), _like(fields.SECRET_ID, "npm")
]
Sha256: TypeAlias = Annotated[str, _matching(fields.SHA256, "a sha256: 64 of 0-9 a-f, in quotes"), _like(fields.SHA256)]
Hook: TypeAlias = Annotated[
    str, _matching(fields.HOOK, "module:function, such as hooks.setup:warm"), _like(fields.HOOK, "hooks.setup:warm")
]
Image: TypeAlias = Annotated[str, _checked(fields.image), _like(r"\S+", "debian:bookworm", "oci:./layout")]
ProjectPath: TypeAlias = Annotated[str, _checked(fields.project_path), _like(r"(?![/~]).+", "./workspace")]
InsidePath: TypeAlias = Annotated[str, _checked(fields.inside_path), _like(r"/.*", "/workspace")]
FilePath: TypeAlias = Annotated[str, _checked(fields.file_inside), _like(r"/.*[^/]", "/workspace/motd.txt")]
Base64: TypeAlias = Annotated[str, _checked(fields.base64_text), _like(r"[A-Za-z0-9+/=\s]*", "AAEC")]
Mode: TypeAlias = Annotated[
    str, _matching(fields.MODE, 'permission bits in quotes, such as "0644"'), _like(fields.MODE, "0644", "0755")
]
Duration: TypeAlias = Annotated[
    float, PlainValidator(fields.duration), _number_like("number", fields.DURATION, "30s", "10m", "1h30m")
]
Size: TypeAlias = Annotated[int, PlainValidator(fields.size), _number_like("integer", fields.SIZE, "512m", "1g")]
Cores: TypeAlias = Annotated[float, PlainValidator(fields.cores), _number_like("number", r"[0-9]+(\.[0-9]+)?", 1, 0.5)]
Count: TypeAlias = Annotated[int, PlainValidator(fields.count), _number_like("integer", r"[0-9]+", 256)]
NetworkName: TypeAlias = Annotated[
    Literal["all", "none"],
    WithJsonSchema({"anyOf": [{"enum": ["all", "none"]}, {"type": "string", "pattern": r"\{[{%]"}]}),
]
Options: TypeAlias = dict[str, JsonValue]
