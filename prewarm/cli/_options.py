"""Options that several commands take, and what they come to.

An option that says where to look (``-f``, ``--home``, ``--backend``, …) is kept in the ``Invocation``, so that each
command names only what it adds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import click

from prewarm.backends.buildkit import BuildKitOptions
from prewarm.cli import _names
from prewarm.errors import LockFileError
from prewarm.home import Home, default_home
from prewarm.lockfile import LOCK_NAME

if TYPE_CHECKING:
    from prewarm.definition.model import Project

_Decorated = TypeVar("_Decorated", bound=Callable[..., object])
_Value: TypeAlias = "str | bool | Path | tuple[str, ...] | None"


@dataclass(slots=True, kw_only=True)
class Invocation:
    """One run of the command line, filled in while click parses; made once in ``_run.main``.

    Attributes:
        environment: As it was when the command began, and ``--builder`` in it; read nowhere else.
        as_json: Whether one JSON object is promised on stdout, also where the rest of the line cannot be read.
        exit_code: Of a command that ended without an exception.
        file: ``-f``: the definition file; ``None``: the nearest one, upwards from here.
        home_path: ``--home``: the state directory; ``None``: the default.
        backend: ``--backend``: overrides that of every definition.
        platform: ``--platform``: ``os/arch``; ``None``: this machine's.
        variables: ``--set``: for ``{{ … }}`` in the definition.
        cache_from, cache_to, provenance, sbom, reproducible: What is handed on to BuildKit.
    """

    environment: Mapping[str, str] = field(repr=False)
    as_json: bool = False
    exit_code: int = 0
    file: Path | None = None
    home_path: Path | None = None
    backend: str | None = None
    platform: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()
    provenance: str | None = None
    sbom: str | None = None
    reproducible: bool = False

    @property
    def home(self) -> Home:
        return Home(self.home_path.absolute()) if self.home_path is not None else Home(default_home(self.environment))

    @property
    def buildkit(self) -> BuildKitOptions:
        return BuildKitOptions(
            cache_from=self.cache_from,
            cache_to=self.cache_to,
            provenance=self.provenance,
            sbom=self.sbom,
            reproducible=self.reproducible,
        )

    def definition_file(self) -> Path:
        """Find the definition file that this run is about."""
        from prewarm.definition import find_definition_file

        return self.file if self.file is not None else find_definition_file(Path.cwd())

    def project(self) -> Project:
        """Load the definition file."""
        from prewarm.definition import load_project

        return load_project(self.definition_file(), variables=self.variables, environment=self.environment)

    def lock_path(self) -> Path:
        """Find the lock file: beside the definition file given, else the nearest one, upwards from here.

        Raises:
            LockFileError: There is none.
        """
        if self.file is not None:
            return self.file if self.file.name.endswith(".lock") else self.file.parent / LOCK_NAME
        here = Path.cwd()
        for directory in (here, *here.parents):
            if (directory / LOCK_NAME).is_file():
                return directory / LOCK_NAME
        raise LockFileError(
            f"there is no {LOCK_NAME} in {here} or above it",
            hint="run 'prewarm build' in the project, or name it with -f",
        )


def invocation() -> Invocation:
    """Give the run that click is in the middle of."""
    found = click.get_current_context().find_root().obj
    return found if isinstance(found, Invocation) else Invocation(environment={})


def _keep(attribute: str) -> Callable[[click.Context, click.Parameter, _Value], None]:
    def callback(_context: click.Context, _parameter: click.Parameter, value: _Value) -> None:
        if value is not None:
            setattr(invocation(), attribute, value)

    return callback


def _keep_variables(_context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> None:
    invocation().variables = variables(value, option="--set")


def _keep_builder(_context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        run = invocation()
        run.environment = {**run.environment, "BUILDX_BUILDER": value}


def variables(given: Sequence[str], *, option: str) -> Mapping[str, str]:
    """Read what an option was given, each ``NAME=VALUE``."""
    read: dict[str, str] = {}
    for text in given:
        name, equals, content = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"'{text}' is not NAME=VALUE", param_hint=option)
        read[name] = content
    return read


def _stacked(*options: Callable[[_Decorated], _Decorated]) -> Callable[[_Decorated], _Decorated]:
    def decorate(function: _Decorated) -> _Decorated:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


FILE: Final = click.option(
    "-f",
    "--file",
    type=click.Path(path_type=Path),
    callback=_keep("file"),
    expose_value=False,
    help="The definition file.  [default: the nearest prewarm.yaml, upwards from here]",
)
HOME: Final = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    callback=_keep("home_path"),
    expose_value=False,
    help="The state directory.  [default: $PREWARM_HOME, else the user's data directory]",
)
BACKEND: Final = click.option(
    "--backend",
    callback=_keep("backend"),
    expose_value=False,
    shell_complete=_names.complete_backends,
    help="Use this backend instead of what the definitions say.",
)
PLATFORM: Final = click.option(
    "--platform", callback=_keep("platform"), expose_value=False, metavar="OS/ARCH", help="[default: this machine's]"
)
SET: Final = click.option(
    "--set",
    multiple=True,
    callback=_keep_variables,
    expose_value=False,
    metavar="NAME=VALUE",
    help="A variable of the definition; wins over PREWARM_VAR_NAME and over 'vars'.",
)
JSON: Final = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    help="Print one JSON object on stdout.",
)

ONLY: Final = click.option(
    "--only",
    multiple=True,
    metavar="NAME,…",
    shell_complete=_names.complete_sandboxes,
    help="Only these sandboxes, and what they extend. Can be given again.",
)
NAMED: Final = click.option(
    "--only",
    multiple=True,
    metavar="NAME,…",
    shell_complete=_names.complete_sandboxes,
    help="Only these sandboxes. Can be given again.",
)
FORCE: Final = click.option(
    "--force",
    is_flag=True,
    help="Capture again, also what could be reused; every step runs, also one that a builder remembers.",
)

FROM: Final = click.option(
    "--from",
    "registry",
    metavar="REGISTRY",
    help="Look for what would have to be captured in this registry, by key, and pull it from there.",
)

BUILDER: Final = click.option(
    "--builder",
    metavar="NAME",
    callback=_keep_builder,
    expose_value=False,
    help="The builder of 'docker buildx' to capture with.  [default: BUILDX_BUILDER, else the one in use there]",
)
BUILDKIT: Final = _stacked(
    BUILDER,
    click.option(
        "--cache-from",
        multiple=True,
        metavar="CACHE",
        callback=_keep("cache_from"),
        expose_value=False,
        help="A cache of BuildKit to look in, as BuildKit writes it; {name} becomes the sandbox. Can be given again.",
    ),
    click.option(
        "--cache-to",
        multiple=True,
        metavar="CACHE",
        callback=_keep("cache_to"),
        expose_value=False,
        help="A cache of BuildKit to fill, the same. Can be given again.",
    ),
    click.option(
        "--provenance",
        metavar="VALUE",
        callback=_keep("provenance"),
        expose_value=False,
        help="Have BuildKit attest how it was built: true, mode=max, false.",
    ),
    click.option(
        "--sbom",
        metavar="VALUE",
        callback=_keep("sbom"),
        expose_value=False,
        help="Have BuildKit attest what is in it: true, generator=IMAGE, false.",
    ),
    click.option(
        "--reproducible",
        is_flag=True,
        callback=_keep("reproducible"),
        expose_value=False,
        help="Set the times in layers to 1970, so that two captures of the same steps are one image. Slower.",
    ),
)

PROJECT: Final = _stacked(FILE, SET, HOME, BACKEND, PLATFORM)
MACHINE: Final = _stacked(FILE, HOME, BACKEND)


def names(given: Sequence[str]) -> tuple[str, ...]:
    """Split what ``--only`` was given: several times, or with commas."""
    return tuple(name for text in given for name in text.replace(",", " ").split())
