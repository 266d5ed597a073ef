"""The connection to a Docker engine: where it is, and what its failures mean.

The only place where the SDK's exceptions become prewarm's. The SDK is imported on first use: it takes 80 ms.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any, Final, Protocol, cast

from prewarm.backends.docker import endpoint
from prewarm.backends.docker.driver import Builder
from prewarm.errors import BackendUnavailableError, PrewarmError

if TYPE_CHECKING:
    from docker.api.client import APIClient
    from requests import Response

API_TIMEOUT_S: Final = 120.0
OLDEST_API: Final = (1, 41)  # Docker 20.10, and what Podman speaks.
_POOL: Final = 32
_NO_SPACE: Final = "no space left on device"


class RawApi(Protocol):
    """What the SDK's client has and its stubs do not name: requests that it offers no call for."""

    timeout: float
    _version: str

    def _url(self, path: str, *arguments: str) -> str: ...
    def _post_json(self, url: str, data: Mapping[str, object], **options: object) -> Response: ...
    def _raise_for_status(self, response: Response) -> None: ...
    def head(self, url: str, *, params: Mapping[str, bytes], timeout: float) -> Response: ...
    def get_archive(self, container: str, path: bytes) -> tuple[Generator[bytes, None, None], dict[str, Any]]: ...
    def put_archive(self, container: str, path: bytes, data: IO[bytes]) -> bool: ...
    def inspect_image(self, image: str) -> dict[str, Any]: ...
    def inspect_distribution(self, image: str, auth_config: dict[str, str] | None = None) -> dict[str, Any]: ...
    def load_image(self, data: IO[bytes] | Iterator[bytes]) -> Generator[dict[str, Any], None, None]: ...
    def post(
        self, url: str, *, params: Mapping[str, str], data: Iterable[bytes], timeout: float | None
    ) -> Response: ...
    def get(self, url: str, *, timeout: float | None, **options: object) -> Response: ...


def raw(api: APIClient) -> RawApi:
    """Give the same client by the names above."""
    return cast("RawApi", api)


class Engine:
    """One engine, connected to on first use. Thread-safe.

    Args:
        environment: Where ``DOCKER_HOST``, ``DOCKER_CONTEXT`` and ``DOCKER_CONFIG`` are looked up.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.builder = Builder(environment)
        self._lock = threading.Lock()  # Guards _api: one connection pool, made once.
        self._api: APIClient | None = None

    @property
    def api(self) -> APIClient:
        """The SDK's low-level client.

        Raises:
            BackendUnavailableError: There is no engine, it does not let this user in, or it is too old.
        """
        with self._lock:
            if self._api is None:
                self._api = _connect(self.environment)
            return self._api

    @property
    def is_local(self) -> bool:
        """Whether its paths are this machine's: it is reached through a socket file.

        Raises:
            BackendUnavailableError: There is no such context.
        """
        return endpoint.find(self.environment).url.startswith("unix://")

    def close(self) -> None:
        """Let go of the connections. Twice is fine; the next use connects again."""
        with self._lock:
            api, self._api = self._api, None
        if api is not None:
            api.close()


def _connect(environment: Mapping[str, str]) -> APIClient:
    from docker.api.client import APIClient
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    from prewarm.backends.docker.channels import ChannelAdapter, find

    place = endpoint.find(environment)
    try:
        channels = find(place, environment)
    except OSError as error:
        raise BackendUnavailableError(
            f"the certificates for the Docker engine at {place.url} cannot be used: {error}",
            hint="check DOCKER_CERT_PATH or the Docker context",
        ) from error
    _knock(place.url)
    with translated(), contextlib.ExitStack() as failed:
        try:
            # Named, the version is not asked for: the SDK leaves a connection open where nobody answers that.
            api = APIClient(
                base_url="unix:///over-a-channel" if channels else place.url,
                version=".".join(map(str, OLDEST_API)),
                timeout=API_TIMEOUT_S,  # type: ignore[arg-type] # typeshed says int; it goes to requests.
                num_pools=_POOL,
            )
            failed.callback(api.close)
            if channels is not None:
                api.mount("http+docker://", ChannelAdapter(channels, connections=_POOL, timeout_s=API_TIMEOUT_S))
            version = str(api.version(api_version=False)["ApiVersion"])
        except (DockerException, RequestException, KeyError) as error:
            raise _unreachable(place.url, error) from error
        if version_numbers(version) < OLDEST_API:
            raise BackendUnavailableError(
                f"the Docker engine at {place.url} is too old: it speaks API {version}",
                hint="prewarm needs Docker 20.10 or newer (API 1.41)",
            )
        raw(api)._version = version  # noqa: SLF001 - what the SDK itself would have set.
        failed.pop_all()
    return api


def _knock(url: str) -> None:
    """Find out whether anybody listens at a socket: the SDK leaves one open where nobody does."""
    if not url.startswith("unix://"):
        return
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(API_TIMEOUT_S)
        try:
            door.connect(url.removeprefix("unix://"))
        except OSError as error:
            raise _unreachable(url, error) from error


def version_numbers(text: str) -> tuple[int, ...]:
    """Give ``1.45`` as numbers, so that 1.9 comes before 1.41."""
    return tuple(int(part) for part in text.split(".") if part.isdigit())


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn what the SDK raises, where nobody nearer knew better, into prewarm's errors."""
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except APIError as error:
        raise refused(error) from error
    except (DockerException, RequestException) as error:
        raise _unreachable("its address", error) from error


def refused(error: Exception) -> PrewarmError:
    """Give the error for an answer of the engine that no caller expected."""
    detail = str(getattr(error, "explanation", None) or error)
    if _NO_SPACE in detail:  # The engine has no code for it: errno's own words, passed through.
        return BackendUnavailableError(
            f"the Docker engine's disk is full: {detail}",
            hint="free space with 'prewarm gc --apply' or 'docker system prune'",
        )
    return BackendUnavailableError(
        f"the Docker engine refused: {detail}", hint="look into the engine's own log for what lies behind it"
    )


def _unreachable(url: str, error: Exception) -> BackendUnavailableError:
    import ssl

    from prewarm.backends.docker.channels import ChannelError

    for cause in _causes(error):
        if isinstance(cause, ChannelError):
            return BackendUnavailableError(
                f"the Docker engine at {url} cannot be reached: {cause}",
                hint=f"try 'docker --host {url} version': ssh must get in without asking",
            )
        if isinstance(cause, PermissionError):
            return BackendUnavailableError(
                f"no permission to use the Docker engine at {url}",
                hint="add this user to the group 'docker', or use a rootless engine (DOCKER_HOST)",
            )
        if isinstance(cause, (FileNotFoundError, ConnectionRefusedError)):
            return BackendUnavailableError(
                f"no Docker engine answers at {url}",
                hint="start Docker, or name its address in DOCKER_HOST or a Docker context",
            )
        if isinstance(cause, OSError) and cause.errno in {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT}:
            return BackendUnavailableError(
                f"the Docker engine at {url} cannot be reached: {cause.strerror}",
                hint="check the network, and DOCKER_HOST or the Docker context",
            )
        if isinstance(cause, ssl.SSLError):
            return BackendUnavailableError(
                f"the Docker engine at {url} and this client do not trust each other: {cause}",
                hint="check DOCKER_CERT_PATH or the Docker context: ca.pem, cert.pem, key.pem, and the name in the address",
            )
    return BackendUnavailableError(
        f"the Docker engine at {url} does not answer: {error}",
        hint="check 'docker version', and DOCKER_HOST or the Docker context",
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        # requests keeps urllib3's error, and that one the socket's, among its arguments.
        waiting += [one.__cause__, one.__context__, *one.args, getattr(one, "reason", None)]
