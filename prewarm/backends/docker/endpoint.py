"""Where the Docker engine is: ``DOCKER_HOST``, then ``DOCKER_CONTEXT``, then the context chosen in Docker's own config.

The SDK knows the first only. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prewarm.backends.logins import config_directory
from prewarm.errors import BackendUnavailableError

DEFAULT_URL: Final = "unix:///var/run/docker.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The address of an engine.

    Attributes:
        url: ``unix://``, ``tcp://`` or ``ssh://``.
        ca_cert: File with the certificate that the engine's is signed by.
        client_cert: Files with this client's certificate and key.
    """

    url: str
    ca_cert: str | None = None
    client_cert: tuple[str, str] | None = None

    @property
    def tls(self) -> bool:
        return self.ca_cert is not None


def find(environment: Mapping[str, str]) -> Endpoint:
    """Find the engine's address.

    Raises:
        BackendUnavailableError: A context is named that does not exist, or a configuration cannot be read.
    """
    if url := environment.get("DOCKER_HOST"):
        if environment.get("DOCKER_TLS_VERIFY"):
            return _with_certificates(url, Path(environment.get("DOCKER_CERT_PATH") or config_directory(environment)))
        return Endpoint(url=url)
    directory = config_directory(environment)
    name = environment.get("DOCKER_CONTEXT") or _text(_object(directory / "config.json"), "currentContext")
    if not name or name == "default":
        return Endpoint(url=DEFAULT_URL)
    digest = hashlib.sha256(name.encode()).hexdigest()
    meta = directory / "contexts" / "meta" / digest / "meta.json"
    endpoints = _object(meta).get("Endpoints")
    docker = endpoints.get("docker") if isinstance(endpoints, dict) else None
    url = _text(docker, "Host") if isinstance(docker, dict) else ""
    if not url:
        raise BackendUnavailableError(
            f"the Docker context '{name}' does not exist or names no engine", hint="see 'docker context ls'"
        )
    certificates = directory / "contexts" / "tls" / digest / "docker"
    return _with_certificates(url, certificates) if (certificates / "ca.pem").exists() else Endpoint(url=url)


def _with_certificates(url: str, directory: Path) -> Endpoint:
    client = (str(directory / "cert.pem"), str(directory / "key.pem"))
    has_client = all(os.path.exists(path) for path in client)
    return Endpoint(url=url, ca_cert=str(directory / "ca.pem"), client_cert=client if has_client else None)


def _object(path: Path) -> dict[str, object]:
    try:
        value: object = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BackendUnavailableError(
            f"Docker's configuration {path} cannot be read: {error}", hint="repair or remove that file"
        ) from error
    return value if isinstance(value, dict) else {}


def _text(value: Mapping[str, object], name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""
