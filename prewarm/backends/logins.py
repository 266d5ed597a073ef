"""Docker's own credentials for a registry: credential helpers first, then what 'docker login' wrote into ``config.json``.

What is found goes to the engine or the registry and nowhere else: no error and no log shows a password, or what a helper wrote.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from prewarm.errors import BackendUnavailableError
from prewarm.process import Command, find_program, run

_HUB: Final = "docker.io"
_HUB_SERVER: Final = "https://index.docker.io/v1/"
_HUB_NAMES: Final = (_HUB, "index.docker.io", "registry-1.docker.io")
_TOKEN_USER: Final = "<token>"  # noqa: S105 - what helpers name a token's user.
# The protocol of helpers has no code for it: https://github.com/docker/docker-credential-helpers, credentials/error.go.
_NONE_KNOWN: Final = b"credentials not found in native keychain"
_TIMEOUT_S: Final = 60.0


def config_directory(environment: Mapping[str, str]) -> Path:
    """Give the directory of Docker's own configuration."""
    if chosen := environment.get("DOCKER_CONFIG"):
        return Path(chosen)
    return Path(environment.get("HOME") or Path.home()) / ".docker"


def registry_host(name: str) -> str:
    """Give the registry of an image's name, as Docker reads it."""
    first, slash, _ = name.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else _HUB


def login(environment: Mapping[str, str], name: str) -> dict[str, str]:
    """Find the credentials for an image's name, as the engine wants them; empty if there are none.

    Raises:
        BackendUnavailableError: Docker's configuration cannot be read, or a credential helper fails.
    """
    host = registry_host(name)
    server = _HUB_SERVER if host == _HUB else host
    config = _config(environment)
    helpers = _texts(config.get("credHelpers"))
    helper = helpers.get(host) or helpers.get(server) or config.get("credsStore")
    found = _from_helper(helper, server, environment) if isinstance(helper, str) and helper else {}
    return found or _from_config(config.get("auths"), host, server)


def _config(environment: Mapping[str, str]) -> Mapping[str, object]:
    path = config_directory(environment) / "config.json"
    try:
        value: object = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise BackendUnavailableError(
            f"Docker's configuration {path} cannot be read", hint="repair or remove that file"
        ) from error
    return value if isinstance(value, dict) else {}


def _from_helper(helper: str, server: str, environment: Mapping[str, str]) -> dict[str, str]:
    program = f"docker-credential-{helper}"
    hint = f"try: echo {server} | {program} get"
    path = find_program(program, environment.get("PATH")) if "/" not in helper else None
    if path is None:
        raise BackendUnavailableError(
            f"the credential helper '{program}' is not installed",
            hint="install it, or take it out of Docker's config.json",
        )
    outcome = run(Command(argv=(path, "get"), env=environment, stdin=server.encode(), timeout_s=_TIMEOUT_S))
    if not outcome.ok and _NONE_KNOWN in outcome.stdout:
        return {}
    try:
        answer = _texts(json.loads(outcome.stdout)) if outcome.ok else {}
    except (ValueError, RecursionError):
        answer = {}
    if "Username" not in answer or "Secret" not in answer:
        # Its own words are not shown: there may be a password among them.
        raise BackendUnavailableError(f"the credential helper '{program}' gives nothing for {server}", hint=hint)
    if answer["Username"] == _TOKEN_USER:
        return {"identitytoken": answer["Secret"], "serveraddress": server}
    if not answer["Username"] and not answer["Secret"]:  # How 'pass' says that it knows none.
        return {}
    return {"username": answer["Username"], "password": answer["Secret"], "serveraddress": server}


def _from_config(auths: object, host: str, server: str) -> dict[str, str]:
    if not isinstance(auths, dict):
        return {}
    names = _HUB_NAMES if host == _HUB else (host,)
    for name, entry in auths.items():
        if isinstance(name, str) and _host(name) in names:
            found = _entry(_texts(entry), server)
            if found:
                return found
    return {}


def _entry(entry: Mapping[str, str], server: str) -> dict[str, str]:
    if token := entry.get("identitytoken"):
        return {"identitytoken": token, "serveraddress": server}
    if token := entry.get("registrytoken"):
        return {"registrytoken": token, "serveraddress": server}
    try:
        user, colon, password = base64.b64decode(entry.get("auth", "")).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        user = colon = password = ""
    if not colon:
        user, password = entry.get("username", ""), entry.get("password", "")
    return {"username": user, "password": password.rstrip("\0"), "serveraddress": server} if user else {}


def _host(name: str) -> str:
    """Give the host of an entry: older ones are addresses."""
    return name.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _texts(value: object) -> dict[str, str]:
    found = value if isinstance(value, dict) else {}
    return {name: text for name, text in found.items() if isinstance(name, str) and isinstance(text, str)}
