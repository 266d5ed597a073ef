"""The commands that the memory backend has by itself, and how a name is looked up."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from typing import Final

from prewarm.backends.hosting import FileKind
from prewarm.backends.memory.calls import Call, CommandFunction
from prewarm.backends.memory.shell import run_text
from prewarm.errors import SessionFileError, SessionFileNotFoundError
from prewarm.process import EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND

EXIT_USAGE: Final = 2


def execute_with(commands: Mapping[str, CommandFunction]) -> Callable[[Call], int]:
    """Give what runs a call: registered commands first, then the built-in ones, then scripts of the session.

    A file operation that fails is the command's failure: a line on standard error and exit code 1.
    """

    def execute(call: Call) -> int:
        name = call.argv[0]
        function = commands.get(name) or commands.get(posixpath.basename(name))
        if function is None and (not name.startswith("/") or posixpath.dirname(name) in _PROGRAM_DIRECTORIES):
            function = BUILTINS.get(posixpath.basename(name))
        try:
            if function is not None:
                return function(call)
            if posixpath.basename(name) in {"sh", "bash"}:
                return _shell(call, execute)
            if "/" in name:
                return _script(call, execute)
        except SessionFileError as error:
            call.complain(f"{name}: {error.message}")
            return 1
        call.complain(f"{name}: not found")
        return EXIT_NOT_FOUND

    return execute


_PROGRAM_DIRECTORIES: Final = frozenset({"/bin", "/usr/bin", "/sbin", "/usr/sbin", "/usr/local/bin"})


def _shell(call: Call, execute: Callable[[Call], int]) -> int:
    arguments = list(call.argv[1:])
    stop_at_error = False
    while arguments and arguments[0].startswith("-") and arguments[0] != "-c":
        flag = arguments.pop(0)
        if flag not in {"-e", "-ec"}:
            call.complain(f"sh: the memory backend's shell has no option {flag}")
            return EXIT_USAGE
        stop_at_error = True
        if flag == "-ec":
            arguments.insert(0, "-c")
    if arguments[:1] == ["-c"]:
        text = arguments[1] if len(arguments) > 1 else ""
        arguments = arguments[2:]
    elif arguments:
        text = call.files.read(call.path(arguments[0])).decode("utf-8", "surrogateescape")
    else:
        text = call.read().decode("utf-8", "surrogateescape")
    return run_text(call, text, execute, stop_at_error=stop_at_error, arguments=tuple(arguments))


def _script(call: Call, execute: Callable[[Call], int]) -> int:
    path = call.path(call.argv[0])
    try:
        info = call.files.stat(path)
    except SessionFileNotFoundError:
        call.complain(f"{call.argv[0]}: not found")
        return EXIT_NOT_FOUND
    if info.kind is not FileKind.FILE or not info.mode & 0o111:
        call.complain(f"{call.argv[0]}: permission denied")
        return EXIT_NOT_EXECUTABLE
    first = call.files.read(path).split(b"\n", 1)[0].decode("utf-8", "surrogateescape")
    interpreter = first[2:].split(None, 1) if first.startswith("#!") else ["/bin/sh"]
    return execute(call.with_argv((*interpreter, path, *call.argv[1:])))


def _echo(call: Call) -> int:
    words = call.argv[1:]
    newline = words[:1] != ("-n",)
    call.out((" ".join(words if newline else words[1:]) + ("\n" if newline else "")).encode("utf-8", "surrogateescape"))
    return 0


def _cat(call: Call) -> int:
    for name in call.argv[1:] or ("-",):
        call.out(call.read() if name == "-" else call.files.read(call.path(name)))
    return 0


def _mkdir(call: Call) -> int:
    for name in _operands(call):
        call.files.mkdir(call.path(name))
    return 0


def _rm(call: Call) -> int:
    flags = "".join(word for word in call.argv[1:] if word.startswith("-"))
    for name in _operands(call):
        try:
            call.files.remove(call.path(name), recursive="r" in flags)
        except SessionFileNotFoundError:
            if "f" not in flags:
                raise
    return 0


def _mv(call: Call) -> int:
    source, target = _operands(call)
    call.files.rename(call.path(source), call.path(target))
    return 0


def _ln(call: Call) -> int:
    if "-s" not in call.argv:
        call.complain("ln: the memory backend makes symbolic links only")
        return EXIT_USAGE
    target, path = _operands(call)
    call.files.symlink(target, call.path(path))
    return 0


def _chmod(call: Call) -> int:
    mode, *names = _operands(call)
    for name in names:
        path = call.path(name)
        call.files.chmod(path, call.files.stat(path).mode | 0o111 if mode == "+x" else int(mode, 8))
    return 0


def _test(call: Call) -> int:
    flag, name = call.argv[1:3]
    try:
        info = call.files.stat(call.path(name))
    except SessionFileNotFoundError:
        return 1
    kinds = {"-f": FileKind.FILE, "-d": FileKind.DIRECTORY, "-L": FileKind.SYMLINK}
    return 0 if flag == "-e" or kinds.get(flag) is info.kind or (flag == "-x" and info.mode & 0o111) else 1


def _pwd(call: Call) -> int:
    call.say(call.cwd)
    return 0


def _env(call: Call) -> int:
    for name, value in sorted(call.env.items()):
        call.say(f"{name}={value}")
    return 0


def _id(call: Call) -> int:
    call.say(call.user)
    return 0


def _sleep(call: Call) -> int:
    call.sleep(float(call.argv[1]))
    return 0


def _operands(call: Call) -> list[str]:
    return [word for word in call.argv[1:] if not word.startswith("-")]


BUILTINS: Final[Mapping[str, CommandFunction]] = {
    "true": lambda _: 0,
    ":": lambda _: 0,
    "false": lambda _: 1,
    "echo": _echo,
    "cat": _cat,
    "mkdir": _mkdir,
    "rm": _rm,
    "mv": _mv,
    "ln": _ln,
    "chmod": _chmod,
    "test": _test,
    "pwd": _pwd,
    "env": _env,
    "whoami": _id,
    "sleep": _sleep,
}
