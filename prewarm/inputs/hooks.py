"""Run a Python hook: its project's modules, freshly made from the bytes that were keyed, and nothing else of the project.

Modules are made by a small importer of our own instead of ``sys.path`` and ``sys.modules``: another project's ``hooks``
cannot be taken for this one, two hooks can run at once in threads, no ``__pycache__`` appears in a seed tree, and a module
that is not in the key cannot be imported. They do stand in ``sys.modules`` while the hook runs, under a name that nobody
else has, because dataclasses and pickle look there. Everything that is not of the project is imported as usual.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import importlib.util
import inspect
import itertools
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import CodeType, ModuleType
from typing import Final, Self

from prewarm.errors import InterruptedBuildError, PrewarmError, StepFailedError
from prewarm.inputs.closure import Closure, Module
from prewarm.request import BootstrapSession

_NUMBERS: Final = itertools.count(1)


def run_hook(closure: Closure, function: str, sandbox: BootstrapSession, *, step: int, text: str) -> None:
    """Call a hook with the sandbox.

    Args:
        closure: Its modules.
        function: Its name in the closure's entry module.
        sandbox: What it works on.
        step: Number of the step, for failures.
        text: The step's text, for failures.

    Raises:
        StepFailedError: It raised something, or is no plain function; says its own file and line.
        InterruptedBuildError: The run was stopped while it ran.
    """
    with _Modules(closure) as modules:
        try:
            hook = getattr(modules.load(closure.entry), function)
            result = hook(sandbox)
        except InterruptedBuildError:
            raise
        except (Exception, SystemExit) as error:
            raise _failure(error, closure, step=step, text=text) from error
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise _failed("gave a coroutine that nobody waits for; a hook is a plain function", step=step, text=text)


class _Source(importlib.machinery.SourceFileLoader):
    """Makes a module from bytes in memory; neither reads nor writes ``__pycache__``."""

    def __init__(self, name: str, module: Module) -> None:
        super().__init__(name, str(module.path))
        self._source = module.source or b""

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = compile(self._source, self.get_filename(fullname), "exec", dont_inherit=True)
        return code

    def get_source(self, fullname: str) -> str:  # noqa: ARG002 - the loader's protocol.
        return importlib.util.decode_source(self._source)


class _Modules:
    """The modules of one call; gone from ``sys.modules`` when it is over."""

    def __init__(self, closure: Closure) -> None:
        self._closure = closure
        self._prefix = f"prewarm_hook_{next(_NUMBERS)}"
        self._lock = threading.RLock()  # Guards the making of modules: a hook may import in threads of its own.

    def __enter__(self) -> Self:
        root = ModuleType(self._prefix)
        root.__path__ = []
        sys.modules[self._prefix] = root
        return self

    def __exit__(self, *exc_info: object) -> None:
        for name in [name for name in list(sys.modules) if f"{name}.".startswith(f"{self._prefix}.")]:
            sys.modules.pop(name, None)

    def load(self, name: str) -> ModuleType:
        """Give a project module, made if it is new; its packages first."""
        full = f"{self._prefix}.{name}"
        with self._lock:
            made = sys.modules.get(full)
            if made is None:
                package, _, last = name.rpartition(".")
                parent = self.load(package) if package else sys.modules[self._prefix]
                made = sys.modules.get(full) or self._make(full, self._closure.modules[name])
                setattr(parent, last, made)
        return made

    def _make(self, full: str, module: Module) -> ModuleType:
        directory = module.path.parent if module.source is not None else module.path
        spec = importlib.util.spec_from_file_location(
            full,
            module.path,
            loader=_Source(full, module),
            submodule_search_locations=[str(directory)] if module.is_package else None,
        )
        if spec is None or spec.loader is None:
            raise ImportError(f"cannot make module '{module.name}'", name=module.name)
        made = importlib.util.module_from_spec(spec)
        vars(made)["__builtins__"] = {**vars(builtins), "__import__": self._import, "print": _print}
        sys.modules[full] = made
        try:
            spec.loader.exec_module(made)
        except BaseException:
            sys.modules.pop(full, None)
            raise
        return made

    def _import(
        self,
        name: str,
        names: Mapping[str, object] | None = None,
        local: Mapping[str, object] | None = None,
        wanted: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Stand in for ``builtins.__import__`` in the project's modules."""
        absolute = self._absolute(name, names or {}, level)
        if level == 0 and not self._is_ours(absolute):
            return builtins.__import__(name, names, local, wanted or (), level)
        if absolute not in self._closure.modules:
            raise ModuleNotFoundError(f"No module named '{absolute}'", name=absolute)
        module = self.load(absolute)
        if not wanted:
            return module if level else self.load(absolute.partition(".")[0])
        for item in self._listed(module, wanted):
            if not hasattr(module, item) and f"{absolute}.{item}" in self._closure.modules:
                self.load(f"{absolute}.{item}")
        return module

    def _absolute(self, name: str, names: Mapping[str, object], level: int) -> str:
        if level == 0:
            return name
        package = str(names.get("__package__") or "").removeprefix(self._prefix).lstrip(".")
        parts = package.split(".") if package else []
        if level > len(parts):
            raise ImportError("attempted relative import beyond top-level package", name=name)
        return ".".join([*parts[: len(parts) - level + 1], *([name] if name else [])])

    def _is_ours(self, name: str) -> bool:
        """Tell whether a name is the project's: found there, or below a package with ``__init__.py`` that is."""
        top = self._closure.modules.get(name.partition(".")[0])
        return name in self._closure.modules or (top is not None and top.source is not None)

    def _listed(self, module: ModuleType, wanted: Sequence[str]) -> Iterator[str]:
        for item in wanted:
            if item == "*":
                yield from getattr(module, "__all__", ())
            else:
                yield item


def _print(*values: object, **how: object) -> None:
    """Print to standard error: standard output is for what a command answers."""
    how.setdefault("file", sys.stderr)
    _PRINT(*values, **how)


_PRINT: Final[Callable[..., None]] = builtins.print


def _failure(error: BaseException, closure: Closure, *, step: int, text: str) -> StepFailedError:
    where = _place(error, closure)
    if isinstance(error, StepFailedError):
        code, tail, hint = error.command_exit_code, error.tail, error.hint
        return _failed(f"failed at {where}: {error.message}", step=step, text=text, code=code, tail=tail, hint=hint)
    said = str(error).strip() or "no message"
    hint = error.hint if isinstance(error, PrewarmError) else None
    tail = tuple(line.rstrip("\n") for line in traceback.format_exception(error, limit=-8))
    lines = tuple(line for part in tail for line in part.splitlines())
    return _failed(f"raised {type(error).__name__} at {where}: {said}", step=step, text=text, tail=lines, hint=hint)


def _failed(
    reason: str, *, step: int, text: str, code: int | None = None, tail: tuple[str, ...] = (), hint: str | None = None
) -> StepFailedError:
    return StepFailedError(
        f"hook '{text.removeprefix('python ')}' {reason}",
        step=step,
        text=text,
        reason=reason,
        command_exit_code=code,
        tail=tail,
        hint=hint,
    )


def _place(error: BaseException, closure: Closure) -> str:
    """Give the hook's own file and line: of all frames in its modules, the innermost."""
    paths = {str(module.path): module.relative for module in closure.modules.values()}
    place = closure.modules[closure.entry].relative
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename in paths:
            place = f"{paths[frame.filename]}:{frame.lineno}"
    return place
