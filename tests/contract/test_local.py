import json
import os

import pytest

from prewarm.backends.local import LocalBackend
from prewarm.backends.local.disk import entries
from prewarm.backends.local.identity import identity_of_this_process
from prewarm.testing import BackendContract


class TestLocal(BackendContract):
    """The contract, on this machine's own programs; as whoever runs the tests, root or not."""

    expiry_s = 1.0
    expiry_patience_s = 10.0

    @pytest.fixture
    def backend(self, context, request):
        made = LocalBackend(context)
        health = made.check()
        if not health.ok:
            if "local" in (request.config.getoption("--require", default=None) or ()):
                pytest.fail(f"local is required: {health.reason}")
            pytest.skip(health.reason)
        return made

    def test_owners_and_modes_that_bootstrap_sets_are_kept(self, place):
        if not identity_of_this_process().many:
            pytest.skip("all files of an ordinary user's sandbox have one owner; 'prewarm doctor' says so")
        super().test_owners_and_modes_that_bootstrap_sets_are_kept(place)

    def delete_behind(self, backend, ref):
        (backend.store.templates / ref.value["namespace"] / f"{ref.value['key']}.json").unlink()

    def damage_behind(self, backend, ref):
        tree = backend.store.tree(ref.value["layers"][-1])
        victim = next(path for path in sorted(tree.rglob("*")) if path.is_file() and path.stat().st_size)
        content = bytearray(victim.read_bytes())
        content[0] ^= 1
        times = victim.stat()
        victim.chmod(0o644)
        victim.write_bytes(content)
        os.utime(victim, ns=(times.st_atime_ns, times.st_mtime_ns))

    def leftovers(self, backend, namespace):
        """All of one home is of one namespace here; bases stay unpacked for the next capture."""
        store = backend.store
        bases = {layer[:32] for path in entries(store.bases) for layer in json.loads(path.read_bytes())["layers"]}
        found = [path for directory in (store.stagings, store.sessions, store.layers) for path in entries(directory)]
        return [str(path) for path in found if path.name not in bases]
