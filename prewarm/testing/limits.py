"""The contract of network policy and limits: they hold, and they hold again after every attach."""

from __future__ import annotations

import pytest

from prewarm.backends.base import Backend
from prewarm.backends.context import BackendContext, Feature
from prewarm.backends.hosting import SessionHandle
from prewarm.definition.model import Network, Resources
from prewarm.errors import StepFailedError
from prewarm.testing.builders import shell
from prewarm.testing.fakes import RecordingObserver
from prewarm.testing.harness import Harness, needs
from prewarm.testing.workplace import Captured, Workplace

# What is not the loopback interface and has a route: empty where there is no way out.
WAYS_OUT = "cat /proc/net/route | grep -v '^Iface' | grep -v '^lo' || true"
INTERFACES = "grep : /proc/net/dev | cut -d: -f1 | tr -d ' '"
# ``tail`` keeps a line that does not end: this takes as much memory as it says.
TAKE_200_MB = "head -c 200000000 /dev/zero | tail | wc -c"
# The subshell ends where it may not fork; the shell itself counts without starting anything, as nothing more may start.
MANY_PROCESSES = "(for i in $(seq 1 60); do sleep 30 & done) 2>/workspace/errors; set -- /proc/[0-9]*; echo $#"


class LimitsContract(Harness):
    """Network, memory, processes."""

    @needs(Feature.PROCESSES, Feature.NETWORK_POLICY)
    def test_a_session_without_network_has_no_route(self, place: Workplace, session: SessionHandle) -> None:
        assert place.text(session, WAYS_OUT) == ""
        assert set(place.text(session, INTERFACES).split()) <= {"lo", "sit0", "tunl0", "ip6tnl0", "gre0", "gretap0"}

    @needs(Feature.PROCESSES, Feature.NETWORK_POLICY)
    def test_a_session_without_network_has_none_after_attaching_either(
        self, backend: Backend, place: Workplace, template: Captured, context: BackendContext
    ) -> None:
        opening = place.opening(template)
        session = place.open(opening)
        state = session.state()
        session.detach()
        second = self.again(backend, context)
        assert place.text(second.attach(state), WAYS_OUT) == ""
        assert place.text(place.open(opening, second), WAYS_OUT) == ""

    @needs(Feature.PROCESSES, Feature.NETWORK_POLICY, Feature.NETWORK)
    def test_a_session_with_network_has_more_than_one_without(self, place: Workplace, template: Captured) -> None:
        without = place.open(template)
        with_network = place.open(place.opening(template, network=Network.ALL))
        look = "readlink /proc/self/ns/net"
        assert place.text(with_network, look) != place.text(without, look)
        if not place.text(with_network, WAYS_OUT):
            pytest.skip("this machine has no route to give")

    @needs(Feature.PROCESSES, Feature.NETWORK_POLICY)
    def test_loopback_works_without_network(self, place: Workplace, session: SessionHandle) -> None:
        assert "lo" in place.text(session, INTERFACES).split()
        flags = place.text(session, "cat /sys/class/net/lo/flags 2>/dev/null || echo 0x9")
        assert int(flags, 16) & 1, "the loopback interface is down"

    @needs(Feature.PROCESSES, Feature.NETWORK_POLICY)
    def test_a_step_without_network_has_no_route(self, place: Workplace) -> None:
        request = place.request(shell(f'test -z "$({WAYS_OUT})"', network=Network.NONE))
        try:
            with place.backend.capture(request, RecordingObserver()):
                pass
        except StepFailedError as error:
            pytest.fail(f"a step without network has a route: {error}")

    @needs(Feature.PROCESSES, Feature.LIMITS)
    def test_the_limit_of_processes_holds(self, place: Workplace, template: Captured) -> None:
        session = place.open(place.opening(template, resources=Resources(pids=30)))
        assert self._processes(place, session) <= 30

    @needs(Feature.PROCESSES, Feature.LIMITS)
    def test_the_limit_of_processes_holds_after_attaching(
        self, backend: Backend, place: Workplace, template: Captured, context: BackendContext
    ) -> None:
        state = place.open(place.opening(template, resources=Resources(pids=30))).state()
        assert self._processes(place, self.again(backend, context).attach(state)) <= 30

    @needs(Feature.PROCESSES, Feature.LIMITS)
    def test_without_a_narrow_limit_as_many_processes_run(self, place: Workplace, template: Captured) -> None:
        session = place.open(place.opening(template, resources=Resources(pids=200)))
        assert self._processes(place, session) >= 60

    @needs(Feature.PROCESSES, Feature.LIMITS)
    def test_the_limit_of_memory_holds(self, place: Workplace, template: Captured) -> None:
        narrow = place.open(place.opening(template, resources=Resources(memory=64 * 1024 * 1024)))
        wide = place.open(place.opening(template, resources=Resources(memory=1024 * 1024 * 1024)))
        assert "200000000" not in place.run(narrow, TAKE_200_MB).stdout
        assert "200000000" in place.run(wide, TAKE_200_MB).stdout

    @staticmethod
    def _processes(place: Workplace, session: SessionHandle) -> int:
        return int(place.text(session, MANY_PROCESSES))
