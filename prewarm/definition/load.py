"""From ``prewarm.yaml`` to a ``Project``: read, parse, fill in, check, link; every problem in one run.

Called by the command line and by whoever loads definitions from a file. The file is read once; nothing else of the disk is
looked at here (``inputs`` does that), so a definition that loads may still name seeds that are not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from prewarm.definition import assemble, checking, expand, fields, schema
from prewarm.definition.document import Located, parse
from prewarm.definition.link import lineage_problems, link
from prewarm.definition.model import Definition, Origin, Project
from prewarm.definition.problems import Problems
from prewarm.errors import DefinitionError
from prewarm.render import Renderer, Variables

FILE_NAMES: Final = ("prewarm.yaml", "prewarm.yml")
BUILT_IN_BACKENDS: Final = frozenset({"docker", "local", "memory"})
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


def find_definition_file(start: Path) -> Path:
    """Find ``prewarm.yaml`` (or ``.yml``) in a directory or the nearest one above it.

    Raises:
        DefinitionError: There is none, or there are both in one directory.
    """
    for directory in (start.absolute(), *start.absolute().parents):
        found = [directory / name for name in FILE_NAMES if (directory / name).is_file()]
        if len(found) > 1:
            raise DefinitionError(
                f"there are both prewarm.yaml and prewarm.yml in {directory}", hint="remove one of them"
            )
        if found:
            return found[0]
    raise DefinitionError(
        f"no prewarm.yaml in {start.absolute()} or above it", hint="run 'prewarm init', or name a file with --file"
    )


def load_project(
    path: Path, *, variables: Mapping[str, str] = _NOTHING, environment: Mapping[str, str] = _NOTHING
) -> Project:
    """Load a definition file.

    Args:
        path: Of the file; its directory is the project directory.
        variables: Given by hand (``--set``); they win.
        environment: Where ``PREWARM_VAR_NAME`` is looked for; it wins over the file's ``vars``.

    Raises:
        DefinitionError: Something is wrong; its ``problems`` are all that was found, each with file, line and column.
    """
    return _Loader(path, variables, environment).load()


class _Loader:
    """The story of one file."""

    def __init__(self, path: Path, given: Mapping[str, str], environment: Mapping[str, str]) -> None:
        self._path = path
        self._given = given
        self._environment = environment
        self._problems = Problems(str(path))
        self._renderer = Renderer()
        self._places: dict[str, _Places] = {}
        self._extends: dict[str, str | None] = {}

    def load(self) -> Project:
        root = parse(_read(self._path), str(self._path), self._problems)
        if root is None:
            self._problems.raise_if_any()
            raise AssertionError("what cannot be parsed has a problem")
        top = _Places(self._path, root, self._problems)
        if not isinstance(root.value, dict):
            top.problem((), "expected a mapping with 'namespace' and 'sandboxes'")
            self._problems.raise_if_any()
        header = self._header(root, top)
        sandboxes = self._sandboxes(root, top)
        used = frozenset().union(*(expand.used_names(sandbox) for sandbox in sandboxes.values()))
        names = expand.variables(
            _declared(root), used=used, given=self._given, environment=self._environment, tell=top.problem
        )
        definitions = [
            definition for name, sandbox in sandboxes.items() for definition in self._expand(name, sandbox, names)
        ]
        for name, message in lineage_problems(self._extends):
            self._places[name].problem(("extends",), message)
        linked = link(definitions, lambda name, field, message: self._places[name].problem((field,), message))
        self._problems.raise_if_any()
        if header is None:
            raise AssertionError("a head that is refused has a problem")
        return Project(namespace=header.namespace, directory=self._path.absolute().parent, definitions=linked)

    def _header(self, root: Located, top: _Places) -> schema.HeaderShape | None:
        data: dict[str, object] = {}
        for key, item in root.entries.items():
            if key != "sandboxes" and not key.startswith("x-"):
                data[key] = _plain(item)
        for name, item in root.at(("vars",)).entries.items() if "vars" in root.entries else ():
            if isinstance(item.value, str) and "{{" in item.value:
                top.problem(("vars", name), "a variable is plain text and cannot hold {{ … }}")
            if name == "matrix":
                top.problem(("vars", name), "'matrix' is taken: it holds the values of a sandbox's matrix", at_key=True)
        return checking.check(schema.HeaderShape, data, top, more_keys=("sandboxes",))

    def _sandboxes(self, root: Located, top: _Places) -> dict[str, Located]:
        if "sandboxes" not in root.entries:
            top.problem((), "'sandboxes' is missing")
            return {}
        located = root.entries["sandboxes"]
        if not isinstance(located.value, dict) or not located.value:
            top.problem(("sandboxes",), "expected a mapping of names to sandboxes, with at least one")
            return {}
        found: dict[str, Located] = {}
        for name, sandbox in located.value.items():
            if isinstance(sandbox.value, dict):
                found[name] = sandbox
            else:
                top.problem(("sandboxes", name), f"expected a mapping that says what '{name}' is")
        return found

    def _expand(self, name: str, sandbox: Located, names: Mapping[str, str]) -> list[Definition]:
        places = _Places(self._path, sandbox, self._problems)
        definitions = []
        for combination in expand.combinations(sandbox, places.problem):
            definition = self._define(
                name + combination.suffix, sandbox, {**names, "matrix": combination.values}, places
            )
            definitions += [definition] if definition is not None else []
        return definitions

    def _define(self, name: str, sandbox: Located, names: Variables, places: _Places) -> Definition | None:
        try:
            fields.name(name)
        except ValueError as error:
            places.problem((), f"'{name}' cannot be a sandbox's name: {error}", at_key=True)
        if name in self._places:
            places.problem((), f"there are two sandboxes named '{name}'", at_key=True)
            return None
        self._places[name] = places
        shape = self._check(name, sandbox, names, places)
        if shape is None:
            return None
        line, column = sandbox.key
        return assemble.definition(name, shape, Origin(file=self._path.absolute(), line=line, column=column))

    def _check(self, name: str, sandbox: Located, names: Variables, places: _Places) -> schema.SandboxShape | None:
        places.unclear = set()
        filler = expand.Filler(self._renderer, places.problem)
        data = filler.mapping(sandbox, names, without=frozenset({"matrix"}))
        places.unclear = filler.failed
        backends = BUILT_IN_BACKENDS | {str(data.get("backend", "auto"))}
        more_keys = ("matrix", *sorted(backends - {"auto"}))
        shape = checking.check(schema.SandboxShape, checking.options_apart(data, backends), places, more_keys=more_keys)
        found = list(checking.disagreements(data))
        for path, message in found:
            places.problem(path, message)
        extends = data.get("extends")
        self._extends[name] = extends if isinstance(extends, str) and ("extends",) not in filler.failed else None
        return shape if not found and not filler.failed else None


class _Places:
    """Where in the file the parts of one mapping stand; implements ``checking.Places``."""

    def __init__(self, file: Path, root: Located, problems: Problems) -> None:
        self._file = file
        self._root = root
        self._problems = problems
        self.unclear: set[expand.Path] = set()  # What could not be filled in: one problem there is enough.

    def problem(self, path: checking.Path, message: str, *, at_key: bool = False) -> None:
        """Keep a problem at a value or at its key, unless what stands there has one already."""
        if any(path[:length] in self.unclear for length in range(1, len(path) + 1)):
            return
        found = self._root.at(path)
        line, column = found.key if at_key else (found.line, found.column)
        self._problems.add(f"{self._file}:{line}:{column}", message, line=line, column=column)

    def written(self, path: checking.Path) -> str | None:
        """Give the text of a scalar as it stands in the file."""
        return self._root.at(path).text or None


def _read(path: Path) -> str:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DefinitionError(
            f"cannot read {path}: {error.strerror}", hint="run 'prewarm init' to begin one"
        ) from error
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode("utf-8", "replace").split("\n")
        raise DefinitionError(
            f"{path}:{len(before)}:{len(before[-1]) + 1}: not UTF-8: {error.reason} at byte {error.start}",
            hint="save the file as UTF-8",
        ) from error


def _declared(root: Located) -> dict[str, str | None]:
    """Give the variables as they stand in the file; one of a wrong type is a problem already, so its text will do."""
    variables = root.entries.get("vars")
    entries = variables.entries if variables is not None else {}
    return {name: None if item.value is None else item.text for name, item in entries.items()}


def _plain(located: Located) -> object:
    match located.value:
        case dict() as entries:
            return {key: _plain(item) for key, item in entries.items()}
        case list() as items:
            return [_plain(item) for item in items]
        case scalar:
            return scalar
