"""A local backend for tests, in few words."""

import hashlib
import os
import time

import pytest

from prewarm.backends.base import BackendContext, OpenRequest
from prewarm.backends.local import LocalBackend
from prewarm.definition.model import HostBase
from prewarm.definition.options import SessionOptions
from prewarm.machine import host_platform
from prewarm.testing.builders import capture_request, child_base
from prewarm.testing.fakes import RecordingObserver
from prewarm.testing.workplace import Workplace


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def backend_at(home):
    return LocalBackend(BackendContext(home=home, environment=dict(os.environ)))


def host(backend, project):
    return backend.resolve_base(HostBase(), project=project, platform=host_platform(), sha256=sha256)


def eventually(fact, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (found := fact()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


__all__ = [
    "OpenRequest",
    "RecordingObserver",
    "SessionOptions",
    "Workplace",
    "backend_at",
    "capture_request",
    "child_base",
    "eventually",
    "host",
    "pytest",
    "sha256",
]
