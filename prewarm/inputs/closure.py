"""The source closure of a Python hook: its module and every module of the project that it imports, transitively.

Found by reading, not by importing: every ``import`` statement counts, also one in a function, under ``if TYPE_CHECKING`` or
in a ``try``. Project modules are those found from the project directory, packages' ``__init__`` included; the standard
library is never shadowed. What is imported by a computed name cannot be seen, and ``hooks`` does not let it be found either;
data files that a hook reads belong under ``inputs``. Called by ``resolve``; the bytes read here are the bytes that run.
"""

from __future__ import annotations

import ast
import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from prewarm.definition.problems import nearest
from prewarm.errors import DefinitionError, UnkeyableInputError
from prewarm.key.values import EntryKind, FileFact

_SOURCE_MODE: Final = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One module of the project, as read.

    Attributes:
        name: Dotted, from the project directory.
        path: Absolute; of ``__init__.py`` for a package; the directory for a package without one.
        relative: The same, from the project directory, with ``/``.
        source: Its bytes; ``None`` for a package without ``__init__.py``.
        is_package: Whether modules can lie below it.
    """

    name: str
    path: Path
    relative: str
    source: bytes | None = field(repr=False)
    is_package: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Closure:
    """A hook's modules.

    Attributes:
        entry: Name of the hook's own module.
        modules: By name.
    """

    entry: str
    modules: dict[str, Module]

    def facts(self) -> tuple[FileFact, ...]:
        """Give what counts: the modules' paths and digests, by path."""
        found = [
            FileFact(
                os.fsencode(module.relative),
                EntryKind.FILE,
                _SOURCE_MODE,
                hashlib.sha256(module.source).hexdigest(),
                b"",
            )
            for module in self.modules.values()
            if module.source is not None
        ]
        return tuple(sorted(found))

    def digest(self) -> str:
        """Give one digest for all of it."""
        digest = hashlib.sha256()
        for fact in self.facts():
            digest.update(b"%d:%b%b" % (len(fact.path), fact.path, fact.sha256.encode("ascii")))
        return digest.hexdigest()


def find_closure(project: Path, module: str) -> Closure:
    """Read a hook's module and what it imports of the project.

    Raises:
        UnkeyableInputError: A module cannot be read or is not Python.
        DefinitionError: The hook's module is not there.
    """
    modules: dict[str, Module] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        for ancestor in _with_parents(name):
            if ancestor not in modules:
                found = _find(project, ancestor)
                if found is None:
                    break
                modules[ancestor] = found
                waiting += _imports(found)
    if module not in modules or modules[module].source is None:
        raise DefinitionError(
            f"there is no module '{module}' in the project: looked for {module.replace('.', '/')}.py",
            hint="modules of hooks are found from the directory of prewarm.yaml, and do not share the standard library's names",
        )
    return Closure(entry=module, modules={name: found for name, found in modules.items() if _counts(found, modules)})


def _counts(module: Module, modules: dict[str, Module]) -> bool:
    """Leave out directories that only share a name with an installed package: nothing of the project lies in them."""
    below = f"{module.name}."
    return module.source is not None or any(
        name.startswith(below) and other.source is not None for name, other in modules.items()
    )


def check_function(module: Module, function: str) -> None:
    """Refuse a function that the module does not define, before anything runs.

    Raises:
        DefinitionError: It is not there, or is a coroutine function, whose call would do nothing.
    """
    tree = _parse(module)
    names: dict[str, ast.AST] = {}
    for statement, bound in _bindings(tree.body):
        names.update(dict.fromkeys(bound, statement))
    if isinstance(names.get(function), ast.AsyncFunctionDef):
        raise DefinitionError(f"{module.relative}: hook '{function}' is 'async def'; a hook is a plain function")
    if function not in names and "*" not in names and "__getattr__" not in names:
        raise DefinitionError(f"{module.relative} has no function '{function}'{nearest(function, names)}")


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def _find(project: Path, name: str) -> Module | None:
    if name.partition(".")[0] in sys.stdlib_module_names:
        return None
    relative = name.replace(".", "/")
    for candidate, is_package in ((f"{relative}/__init__.py", True), (f"{relative}.py", False)):
        path = project / candidate
        try:
            source = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise UnkeyableInputError(f"cannot read the hook's module {candidate}: {error.strerror}") from error
        return Module(name=name, path=path, relative=candidate, source=source, is_package=is_package)
    if (project / relative).is_dir():
        return Module(name=name, path=project / relative, relative=relative, source=None, is_package=True)
    return None


def _imports(module: Module) -> Iterator[str]:
    """Give every name that an import statement of a module may mean; most are no modules of the project."""
    if module.source is None:
        return
    package = module.name if module.is_package else module.name.rpartition(".")[0]
    for node in ast.walk(_parse(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, package)
            if origin is None:
                continue
            if node.module is not None or node.level:
                yield from (origin,) if origin else ()
            prefix = f"{origin}." if origin else ""
            yield from (f"{prefix}{alias.name}" for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Assign) and module.is_package:
            yield from (f"{module.name}.{name}" for name in _listed(node))


def _origin(node: ast.ImportFrom, package: str) -> str | None:
    """Give the module that ``from … import`` names; ``None`` where its dots lead out of the project."""
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    if node.level > len(parts):
        return None
    base = ".".join(parts[: len(parts) - node.level + 1])
    return f"{base}.{node.module}" if node.module else base


def _listed(node: ast.Assign) -> Iterator[str]:
    """Give the names of a literal ``__all__``: ``from package import *`` imports modules listed there."""
    if any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets):
        for item in ast.walk(node.value):
            if isinstance(item, ast.Constant) and isinstance(item.value, str) and item.value.isidentifier():
                yield item.value


def _parse(module: Module) -> ast.Module:
    try:
        return ast.parse(module.source or b"", filename=module.relative)
    except (SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        raise UnkeyableInputError(f"{module.relative}{line}: not valid Python: {said}") from error


def _bindings(body: list[ast.stmt]) -> Iterator[tuple[ast.AST, list[str]]]:
    """Give what the statements of a module bind, also those under ``if``, ``try`` and ``with``."""
    for statement in body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield statement, [statement.name]
            case ast.Import():
                yield statement, [alias.asname or alias.name.partition(".")[0] for alias in statement.names]
            case ast.ImportFrom():
                yield statement, [alias.asname or alias.name for alias in statement.names]
            case _:
                stored = (n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
                yield statement, list(stored)
                for name in ("body", "orelse", "finalbody"):
                    inner = getattr(statement, name, [])
                    yield from _bindings(inner)
                for handler in getattr(statement, "handlers", []):
                    yield from _bindings(handler.body)
