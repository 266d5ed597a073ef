"""Build-time templates for sandboxes: captured while an application is built, opened in milliseconds while it runs.

    with prewarm.open_session("analyst", key="user-42") as session:
        print(session.run("python3 -c 'print(6*7)'").stdout)

``open_session`` and ``attach_session`` are the runtime half; ``build`` and what it takes are the build half; ``prewarm.aio``
is the runtime half for asyncio. Names are loaded when they are asked for: the runtime half never pays for the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # What ``__getattr__`` loads.
    from prewarm import aio, errors
    from prewarm.backends.hosting import FileInfo
    from prewarm.definition.construct import define as Definition  # noqa: N812 - reads as the value that it makes.
    from prewarm.definition.construct import project
    from prewarm.definition.load import load_project
    from prewarm.definition.model import Network, Project
    from prewarm.errors import (
        BackendUnavailableError,
        CaptureFailedError,
        CommandFailedError,
        DefinitionError,
        PrewarmError,
        SessionFailedError,
        SessionFileError,
        SessionGoneError,
        TemplateCorruptError,
        TemplateNotFoundError,
    )
    from prewarm.home import Home
    from prewarm.pipeline import RunOptions, build
    from prewarm.report import Report
    from prewarm.request import BootstrapSession, CommandResult
    from prewarm.session import Process, Session, SessionFiles, attach_session, open_session

__version__ = "0.1.0"

_MODULES: Final = frozenset({"aio", "errors"})

_HOMES: Final = {
    "BackendUnavailableError": "errors",
    "BootstrapSession": "request",
    "CaptureFailedError": "errors",
    "CommandFailedError": "errors",
    "CommandResult": "request",
    "Definition": "definition.construct:define",
    "DefinitionError": "errors",
    "FileInfo": "backends.hosting",
    "Home": "home",
    "Network": "definition.model",
    "PrewarmError": "errors",
    "Process": "session",
    "Project": "definition.model",
    "Report": "report",
    "RunOptions": "pipeline",
    "Session": "session",
    "SessionFailedError": "errors",
    "SessionFileError": "errors",
    "SessionFiles": "session",
    "SessionGoneError": "errors",
    "TemplateCorruptError": "errors",
    "TemplateNotFoundError": "errors",
    "attach_session": "session",
    "build": "pipeline",
    "load_project": "definition.load",
    "open_session": "session",
    "project": "definition.construct",
}

__all__ = [
    "BackendUnavailableError",
    "BootstrapSession",
    "CaptureFailedError",
    "CommandFailedError",
    "CommandResult",
    "Definition",
    "DefinitionError",
    "FileInfo",
    "Home",
    "Network",
    "PrewarmError",
    "Process",
    "Project",
    "Report",
    "RunOptions",
    "Session",
    "SessionFailedError",
    "SessionFileError",
    "SessionFiles",
    "SessionGoneError",
    "TemplateCorruptError",
    "TemplateNotFoundError",
    "aio",
    "attach_session",
    "build",
    "errors",
    "load_project",
    "open_session",
    "project",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return __import__(f"{__name__}.{name}", fromlist=["_"])
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = home.partition(":")
    loaded = __import__(f"{__name__}.{module}", fromlist=["_"])
    value: object = getattr(loaded, attribute or name)
    globals()[name] = value  # The next access does not come here.
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
