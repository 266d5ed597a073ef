"""Fill in text: the strings of a definition, and recipes such as ``Dockerfile.j2``. The only importer of jinja2.

Pure: text and values in, text out. Jinja2 in its sandbox, every undefined name an error. A definition is parsed as YAML
before its strings come here, so that a value can never become structure. Called by ``definition`` and by backends.
"""

from __future__ import annotations

import difflib
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from prewarm.errors import DefinitionError

if TYPE_CHECKING:  # 20 ms that a definition without {{ … }} need not spend.
    import jinja2

Variables: TypeAlias = Mapping[str, "str | Mapping[str, str]"]

_MARKS: Final = ("{{", "{%")
_LARGEST: Final = 16 * 1024 * 1024  # Characters of one filled-in string.
_HIGHEST_POWER: Final = 64
# Shell's ${#name} must not begin a comment that swallows the rest of a step, so comments begin with what nobody writes.
_NO_COMMENT: Final = ("{#\x01", "\x01#}")
_RETURN: Final = "\x00r"
_PLAIN: Final = re.compile(r"(?<!\{)\{\{ *([A-Za-z_][A-Za-z0-9_]*)(?:\.([A-Za-z_][A-Za-z0-9_]*))? *\}\}")
_LITERALS: Final = frozenset({"true", "false", "none", "True", "False", "None", "not"})
_UNDEFINED: Final = re.compile(r"'([^']+)'")


class Renderer:
    """Renders the strings of definitions; keeps what it compiled, so one serves a whole project."""

    def __init__(self) -> None:
        self._environment: jinja2.Environment | None = None
        self._compiled: dict[str, jinja2.Template] = {}

    def render(self, text: str, variables: Variables) -> str:
        """Fill in ``{{ name }}``; text without ``{{`` and ``{%`` comes back as it is.

        Raises:
            DefinitionError: A name is not defined (the nearest one is named), or the text is no valid template.
        """
        if not any(mark in text for mark in _MARKS):
            return text
        plain = _fill_plainly(text, variables)
        return plain if plain is not None else self._render(text, variables)

    def _render(self, text: str, variables: Variables) -> str:
        import jinja2

        try:
            template = self._compiled.get(text)
            if template is None:
                if self._environment is None:
                    self._environment = _environment(_NO_COMMENT)
                source = text.replace("\r", _RETURN)  # Jinja would make every line end the same.
                template = self._compiled[text] = self._environment.from_string(source)
            return _joined(template.generate(variables)).replace(_RETURN, "\r")
        except RecursionError:
            raise DefinitionError("cannot be filled in: it is nested too deeply") from None
        except MemoryError:
            raise DefinitionError("cannot be filled in: it takes more memory than there is") from None
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, OverflowError, LookupError) as error:
            _refuse(error, variables)


def render_text(text: str, variables: Variables, where: str) -> str:
    """Fill in one string.

    Args:
        text: With ``{{ … }}``.
        variables: By name; a mapping as a value gives ``{{ matrix.python }}``.
        where: What the message of an error begins with: ``prewarm.yaml:12:5``.

    Raises:
        DefinitionError: As for ``Renderer.render``, with ``where`` in front.
    """
    try:
        return Renderer().render(text, variables)
    except DefinitionError as error:
        raise DefinitionError(f"{where}: {error.message}", hint=error.hint) from error


def render_recipe(text: str, values: Mapping[str, object], name: str) -> str:
    """Fill in a recipe: block tags take no line of their own; filters ``shell`` and ``json`` quote.

    Args:
        text: The recipe's source.
        values: By name; whatever the recipe knows how to use.
        name: What the message of an error begins with.

    Raises:
        DefinitionError: A name is not defined, or the recipe is no valid template.
    """
    import jinja2

    environment = _environment(("{#", "#}"), trim_blocks=True, lstrip_blocks=True)
    environment.filters["shell"] = shlex.quote
    environment.filters["json"] = json.dumps
    try:
        return environment.from_string(text).render(values)
    except jinja2.TemplateError as error:
        line = f":{error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
        raise DefinitionError(f"cannot render {name}{line}: {error.message or error}") from error


def _fill_plainly(text: str, variables: Variables) -> str | None:
    """Fill in text that holds nothing but names; ``None`` for all that is Jinja's, errors included.

    Compiling a template takes half a millisecond, and most strings of most definitions are of this kind.
    """
    filled: list[str] = []
    end = 0
    for found in _PLAIN.finditer(text):
        value = variables.get(found[1])
        if found[2] is not None:
            value = None if value is None or isinstance(value, str) else value.get(found[2])
        if not isinstance(value, str) or found[1] in _LITERALS:
            return None
        filled += text[end : found.start()], value
        end = found.end()
    rest = text[end:]
    is_all = not any(mark in part for part in (*filled[::2], rest) for mark in _MARKS)
    return "".join((*filled, rest)) if is_all else None


def _environment(
    comment: tuple[str, str], *, trim_blocks: bool = False, lstrip_blocks: bool = False
) -> jinja2.Environment:
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Bounded(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"*", "**"})

        def call_binop(self, context: jinja2.runtime.Context, operator: str, left: object, right: object) -> object:
            _bounded(operator, left, right)
            return super().call_binop(context, operator, left, right)

    begin, end = comment
    environment = Bounded(
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # Neither shell text nor recipes are HTML.
        comment_start_string=begin,
        comment_end_string=end,
        trim_blocks=trim_blocks,
        lstrip_blocks=lstrip_blocks,
        finalize=_only_plain_values,
    )
    # What is random, or prints the address of an object, would give another key every time.
    environment.globals = {"range": environment.globals["range"]}
    del environment.filters["random"]
    return environment


def _joined(parts: Iterable[str]) -> str:
    """Put the parts of a text together; ``OverflowError`` as soon as they are more than a definition can mean."""
    whole: list[str] = []
    size = 0
    for part in parts:
        whole.append(part)
        size += len(part)
        if size > _LARGEST:
            raise OverflowError(f"it is longer than {_LARGEST} characters")
    return "".join(whole)


def _bounded(operator: str, left: object, right: object) -> None:
    """Refuse to multiply what would fill the memory."""
    if operator == "**" and isinstance(right, int) and right > _HIGHEST_POWER:
        raise OverflowError(f"{right} is too high a power")
    for many, times in ((left, right), (right, left)):
        if isinstance(many, str | list | tuple) and isinstance(times, int) and len(many) * times > _LARGEST:
            raise OverflowError(f"it is longer than {_LARGEST} characters")


def _only_plain_values(value: object) -> object:
    import jinja2

    if isinstance(value, str | int | float | jinja2.Undefined):
        return value
    raise TypeError(f"a {type(value).__name__} is not text")


def _refuse(error: Exception, variables: Variables) -> NoReturn:
    import jinja2

    match error:
        case jinja2.TemplateSyntaxError():
            raise DefinitionError(
                f"not a valid template: {_sentence(error)}",
                hint="write {% raw %}…{% endraw %} around text that holds '{{' or '{%' and means it",
            ) from error
        case jinja2.UndefinedError():
            raise DefinitionError(_undefined(str(error), variables), hint=_known(variables)) from error
        case _:
            raise DefinitionError(f"cannot be filled in: {_sentence(error)}") from error


def _undefined(message: str, variables: Variables) -> str:
    """Name what is not defined and what is nearest to it, from Jinja's own words (its only account of the name)."""
    name = (_UNDEFINED.findall(message) or [message])[-1]
    inner = [key for value in variables.values() if not isinstance(value, str) for key in value]
    names: Iterable[str] = variables if message.endswith("is undefined") else inner
    nearest = difflib.get_close_matches(name, list(names), n=1)
    return f"'{name}' is not defined{f'; did you mean {nearest[0]!r}?' if nearest else ''}"


def _known(variables: Variables) -> str:
    names = [
        *(name for name, value in variables.items() if isinstance(value, str)),
        *(f"{name}.{key}" for name, value in variables.items() if not isinstance(value, str) for key in value),
    ]
    known = f"defined are: {', '.join(sorted(names))}" if names else "nothing is defined"
    return f"{known}; add it to 'vars', or say --set NAME=VALUE"


def _sentence(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text[:1].lower() + text[1:].rstrip(".")
