"""Carry one TLS connection between a local socket and the network, either direction ending by itself.

Python's own TLS sockets lose what arrives after their side has said its last word; over memory buffers nothing is read
that nobody asked for. One thread a connection, which ends with it.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from typing import Final

_CHUNK: Final = 65536
_MOST_WAITING: Final = 1024 * 1024


class Bridge:
    """One connection under way. ``Bridge.connect`` gives the local socket; nobody needs the bridge itself."""

    def __init__(self, remote: socket.socket, local: socket.socket, context: ssl.SSLContext, host: str) -> None:
        self._remote, self._local = remote, local
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._to_remote = bytearray()
        self._to_local = bytearray()
        self._said_last = False  # No more comes from the local side.
        self._hung_up = False  # Nor does anything go there.
        self._heard_last = False  # No more comes from the engine.

    @classmethod
    def connect(cls, host: str, port: int, context: ssl.SSLContext, *, timeout_s: float) -> socket.socket:
        """Connect, prove who is who, and give the local end.

        Raises:
            OSError: Nobody answers, or the engine is not who its certificate should say (``ssl.SSLError``).
        """
        remote = socket.create_connection((host, port), timeout=timeout_s)
        near, far = socket.socketpair()
        try:
            bridge = cls(remote, far, context, host)
            bridge._shake_hands()
            remote.settimeout(0)
            far.settimeout(0)
        except BaseException:
            for one in (remote, near, far):
                one.close()
            raise
        threading.Thread(target=bridge._run, name="prewarm-tls", daemon=True).start()
        return near

    def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._remote.sendall(self._outgoing.read())
                data = self._remote.recv(_CHUNK)
                if not data:
                    raise ConnectionResetError("the engine closed the connection during the TLS handshake") from None
                self._incoming.write(data)
            else:
                self._to_remote += self._outgoing.read()
                return

    def _run(self) -> None:
        with self._remote, self._local, contextlib.suppress(OSError):
            self._decrypt()
            while not (self._heard_last and not self._to_local) and not (self._hung_up and not self._to_remote):
                self._round()

    def _round(self) -> None:
        poll = select.poll()
        remote, local = self._remote.fileno(), self._local.fileno()
        reads, writes = not self._heard_last and len(self._to_local) < _MOST_WAITING, bool(self._to_remote)
        if not self._heard_last or writes:
            poll.register(remote, (select.POLLIN if reads else 0) | (select.POLLOUT if writes else 0))
        reads, writes = not self._said_last and len(self._to_remote) < _MOST_WAITING, bool(self._to_local)
        if not self._hung_up:
            poll.register(local, (select.POLLIN if reads else 0) | (select.POLLOUT if writes else 0))
        for descriptor, events in poll.poll():
            is_remote = descriptor == remote
            if events & select.POLLIN:
                self._hear() if is_remote else self._say()
            if events & select.POLLOUT:
                one, waiting = (self._remote, self._to_remote) if is_remote else (self._local, self._to_local)
                del waiting[: one.send(waiting[:_CHUNK])]
            if events & (select.POLLHUP | select.POLLERR) and not events & select.POLLIN:
                if is_remote:
                    raise ConnectionResetError
                # Closed, not only shut for writing: nobody waits for the engine's answer any more.
                self._hung_up = self._said_last = True

    def _hear(self) -> None:
        data = self._remote.recv(_CHUNK)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        self._decrypt()

    def _decrypt(self) -> None:
        try:
            while part := self._tls.read(_CHUNK):
                self._to_local += part
            self._heard_last = True
        except ssl.SSLWantReadError:
            self._to_remote += self._outgoing.read()  # Answers of the protocol itself.
        except ssl.SSLError:  # An end without the protocol's goodbye; HTTP knows by itself what is missing.
            self._heard_last = True

    def _say(self) -> None:
        data = self._local.recv(_CHUNK)
        if data:
            self._tls.write(data)
        else:
            self._said_last = True
            with contextlib.suppress(ssl.SSLError):  # It would wait for the engine's goodbye, which comes later.
                self._tls.unwrap()
        self._to_remote += self._outgoing.read()
