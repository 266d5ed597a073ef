"""Check plain data against the schema, and say what is wrong in the author's words.

Turns pydantic's errors into sentences: what is expected, what was found, the nearest key that there is. Called by ``load``
for files and by ``construct`` for definitions made in Python; each brings its own ``Places``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final, Protocol, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from prewarm.definition import schema
from prewarm.definition.document import Misread
from prewarm.definition.problems import nearest

Path: TypeAlias = tuple[str | int, ...]
Shape = TypeVar("Shape", bound=BaseModel)

_SHOWN: Final = 60
_SHAPES: Final[Mapping[str, type[BaseModel]]] = {
    "<run>": schema.RunShape,
    "<script>": schema.ScriptShape,
    "<python>": schema.PythonShape,
    "<tree>": schema.TreeSeedShape,
    "<inline>": schema.InlineSeedShape,
    "<image>": schema.ImageShape,
    "<rootfs>": schema.RootfsShape,
    "<dockerfile>": schema.DockerfileShape,
    "build": schema.BuildShape,
    "secrets": schema.SecretShape,
    "session": schema.SessionShape,
    "resources": schema.ResourcesShape,
}
_INSTEAD: Final[Mapping[str, str]] = {
    "<tree>": "a seed has 'source' and 'target' (files of the project), or 'path' and 'content' (a file written here)",
    "<run>": "a step has 'run', 'script' or 'python'",
    "<image>": "a base has 'image', 'rootfs' or 'dockerfile'",
}
_EXPECTED: Final[Mapping[str, str]] = {
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


class Places(Protocol):
    """Hears of a problem by its path, and knows how the author would find the place."""

    def problem(self, path: Path, message: str, *, at_key: bool = False) -> None:
        """Keep a problem: at the value that a path leads to, or at its key."""

    def written(self, path: Path) -> str | None:
        """Give the plain, unquoted text that stands at a path; ``None`` where there is none."""


def check(
    shape: type[Shape], data: Mapping[str, object], places: Places, *, more_keys: tuple[str, ...] = ()
) -> Shape | None:
    """Check data against one shape; what is wrong goes to ``places``.

    Args:
        shape: What it must be.
        data: Rendered.
        places: Hears the problems.
        more_keys: Keys that were taken out before, of it and of a session: known when the nearest one is named.

    Returns:
        The checked shape, or ``None`` if there was a problem.
    """
    try:
        return shape.model_validate(data)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            _tell(detail, shape, places, more_keys)
        return None


def _tell(detail: ErrorDetails, shape: type[BaseModel], places: Places, more_keys: tuple[str, ...]) -> None:
    location = detail["loc"]
    path = tuple(part for part in location if not _is_tag(part))
    tags = [part for part in location if isinstance(part, str) and part in _SHAPES]
    match detail["type"]:
        case "missing":
            message = _INSTEAD.get(tags[-1] if tags and location[-2] == tags[-1] else "", f"'{path[-1]}' is missing")
            places.problem(path[:-1], message)
        case "extra_forbidden":
            inner = _SHAPES[tags[-1]] if tags else shape
            more = more_keys if inner is shape or inner is schema.SessionShape else ()
            places.problem(path, _unknown_key(str(path[-1]), tags[-1:], inner, more), at_key=True)
        case _:
            at_key = path[-1:] == ("[key]",)
            path = path[:-1] if at_key else path
            places.problem(path, _sentence(detail, places.written(path)), at_key=at_key)


def _is_tag(part: str | int) -> bool:
    return isinstance(part, str) and part.startswith("<")


def _unknown_key(key: str, tag: list[str], shape: type[BaseModel], more_keys: tuple[str, ...]) -> str:
    if tag and tag[0] in schema.STEP_TAGS and key in {"run", "script", "python"}:
        return f"{_INSTEAD['<run>']}, and only one of them"
    names = [field.alias or name for name, field in shape.model_fields.items()]
    known = [name for name in names if not _is_tag(name)]
    return f"unknown key '{key}'{nearest(key, [*known, *more_keys])}"


def _sentence(detail: ErrorDetails, written: str | None) -> str:
    value: object = detail["input"]
    kind = detail["type"]
    context = detail.get("ctx", {})
    if kind in _EXPECTED:
        expected = f"expected {_EXPECTED[kind]}"
        return f"{expected}, found {_found(value, written)}{_remedy(kind, value, written)}"
    if kind in {"literal_error", "enum"}:
        if value in _choices(context):
            return f"expected {context['expected']}, found {_found(value, written)}; write it without quotes"
        close = nearest(value, _choices(context)) if isinstance(value, str) else ""
        return f"expected {context['expected']}, found {_found(value, written)}{close if 'did you' in close else ''}"
    if kind == "value_error":
        return f"{context['error']}, found {_found(value, written)}"
    if kind == "too_short":
        return "expected at least one, found none"
    text = detail["msg"]
    return f"{text[:1].lower()}{text[1:]}, found {_found(value, written)}"


def _choices(context: Mapping[str, object]) -> list[str]:
    return [part.strip(" '") for part in str(context["expected"]).replace(" or ", ",").split(",")]


def _found(value: object, written: str | None) -> str:  # noqa: PLR0911 - one sentence a type.
    match value:
        case None:
            return "nothing"
        case Misread(text=text):
            return f"{_cut(text)}, which YAML does not read as text"
        case bool():
            said = "true" if value else "false"
            return said if written in {None, said} else f"{written}, which YAML reads as {said}"
        case int() | float():
            return f"the number {written or value}"
        case str():
            return f"'{_cut(value)}'"
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
    return f"a {type(value).__name__}"


def _remedy(kind: str, value: object, written: str | None) -> str:
    if kind == "string_type" and isinstance(value, Misread | bool | int | float) and written is not None:
        return f'; quote it: "{_cut(written)}"'
    if kind == "list_type" and isinstance(value, str) and written is not None:
        return f"; write [{_cut(written)}], or a line that begins with '- '"
    return ""


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"


def disagreements(sandbox: Mapping[str, object]) -> Iterator[tuple[Path, str]]:
    """Find what single fields cannot say: things that belong together, or exclude each other.

    Looks at plain data, so that it speaks up also where other things are wrong.
    """
    if ("base" in sandbox) == ("extends" in sandbox):
        yield (), "a sandbox has 'base' or 'extends', and only one of them"
    for number, seed in _mappings(sandbox.get("seed")):
        if "source" not in seed and "path" in seed and ("content" in seed) == ("base64" in seed):
            yield ("seed", number), "a file written here has 'content' or 'base64', and only one of them"
    build = sandbox.get("build")
    secrets = _mappings(build.get("secrets")) if isinstance(build, Mapping) else []
    names = [secret.get("id") for _, secret in secrets]
    for number, secret in secrets:
        if names[number] in names[:number]:
            yield ("build", "secrets", number, "id"), f"the secret '{names[number]}' is declared twice"
        if ("env" in secret) == ("file" in secret):
            yield ("build", "secrets", number), "a secret has 'env' or 'file', and only one of them"
    yield from _undeclared("bootstrap", sandbox.get("bootstrap"), [str(name) for name in names])
    yield from _undeclared("verify", sandbox.get("verify"), [str(name) for name in names])


def _undeclared(phase: str, steps: object, declared: list[str]) -> Iterator[tuple[Path, str]]:
    for number, step in _mappings(steps):
        wanted = step.get("secrets")
        for position, name in enumerate(wanted if isinstance(wanted, list) else []):
            if isinstance(name, str) and name not in declared:
                told = f"the secret '{name}' is not declared in build.secrets{nearest(name, declared)}"
                yield (phase, number, "secrets", position), told


def _mappings(value: object) -> list[tuple[int, Mapping[str, object]]]:
    items = value if isinstance(value, list) else []
    return [(number, item if isinstance(item, Mapping) else {}) for number, item in enumerate(items)]


def options_apart(data: Mapping[str, object], backends: Collection[str]) -> dict[str, object]:
    """Move what stands under the names of backends to where the schema expects it, in a sandbox and in its session."""
    apart = _apart(data, backends)
    session = apart.get("session")
    return {**apart, "session": _apart(session, backends)} if isinstance(session, Mapping) else apart


def _apart(data: Mapping[str, object], backends: Collection[str]) -> dict[str, object]:
    options = {key: value for key, value in data.items() if key in backends}
    rest = {key: value for key, value in data.items() if key not in backends}
    return {**rest, schema.BACKENDS: options} if options else rest
