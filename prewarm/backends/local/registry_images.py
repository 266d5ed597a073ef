"""Images of a registry, through the ``oras`` library: names resolved to digests, blobs fetched and checked.

Needs the extra ``prewarm[registry]``. Credentials are Docker's own (``logins``).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prewarm.backends import oci
from prewarm.backends.logins import login
from prewarm.errors import BackendUnavailableError, UnkeyableInputError

if TYPE_CHECKING:
    from oras.provider import Registry

_HUB: Final = "docker.io"
_HUB_SERVER: Final = "registry-1.docker.io"
_NOT_FOUND: Final = 404
_NO_LOGIN: Final = (401, 403)
_OK: Final = 200
_ANSWERS_WITHIN_S: Final = 30.0


def resolve(reference: str, platform: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """Give an image's name without tag, and the digest of its manifest for a platform.

    Raises:
        UnkeyableInputError: There is no such image, or none for this platform.
        BackendUnavailableError: The registry does not answer, or ``oras`` is not installed.
    """
    name, asked = split(reference)
    try:
        with opened(name, environment) as repository:
            digest = asked if asked.startswith("sha256:") else repository.digest_of(asked)
            return name, oci.image_for(platform, repository, oci.Descriptor(digest=digest)).digest
    except ValueError as error:
        raise UnkeyableInputError(
            f"image '{reference}' cannot be used: {error}", hint="check its name and tag"
        ) from error


def split(reference: str) -> tuple[str, str]:
    """Give ``registry/repository`` in full, and the tag or digest: ``debian`` is ``docker.io/library/debian``, ``latest``."""
    name, at, digest = reference.partition("@")
    tag = "latest"
    if ":" in name.rpartition("/")[2]:
        name, _, tag = name.rpartition(":")
    first, slash, _ = name.partition("/")
    if not slash:
        name = f"{_HUB}/library/{name}"
    elif not ("." in first or ":" in first or first == "localhost"):
        name = f"{_HUB}/{name}"
    return name, digest if at else tag


@contextlib.contextmanager
def opened(name: str, environment: Mapping[str, str]) -> Iterator[Repository]:
    """Lend one repository of a registry, called ``registry/repository``.

    Raises:
        BackendUnavailableError: ``oras`` is not installed, or Docker's credentials cannot be read.
    """
    host, _, path = name.partition("/")
    known = login(environment, name)
    host = _HUB_SERVER if host == _HUB else host
    registry = _registry(host, known)
    try:
        yield Repository(registry, host, path)
    finally:
        registry.session.close()


class Repository:
    """One repository of a registry: ``oci.Blobs``.

    Args:
        registry: To ask.
        host: Its name.
        path: Of the repository in it.
    """

    def __init__(self, registry: Registry, host: str, path: str) -> None:
        self._registry, self._host, self._path = registry, host, path

    def digest_of(self, tag: str) -> str:
        """Give the digest of what a tag points to now."""
        with self._get(f"manifests/{tag}") as chunks:
            return f"sha256:{hashlib.sha256(oci.whole(tag, chunks)).hexdigest()}"

    def read_manifest(self, wanted: oci.Descriptor) -> bytes:
        return self._small(f"manifests/{wanted.digest}", wanted)

    def read(self, wanted: oci.Descriptor) -> bytes:
        return self._small(f"blobs/{wanted.digest}", wanted)

    def fetch(self, wanted: oci.Descriptor, directory: Path) -> Path:
        with self._get(f"blobs/{wanted.digest}") as chunks:
            return oci.kept(wanted, chunks, directory)

    def _small(self, path: str, wanted: oci.Descriptor) -> bytes:
        with self._get(path) as chunks:
            return oci.whole(f"blob {wanted.short}", oci.proven(wanted, chunks))

    @contextlib.contextmanager
    def _get(self, path: str) -> Iterator[Iterator[bytes]]:
        import requests

        url = f"{self._registry.prefix}://{self._host}/v2/{self._path}/{path}"
        # Without the library's own retries, which take two minutes to say that nobody answers.
        once = type(self._registry).do_request.__wrapped__
        try:
            response = once(self._registry, url, "GET", headers={"Accept": ", ".join(oci.MANIFESTS)}, stream=True)
        except requests.RequestException as error:
            if isinstance(error, ValueError):  # Without a login, the library takes the name of a realm for an address.
                raise self._refused() from error
            raise BackendUnavailableError(
                f"registry {self._host} does not answer: {type(error).__name__}", hint="check the network and the name"
            ) from error
        except ValueError as error:
            raise self._refused() from error
        with response:
            if response.status_code == _NOT_FOUND:
                raise ValueError(f"{self._host} has no {self._path} {path.partition('/')[2][:19]}")
            if response.status_code in _NO_LOGIN:
                raise self._refused()
            if response.status_code != _OK:
                raise BackendUnavailableError(
                    f"registry {self._host} answered {response.status_code} for {self._path}",
                    hint="check the name, and that you may read it ('docker login')",
                )
            yield response.iter_content(oci.CHUNK)

    def _refused(self) -> BackendUnavailableError:
        return BackendUnavailableError(
            f"registry {self._host} wants a login for {self._path}",
            hint="log in with 'docker login', by a password or an access token",
        )


def _registry(host: str, known: Mapping[str, str]) -> Registry:
    try:
        from oras.provider import Registry
    except ImportError as error:
        raise BackendUnavailableError(
            "backend 'local' needs the 'oras' library for images of a registry",
            hint="pip install 'prewarm[registry]', or use an 'oci:' layout",
        ) from error
    is_local = host.partition(":")[0] in {"localhost", "127.0.0.1", "[::1]"}
    registry = Registry(hostname=host, insecure=is_local)
    if "username" in known and _wants_password(registry, host):
        registry.session.close()
        registry = Registry(hostname=host, insecure=is_local, auth_backend="basic")
    registry.session.request = functools.partial(registry.session.request, timeout=_ANSWERS_WITHIN_S)
    if "username" in known:
        registry.auth.set_basic_auth(known["username"], known["password"])
    elif "registrytoken" in known:
        registry.auth.set_token_auth(known["registrytoken"])
    return registry


def _wants_password(registry: Registry, host: str) -> bool:
    """Ask whether the password is for the registry itself; most want it at another place, which gives a token for it."""
    import requests

    try:
        asked = registry.session.get(f"{registry.prefix}://{host}/v2/", timeout=_ANSWERS_WITHIN_S)
    except requests.RequestException:  # Which the next question tells.
        return False
    return str(asked.headers.get("Www-Authenticate", "")).lower().startswith("basic")
