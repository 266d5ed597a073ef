"""GitHub's cache for actions as BuildKit's ``type=gha`` speaks to it (its API, version 1), on this machine and in memory."""

import base64
import json
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit

_CACHES = "/_apis/artifactcache/caches"
_UNAUTHORIZED, _CONFLICT, _NOTHING, _PART = 401, 409, 204, 206


def token():
    """Make a token as a job is given one: BuildKit reads in it where it may write, and does not check who signed it."""
    rights = json.dumps([{"Scope": "refs/heads/main", "Permission": 3}])
    parts = [{"alg": "none", "typ": "JWT"}, {"ac": rights, "nbf": 0, "exp": 1 << 40, "jti": uuid.uuid4().hex}]
    return ".".join([*(_encoded(json.dumps(part).encode()) for part in parts), _encoded(uuid.uuid4().bytes)])


def _encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class ActionsCache:
    """The service; a context manager. Lets in who carries its token.

    Attributes:
        token: To be given as ``ACTIONS_RUNTIME_TOKEN``.
        stored: Key to content, of what was completed.
    """

    def __init__(self):
        self.token = token()
        self.stored = {}
        self.refused = 0
        self.lock = threading.Lock()  # Guards all of it.
        self.begun = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = False
        self._server.cache = self

    @property
    def url(self):
        """To be given as ``ACTIONS_CACHE_URL``."""
        return f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self):
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        cache, address = self.server.cache, urlsplit(self.path)
        if address.path.startswith("/blob/"):
            content = cache.stored[unquote(address.path.removeprefix("/blob/"))]
            first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
            self._answer(
                _PART if "Range" in self.headers else 200, content[int(first) : int(last) + 1 if last else None]
            )
            return
        if not self._let_in():
            return
        query = parse_qs(address.query)
        with cache.lock:
            for prefix in query["keys"][0].split(","):
                for key in reversed(cache.stored):
                    if key.startswith(prefix) and key.endswith(f"@{query['version'][0]}"):
                        where = f"{cache.url}blob/{quote(key, safe='')}"
                        self._answer(200, {"cacheKey": key.rpartition("@")[0], "archiveLocation": where})
                        return
        self._answer(_NOTHING, b"")

    def do_POST(self):
        if not self._let_in():
            return
        cache, asked = self.server.cache, json.loads(self._body())
        with cache.lock:
            if self.path == _CACHES:
                key = f"{asked['key']}@{asked['version']}"
                if key in cache.stored:
                    self._answer(_CONFLICT, {"typeKey": "ArtifactCacheItemAlreadyExistsException"})
                    return
                number = len(cache.begun) + 1
                cache.begun[number] = (key, bytearray())
                self._answer(201, {"cacheId": number})
            else:
                key, content = cache.begun[int(self.path.rpartition("/")[2])]
                assert len(content) == asked["size"]
                cache.stored[key] = bytes(content)
                self._answer(_NOTHING, b"")

    def do_PATCH(self):
        if not self._let_in():
            return
        cache, data = self.server.cache, self._body()
        first = int(self.headers["Content-Range"].removeprefix("bytes ").partition("-")[0])
        with cache.lock:
            _, content = cache.begun[int(self.path.rpartition("/")[2])]
            content.extend(bytes(max(0, first + len(data) - len(content))))
            content[first : first + len(data)] = data
        self._answer(_NOTHING, b"")

    def log_message(self, *_):
        """Say nothing: tests read what is written."""

    def _let_in(self):
        if self.headers.get("Authorization") == f"Bearer {self.server.cache.token}":
            return True
        with self.server.cache.lock:
            self.server.cache.refused += 1
        self._body()
        self._answer(_UNAUTHORIZED, {"message": "not you"})
        return False

    def _body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status, content):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
