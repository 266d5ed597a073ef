"""A BuildKit for buildx's ``remote`` driver: the one inside a Docker engine, which it serves on its own socket.

The engine hands a connection over to BuildKit where it is asked to upgrade it; what comes after is BuildKit's own protocol.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import threading

_REQUEST = b"POST /grpc HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n"


class Bridge:
    """Listens on this machine and lends each caller a connection to an engine's BuildKit; a context manager.

    Args:
        engine: The engine's socket.
    """

    def __init__(self, engine):
        self._engine = engine
        self._lock = threading.Lock()  # Guards the two below.
        self._open = set()
        self._is_gone = False
        self._door = socket.create_server(("127.0.0.1", 0))
        self._waiting = threading.Thread(target=self._serve)

    @property
    def endpoint(self):
        """What buildx is told."""
        return f"tcp://127.0.0.1:{self._door.getsockname()[1]}"

    def __enter__(self):
        self._waiting.start()
        return self

    def __exit__(self, *_):
        self.go_away()
        self._waiting.join()

    def go_away(self):
        """Stop listening and cut every connection."""
        with contextlib.suppress(OSError):  # Nobody waits at it any more.
            self._door.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._is_gone = True
            ends = list(self._open)
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._door.close()

    def _serve(self):
        threads = []
        while True:
            try:
                caller, _ = self._door.accept()
            except OSError:
                break
            threads.append(threading.Thread(target=self._lend, args=(caller,)))
            threads[-1].start()
        for thread in threads:
            thread.join()

    def _lend(self, caller):
        with caller, socket.socket(socket.AF_UNIX) as engine, contextlib.suppress(OSError):
            engine.connect(self._engine)
            engine.sendall(_REQUEST)
            answer = b""
            while b"\r\n\r\n" not in answer:  # To the end of the head and not a byte further.
                if not (byte := engine.recv(1)):
                    return  # The engine is no more.
                answer += byte
            assert answer.startswith(b"HTTP/1.1 101"), answer
            with self._lock:
                if self._is_gone:
                    return
                self._open |= {caller, engine}
            back = threading.Thread(target=_copy, args=(engine, caller))
            back.start()
            _copy(caller, engine)
            back.join()
            with self._lock:
                self._open -= {caller, engine}


def _copy(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def registered(bridge, config):
    """Name the bridge to buildx in a copy of Docker's configuration, made here; give the settings by which it is used."""
    shutil.copytree(os.environ["DOCKER_CONFIG"], config, symlinks=True, ignore=shutil.ignore_patterns("buildx"))
    argv = ["docker", "buildx", "create", "--name", "elsewhere", "--driver", "remote", bridge.endpoint]
    subprocess.run(argv, env={**os.environ, "DOCKER_CONFIG": str(config)}, check=True, capture_output=True)
    return {"DOCKER_CONFIG": str(config), "BUILDX_BUILDER": "elsewhere"}
