"""Runs once, while the template is made: everything that a session would otherwise wait for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hooks import index

if TYPE_CHECKING:
    from prewarm import BootstrapSession


def warm(sandbox: BootstrapSession) -> None:
    """Load the libraries once, so that their compiled modules are in the template, and index the sample data."""
    sandbox.run(["python", "-c", "import numpy, pandas"], timeout=300)
    listing = sandbox.run(["find", "/workspace", "-type", "f", "-name", "*.csv", "-printf", "%s %P\\n"])
    sandbox.write("/workspace/INDEX.json", json.dumps(index.of(listing.stdout), indent=2) + "\n")
