"""Connections to engines that are not a plain socket away: over ``ssh``, and over TLS.

Both become one end of a pair of local sockets. So whoever takes a connection out of its HTTP answer (a command's
streams do) gets a descriptor that can be selected on, read, and closed for writing alone, whatever lies behind it. The
SDK's own have none: its ssh is two pipes, and Python's TLS cannot end one direction and go on reading.
"""

from __future__ import annotations

import contextlib
import http.client
import queue
import shlex
import socket
import ssl
import tempfile
import threading
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Final, Protocol
from urllib.parse import SplitResult, urlsplit

import requests.adapters
import urllib3

from prewarm.backends.docker.tlsbridge import Bridge
from prewarm.process import Child, start

if TYPE_CHECKING:
    from prewarm.backends.docker.endpoint import Endpoint

_CONNECT_S: Final = 30
_PATIENCE_S: Final = 2.0
_LONGEST_COMPLAINT: Final = 4096
_TLS_PORT: Final = 2376


class ChannelError(ConnectionError):
    """No way in, in the words of whoever found none."""


class Channels(Protocol):
    """Opens connections to one engine."""

    def open(self) -> socket.socket:
        """Give a local socket that talks to the engine.

        Raises:
            OSError: It cannot be reached, or does not prove who it is.
        """
        ...


def find(place: Endpoint, environment: Mapping[str, str]) -> Channels | None:
    """Give the channels of an engine; ``None`` where the SDK reaches it by itself.

    Raises:
        OSError: Certificates cannot be read (``ssl.SSLError`` among them).
    """
    address = urlsplit(place.url)
    if address.scheme == "ssh":
        return SshChannels(address, environment)
    return TlsChannels(address, place) if place.tls else None


class SshChannels:
    """As Docker's command line does it: ``ssh`` to the host, and its ``docker system dial-stdio`` there."""

    def __init__(self, address: SplitResult, environment: Mapping[str, str]) -> None:
        self._argv = ["ssh", "-T", "-o", f"ConnectTimeout={_CONNECT_S}"]
        if address.username:
            self._argv += ["-l", address.username]
        if address.port:
            self._argv += ["-p", str(address.port)]
        self._argv += ["--", address.hostname or "", "docker"]
        if address.path.strip("/"):
            self._argv += ["--host", shlex.quote(f"unix://{address.path}")]
        self._argv += ["system", "dial-stdio"]
        self._environment = environment

    def open(self) -> socket.socket:
        near, far = socket.socketpair()
        said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the thread that waits for the child.
        try:
            with far:
                child = start(self._argv, env=self._environment, stdin=far.fileno(), stdout=far.fileno(), stderr=said)
        except BaseException:
            near.close()
            said.close()
            raise
        # It ends with its connection; a thread collects it then, whoever holds that connection by now.
        complaints: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_collect, args=(child, said, complaints), name="prewarm-ssh", daemon=True).start()
        try:
            # Getting in takes its time, which is not to count against the first question's.
            near.settimeout(_CONNECT_S)
            near.sendall(b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n")
            with http.client.HTTPResponse(near) as answer:
                answer.begin()
                answer.read()
        except (OSError, http.client.HTTPException) as error:
            near.close()
            with contextlib.suppress(queue.Empty):
                raise ChannelError(complaints.get(timeout=_PATIENCE_S)) from error
            raise ChannelError(str(error)) from error
        return near


def _collect(child: Child, said: IO[bytes], complaints: queue.Queue[str]) -> None:
    with said:
        child.wait()
        said.seek(0)
        lines = said.read(_LONGEST_COMPLAINT).decode("utf-8", "replace").strip().splitlines()
    complaints.put(lines[-1] if lines else "ssh ended without a word")


class TlsChannels:
    """TLS with the certificates of the endpoint, each connection carried by a thread."""

    def __init__(self, address: SplitResult, place: Endpoint) -> None:
        self._host = address.hostname or ""
        self._port = address.port or _TLS_PORT
        self._context = ssl.create_default_context(cafile=place.ca_cert)
        if place.client_cert is not None:
            self._context.load_cert_chain(*place.client_cert)

    def open(self) -> socket.socket:
        return Bridge.connect(self._host, self._port, self._context, timeout_s=_CONNECT_S)


class ChannelAdapter(requests.adapters.HTTPAdapter):
    """Sends the SDK's requests through channels."""

    def __init__(self, channels: Channels, *, connections: int, timeout_s: float) -> None:
        super().__init__()
        self._pool = urllib3.HTTPConnectionPool("localhost", maxsize=connections)

        class Connection(urllib3.connection.HTTPConnection):
            def connect(self) -> None:
                self.sock = channels.open()
                self.sock.settimeout(timeout_s)

        self._pool.ConnectionCls = Connection

    def get_connection_with_tls_context(self, *_: object, **__: object) -> urllib3.HTTPConnectionPool:
        return self._pool

    def get_connection(self, *_: object, **__: object) -> urllib3.HTTPConnectionPool:
        """The same, for versions of requests before 2.32."""
        return self._pool

    def request_url(self, request: requests.PreparedRequest, _proxies: object) -> str:
        return request.path_url

    def close(self) -> None:
        self._pool.close()
        super().close()
