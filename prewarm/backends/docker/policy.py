"""What a session may: network, limits, lifetimes, and the engine options of the docker backend. Pure.

Kept in a label, so that whoever attaches applies it again; turned into the engine's words here and nowhere else.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from prewarm.backends.paths import is_below
from prewarm.definition.model import Json, Network, Resources, SessionOptions
from prewarm.errors import SessionFailedError, UnsupportedOptionError

ALLOWED_MOUNTS: Final = "PREWARM_DOCKER_MOUNTS"
SESSION_OPTIONS: Final = ("runtime", "read_only", "tmpfs", "mounts", "expose")
TEMPLATE_OPTIONS: Final = ("cache_mounts", "entrypoint", "cmd")
_NANO: Final = 1_000_000_000
_PORTS: Final = range(1, 65536)
_REFUSALS: Final = {
    "bind source path": "make the directory on the engine's machine first",
    "runtime name": "'docker info' lists the runtimes that this engine knows; daemon.json adds others",
    "/bin/sh": "a session needs /bin/sh and sleep in its template",
}
_SIZE: Final = re.compile(r"([0-9]+[kmgKMG%]?)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a session may, complete.

    Attributes:
        user: Who commands run as.
        workdir: Where they start.
        env: Of every command.
    """

    user: str
    workdir: str
    env: Mapping[str, str]
    options: SessionOptions

    def to_json(self) -> str:
        """Give it as a label's text."""
        o = self.options
        value = {
            "user": self.user,
            "workdir": self.workdir,
            "env": dict(self.env),
            "network": o.network.value,
            "resources": {
                "memory": o.resources.memory,
                "cpus": o.resources.cpus,
                "pids": o.resources.pids,
                "disk": o.resources.disk,
            },
            "idle_timeout_s": o.idle_timeout_s,
            "max_lifetime_s": o.max_lifetime_s,
            "options": dict(o.options),
        }
        return json.dumps(value, sort_keys=True)


def from_json(text: str) -> Policy:
    """Read a label.

    Raises:
        SessionFailedError: It is none that ``to_json`` wrote.
    """
    try:
        value: dict[str, Any] = json.loads(text)
        options = SessionOptions(
            network=Network(value["network"]),
            resources=Resources(**value["resources"]),
            idle_timeout_s=value["idle_timeout_s"],
            max_lifetime_s=value["max_lifetime_s"],
            options=value["options"],
        )
        return Policy(user=value["user"], workdir=value["workdir"], env=value["env"], options=options)
    except (ValueError, KeyError, TypeError) as error:
        raise SessionFailedError(f"the label with the session's policy cannot be read: {error}") from error


def host_config(policy: Policy, allowed: Sequence[str], follow: Callable[[str], str] = str) -> dict[str, Any]:
    """Give the keywords of the SDK's ``create_host_config``.

    Args:
        policy: What the session may.
        allowed: Directories that mounts may come from.
        follow: Resolves the links in a path of the engine's machine, where that is this one.

    Raises:
        UnsupportedOptionError: A mount is not from the allow-list, or ports are to be shown without a network.
    """
    resources, options = policy.options.resources, policy.options.options
    config: dict[str, Any] = {
        "init": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "network_mode": "none" if policy.options.network is Network.NONE else "bridge",
        "read_only": bool(options.get("read_only", False)),
    }
    if resources.pids is not None:
        config["pids_limit"] = resources.pids
    if resources.memory is not None:
        config |= {"mem_limit": resources.memory, "memswap_limit": resources.memory}
    if resources.cpus is not None:
        config["nano_cpus"] = round(resources.cpus * _NANO)
    if resources.disk is not None:
        config["storage_opt"] = {"size": str(resources.disk)}
    if isinstance(runtime := options.get("runtime"), str):
        config["runtime"] = runtime
    if isinstance(tmpfs := options.get("tmpfs"), Mapping):
        config["tmpfs"] = {path: f"size={size},mode=1777" if size else "mode=1777" for path, size in tmpfs.items()}
    if isinstance(mounts := options.get("mounts"), Sequence):
        config["mounts"] = [_bind(mount, allowed, follow) for mount in mounts if isinstance(mount, Mapping)]
    if ports := exposed(options):
        if policy.options.network is Network.NONE:
            raise UnsupportedOptionError(
                f"port {ports[0]} cannot be exposed: the session has no network",
                hint="set 'network: all' for the session, or leave out 'expose'",
            )
        config["port_bindings"] = dict.fromkeys(ports, ("127.0.0.1", None))
    return config


def update(policy: Policy, now: Mapping[str, Any]) -> dict[str, Any]:
    """Give what has to be sent to the engine for the limits to hold, against its ``HostConfig``; empty for nothing."""
    resources = policy.options.resources
    wanted: dict[str, Any] = {}
    if resources.memory is not None and now.get("Memory") != resources.memory:
        wanted |= {"Memory": resources.memory, "MemorySwap": resources.memory}
    if resources.cpus is not None and now.get("NanoCpus") != round(resources.cpus * _NANO):
        wanted["NanoCpus"] = round(resources.cpus * _NANO)
    if resources.pids is not None and now.get("PidsLimit") != resources.pids:
        wanted["PidsLimit"] = resources.pids
    return wanted


def refusal(error: Exception, policy: Policy) -> Exception:
    """Give the error for a session that the engine did not start."""
    detail = str(getattr(error, "explanation", None) or error)
    if policy.options.resources.disk is not None and "storage-opt" in detail:
        return UnsupportedOptionError(
            f"this engine cannot limit a session's disk: {detail}",
            hint="leave out 'disk', or give the engine a file system with quotas (xfs with pquota)",
        )
    hint = next((hint for sign, hint in _REFUSALS.items() if sign in detail), None)
    return SessionFailedError(f"the session could not be started: {detail}", hint=hint)


def exposed(options: Mapping[str, Json]) -> list[int]:
    """Give the ports that a session shows on this machine's loopback."""
    ports = options.get("expose")
    return [port for port in ports if isinstance(port, int)] if isinstance(ports, Sequence) else []


def problems(template: Mapping[str, Json], session: Mapping[str, Json]) -> list[str]:
    """Say what is wrong with the backend's own options."""
    found = [
        f"unknown option '{name}' (known: {', '.join(known)})"
        for given, known in ((template, TEMPLATE_OPTIONS), (session, SESSION_OPTIONS))
        for name in given
        if name not in known
    ]
    if not isinstance(template.get("cache_mounts", True), bool):
        found.append("'cache_mounts' is not true or false")
    found += [f"'{name}' is not a list of texts" for name in ("entrypoint", "cmd") if not _is_words(template.get(name))]
    if not isinstance(session.get("read_only", False), bool):
        found.append("'read_only' is not true or false")
    if not isinstance(session.get("runtime", ""), str):
        found.append("'runtime' is not the name of a runtime")
    tmpfs = session.get("tmpfs", {})
    if not (
        isinstance(tmpfs, Mapping) and all(posixpath.isabs(p) and _SIZE.fullmatch(str(s)) for p, s in tmpfs.items())
    ):
        found.append("'tmpfs' is not a mapping of absolute paths to sizes, such as 64m, or '' for no limit of its own")
    ports = session.get("expose", [])
    if not (_is_list(ports) and all(isinstance(port, int) and port in _PORTS for port in ports)):
        found.append("'expose' is not a list of port numbers")
    mounts = session.get("mounts", [])
    if not (_is_list(mounts) and all(_is_mount(mount) for mount in mounts)):
        found.append("'mounts' is not a list of {source, target, read_only}, the first two absolute paths")
    return found


def _is_list(value: Json) -> TypeGuard[Sequence[Json]]:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_words(value: Json) -> bool:
    return value is None or (
        isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(word, str) for word in value)
    )


def _is_mount(mount: Json) -> bool:
    return (
        isinstance(mount, Mapping)
        and set(mount) <= {"source", "target", "read_only"}
        and all(isinstance(path := mount.get(name), str) and posixpath.isabs(path) for name in ("source", "target"))
        and isinstance(mount.get("read_only", True), bool)
    )


def _bind(mount: Mapping[str, Json], allowed: Sequence[str], follow: Callable[[str], str]) -> dict[str, Any]:
    source = posixpath.normpath(str(mount["source"]))
    real = follow(source)
    # A session that may write in an allowed directory could leave a link there for the next one.
    listed = any(is_below(source, root) for root in allowed)
    if not listed or not any(is_below(real, root) for root in [*allowed, *map(follow, allowed)]):
        leads = "" if real == source else f": it leads to '{real}'"
        raise UnsupportedOptionError(
            f"mount of '{source}' is not allowed{leads}",
            hint=f"list {'it' if real == source else 'that'}, or a directory above it, in {ALLOWED_MOUNTS}",
        )
    # As a mount and not in one text with colons: so the engine makes no directory where the source is missing.
    return {
        "Type": "bind",
        "Source": real,
        "Target": str(mount["target"]),
        "ReadOnly": bool(mount.get("read_only", True)),
    }
