"""What a backend is: the protocols and plain values that a backend author reads.

Two protocols are required, ``TemplateBackend`` (``capturing``) and ``SessionBackend`` (``hosting``); one class implements
both. Everything else is an ability of its own, asked for with ``isinstance``. A backend is found by the entry point group
``prewarm.backends``; the entry is a class whose call takes a ``BackendContext`` and does no work. Standard library only:
the runtime imports it.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from prewarm.backends.capturing import (
    CaptureObserver,
    CaptureRequest,
    Litter,
    Phase,
    Presence,
    Probe,
    StagedTemplate,
    TemplateBackend,
    TemplateRecord,
)
from prewarm.backends.context import BackendContext, Feature
from prewarm.backends.health import Finding, Health
from prewarm.backends.hosting import (
    FileInfo,
    FileKind,
    FileStore,
    OpenRequest,
    ProcessHandle,
    ProcessRequest,
    SessionBackend,
    SessionHandle,
    SessionRecord,
)
from prewarm.definition.model import Base, Json, Network, SessionOptions
from prewarm.key import TemplateKey
from prewarm.request import (
    BootstrapSession,
    CaptureStep,
    CommandResult,
    HookStep,
    ResolvedBase,
    RunStep,
    ScriptStep,
    TemplateRef,
)

__all__ = [
    "Backend",
    "BackendContext",
    "Base",
    "BootstrapSession",
    "CaptureObserver",
    "CaptureRequest",
    "CaptureStep",
    "CommandResult",
    "Feature",
    "FileInfo",
    "FileKind",
    "FileStore",
    "Finding",
    "Health",
    "HookStep",
    "Json",
    "Litter",
    "Network",
    "OpenRequest",
    "Phase",
    "Presence",
    "Probe",
    "ProcessHandle",
    "ProcessRequest",
    "ResolvedBase",
    "RunStep",
    "ScriptStep",
    "SessionBackend",
    "SessionHandle",
    "SessionOptions",
    "SessionRecord",
    "StagedTemplate",
    "TemplateBackend",
    "TemplateKey",
    "TemplateRecord",
    "TemplateRef",
]


@runtime_checkable
class Backend(TemplateBackend, SessionBackend, Protocol):
    """Both halves; what an entry point's class gives when called with a ``BackendContext``."""
