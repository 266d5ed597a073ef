import pytest

from prewarm.backends.memory import MemoryBackend
from prewarm.testing import BackendContract


class TestMemory(BackendContract):
    expiry_s = 0.4
    expiry_patience_s = 2.0

    @pytest.fixture
    def backend(self, context):
        return MemoryBackend(context)

    def delete_behind(self, backend, ref):
        backend.store.lose(ref.value["id"])

    def damage_behind(self, backend, ref):
        backend.store.damage(ref.value["id"])

    def leftovers(self, backend, namespace):
        store = backend.store
        templates = [f"template {t.identity}" for t in store.templates.values() if t.namespace == namespace]
        sessions = [f"session {s.identity}" for s in store.sessions.values() if s.request.namespace == namespace]
        return [*templates, *sessions]
