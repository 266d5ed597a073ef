"""The memory backend's shell: sequences (``;`` newline ``&&`` ``||``), redirection, quotes, variables; no more.

Everything else of a shell (pipes, background, substitution, globs, loops, conditions, functions) is refused by name with exit
code 2: a test that needs it wants a real backend.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from prewarm.backends.memory.calls import Call, Sink

EXIT_SYNTAX: Final = 2
_OPERATORS: Final = ("&&", "||", ">>", "2>&1", "1>&2", ">&2", "2>>", "2>", "1>", ">", "<", ";", "\n")
_REFUSED: Final = {
    "|": "pipes",
    "&": "background commands",
    "`": "command substitution",
    "(": "subshells",
    ")": "subshells",
}
_KEYWORDS: Final = frozenset({"if", "for", "while", "until", "case", "function", "trap", "eval", "{", "!", "[[", "set"})
_VARIABLE: Final = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\}|([?$0-9]))")
_ASSIGNMENT: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)


class ShellSyntaxError(ValueError):
    """The text uses something that this shell does not do."""


class _Exit(Exception):  # noqa: N818 - not an error.
    def __init__(self, code: int) -> None:
        self.code = code


@dataclass(frozen=True, slots=True)
class _Operator:
    text: str


@dataclass(frozen=True, slots=True)
class _Word:
    """Pieces of one word: text, and whether variables in it are replaced."""

    pieces: tuple[tuple[str, bool], ...]


def run_text(
    call: Call, text: str, execute: Callable[[Call], int], *, stop_at_error: bool, arguments: tuple[str, ...] = ()
) -> int:
    """Run shell text and give its exit code.

    Args:
        call: Of the shell itself; its environment and working directory are where the text starts.
        text: What to run.
        execute: Runs one command.
        stop_at_error: As ``-e``: the first failure outside ``||`` ends it.
        arguments: ``$0`` and what follows.
    """
    try:
        return _Shell(call, execute, stop_at_error=stop_at_error, arguments=arguments).run(list(_tokens(text)))
    except ShellSyntaxError as error:
        call.complain(f"sh: {error}")
        return EXIT_SYNTAX
    except _Exit as ended:
        return ended.code


class _Shell:
    """Variables, working directory and last exit code while a text runs."""

    def __init__(
        self, call: Call, execute: Callable[[Call], int], *, stop_at_error: bool, arguments: tuple[str, ...]
    ) -> None:
        self._arguments = arguments
        self._call = call
        self._execute = execute
        self._stop_at_error = stop_at_error
        self._env = dict(call.env)
        self._cwd = call.cwd
        self._last = 0

    def run(self, tokens: list[_Operator | _Word]) -> int:
        command: list[_Operator | _Word] = []
        wanted = True
        for token in [*tokens, _Operator(";")]:
            if isinstance(token, _Operator) and token.text in {";", "\n", "&&", "||"}:
                if command and wanted:
                    self._last = self._simple(command)
                ends = token.text in {";", "\n"}
                if ends and command and wanted and self._last != 0 and self._stop_at_error:
                    return self._last
                wanted = ends or (self._last == 0) == (token.text == "&&")
                command = []
            else:
                command.append(token)
        return self._last

    def _simple(self, tokens: list[_Operator | _Word]) -> int:
        words, targets = self._parts(tokens)
        extra: dict[str, str] = {}
        while words and (match := _ASSIGNMENT.fullmatch(words[0])):
            extra[match[1]] = match[2]
            words.pop(0)
        if not words:
            self._env.update(extra)
            return 0
        if words[0] in _KEYWORDS:
            raise ShellSyntaxError(f"the memory backend's shell does not do '{words[0]}'")
        call = self._redirected(tuple(words), {**self._env, **extra}, targets)
        match words[0]:
            case "exit":
                raise _Exit(int(words[1]) & 0xFF if len(words) > 1 else self._last)
            case "cd":
                self._cwd = call.path(words[1] if len(words) > 1 else self._env.get("HOME", "/"))
                return 0
            case "export":
                self._env.update({name: value for name, _, value in (word.partition("=") for word in words[1:])})
                return 0
            case _:
                return self._execute(call)

    def _parts(self, tokens: list[_Operator | _Word]) -> tuple[list[str], dict[str, str]]:
        """Give the words of a command, and its redirections by operator."""
        words: list[str] = []
        targets: dict[str, str] = {}
        waiting = ""
        for token in tokens:
            if isinstance(token, _Operator):
                if "&" in token.text:
                    targets[token.text] = ""
                else:
                    waiting = token.text
            elif waiting:
                targets[waiting.removeprefix("1")] = self._expand(token)
                waiting = ""
            else:
                words.append(self._expand(token))
        if waiting:
            raise ShellSyntaxError(f"'{waiting}' without a file")
        return words, targets

    def _redirected(self, argv: tuple[str, ...], env: Mapping[str, str], targets: Mapping[str, str]) -> Call:
        call = replace(self._call, argv=argv, env=env, cwd=self._cwd)
        out: Sink = call.out
        err: Sink = call.err
        for operator, name in targets.items():
            if operator in {">", ">>"}:
                out = self._file(call, name, append=operator == ">>")
            elif operator in {"2>", "2>>"}:
                err = self._file(call, name, append=operator == "2>>")
        if targets.keys() & {">&2", "1>&2"}:
            out = err
        if "2>&1" in targets:
            err = out
        call = replace(call, out=out, err=err)
        if "<" in targets:
            data = call.files.read(call.path(targets["<"]))
            call = replace(call, read=lambda: data)
        return call

    @staticmethod
    def _file(call: Call, name: str, *, append: bool) -> Sink:
        path = call.path(name)
        if path == "/dev/null":
            return lambda _: None
        call.files.write(path, b"", append=append)
        if not append:
            call.files.write(path, b"")
        return lambda data: call.files.write(path, data, append=True)

    def _expand(self, word: _Word) -> str:
        return "".join(_VARIABLE.sub(self._value, text) if replaced else text for text, replaced in word.pieces)

    def _value(self, match: re.Match[str]) -> str:
        name = match[1] or match[2] or match[3]
        if name == "?":
            return str(self._last)
        if name.isdigit():
            return self._arguments[int(name)] if int(name) < len(self._arguments) else ""
        return self._env.get(name, "")


def _tokens(text: str) -> Iterator[_Operator | _Word]:
    at = 0
    while at < len(text):
        if text[at] in " \t":
            at += 1
        elif text[at] == "#":
            at = text.find("\n", at) if "\n" in text[at:] else len(text)
        elif text.startswith("\\\n", at):
            at += 2
        elif operator := next((one for one in _OPERATORS if text.startswith(one, at)), None):
            yield _Operator(operator)
            at += len(operator)
        elif text[at] in _REFUSED:
            raise ShellSyntaxError(f"the memory backend's shell has no {_REFUSED[text[at]]}")
        else:
            word, at = _word(text, at)
            yield word


def _word(text: str, at: int) -> tuple[_Word, int]:
    pieces: list[tuple[str, bool]] = []
    while at < len(text) and text[at] not in " \t\n;&|<>()":
        if text[at] == "'":
            end = text.find("'", at + 1)
            if end < 0:
                raise ShellSyntaxError("a quote is not closed")
            pieces.append((text[at + 1 : end], False))
            at = end + 1
        elif text[at] == '"':
            at = _double(text, at + 1, pieces)
        elif text[at] == "\\":
            pieces.append((text[at + 1 : at + 2], False))
            at += 2
        elif text[at] == "`" or text.startswith("$(", at):
            raise ShellSyntaxError("the memory backend's shell has no command substitution")
        elif text[at] in "*?":
            raise ShellSyntaxError("the memory backend's shell has no globs")
        else:
            end = at + 1
            while end < len(text) and text[end] not in " \t\n;&|<>()'\"\\`*?" and not text.startswith("$(", end):
                end += 1
            if text[end : end + 1] == "?" and text[end - 1] == "$":
                end += 1
            pieces.append((text[at:end], True))
            at = end
    return _Word(tuple(pieces)), at


def _double(text: str, at: int, pieces: list[tuple[str, bool]]) -> int:
    while at < len(text) and text[at] != '"':
        if text[at] == "\\" and text[at + 1 : at + 2] in {'"', "\\", "$", "`"}:
            pieces.append((text[at + 1], False))
            at += 2
            continue
        if text[at] == "`" or text.startswith("$(", at):
            raise ShellSyntaxError("the memory backend's shell has no command substitution")
        end = at + 1
        while end < len(text) and text[end] not in '"\\`' and not text.startswith("$(", end):
            end += 1
        pieces.append((text[at:end], True))
        at = end
    if at >= len(text):
        raise ShellSyntaxError("a quote is not closed")
    pieces.append(("", False))
    return at + 1
