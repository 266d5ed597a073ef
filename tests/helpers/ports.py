"""Ports of this machine: one for a server that is started later, one at which nobody answers, and the wait for a server."""

import contextlib
import random
import socket
import time

# Below those that the kernel gives to whoever asks for any: nobody else is given one of these between choice and use.
_CHOSEN_HERE = range(20_000, 32_000)


def free_port():
    """Choose a port for a server."""
    while True:
        port = random.choice(_CHOSEN_HERE)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextlib.contextmanager
def refusing_port():
    """Lend a port at which nobody answers, and nobody else can."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def await_port(port, server=None):
    """Wait until somebody listens; fail where that server has ended instead."""
    until = time.monotonic() + 60.0
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
            return
        assert server is None or server.poll() is None, "the server has ended"
        assert time.monotonic() < until, f"nobody listens at port {port}"
        time.sleep(0.05)
