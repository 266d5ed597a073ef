"""For authors of backends: the contract that every backend keeps, as a suite of tests; builders and fakes.

    from prewarm.testing import BackendContract

    class TestMyBackend(BackendContract):
        @pytest.fixture
        def backend(self, context):
            return MyBackend(context)

Abilities that the backend does not claim (``features``) are skipped with the reason. The hooks to override stand in
``harness``. Needs pytest, which prewarm itself does not; ``builders`` and ``fakes`` do without.
"""

import pytest

pytest.register_assert_rewrite(  # So that a failing assertion of the suite shows its values; before any is imported.
    *(
        f"prewarm.testing.{part}"
        for part in ("capturing", "expiry", "failing", "files", "limits", "processes", "sessions", "templates", "trees")
    ),
    "prewarm.testing.workplace",
    "prewarm.testing.worker",
)

from prewarm.testing.capturing import CapturingContract
from prewarm.testing.expiry import ExpiryContract
from prewarm.testing.failing import FailingContract
from prewarm.testing.files import FilesContract
from prewarm.testing.harness import Harness, needs
from prewarm.testing.limits import LimitsContract
from prewarm.testing.processes import ProcessesContract
from prewarm.testing.sessions import SessionsContract
from prewarm.testing.templates import TemplatesContract
from prewarm.testing.trees import TreesContract
from prewarm.testing.workplace import Captured, Workplace

__all__ = ["BackendContract", "Captured", "Harness", "Workplace", "needs"]


class BackendContract(
    TemplatesContract,
    CapturingContract,
    FailingContract,
    SessionsContract,
    ProcessesContract,
    FilesContract,
    TreesContract,
    ExpiryContract,
    LimitsContract,
):
    """All of it; subclass it with a ``backend`` fixture."""
