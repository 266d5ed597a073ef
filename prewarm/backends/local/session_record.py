"""A session as its directory records it (``meta.json``): what it was born from and how it was last opened."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from prewarm.backends.hosting import OpenRequest
from prewarm.backends.local.disk import write_file
from prewarm.backends.local.lease import Term
from prewarm.backends.local.templates import Template
from prewarm.definition.options import Network, Resources, SessionOptions
from prewarm.document import Node, parse

STATE_SCHEMA: Final = "prewarm.local-session/1"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class LocalSessionRecord(NamedTuple):
    """What is known of a session.

    Attributes:
        id: Its directory's name.
        namespace: Whose it is.
        name: Of the sandbox.
        session_key: The application's own name for it.
        template: What it was born from, as it was then.
        user: Who its commands run as by default; owns its new files.
        options: Of the last opening.
        opened_at: Seconds since the epoch.
        boot: Which run of this machine it was opened in.
        opened_after_s: Seconds of that run, which no clock setting changes.
        groups: Its cgroups by controller.
    """

    id: str
    namespace: str
    name: str
    session_key: str
    template: Template
    user: str
    options: SessionOptions
    opened_at: float
    boot: str
    opened_after_s: float
    groups: Mapping[str, Path] = MappingProxyType({})

    @property
    def term(self) -> Term:
        return Term(idle_s=self.options.idle_timeout_s, life_s=self.options.max_lifetime_s)

    @property
    def lived_s(self) -> float:
        """Seconds since it was opened."""
        if self.boot == this_boot():
            return boot_seconds() - self.opened_after_s
        return max(0.0, time.time() - self.opened_at)

    @classmethod
    def new(cls, identity: str, request: OpenRequest, template: Template) -> LocalSessionRecord:
        """Give the record of a session that is opened now."""
        return cls(
            id=identity,
            namespace=request.namespace,
            name=request.name,
            session_key=request.session_key,
            template=template,
            user=request.user,
            options=request.options,
            opened_at=time.time(),
            boot=this_boot(),
            opened_after_s=boot_seconds(),
        )

    def to_json(self) -> dict[str, Any]:
        resources = self.options.resources
        return {
            "schema": STATE_SCHEMA,
            "id": self.id,
            "namespace": self.namespace,
            "name": self.name,
            "session_key": self.session_key,
            "template": self.template.to_json(),
            "user": self.user,
            "network": self.options.network.value,
            "memory": resources.memory,
            "cpus": resources.cpus,
            "pids": resources.pids,
            "idle_timeout_s": self.options.idle_timeout_s,
            "max_lifetime_s": self.options.max_lifetime_s,
            "opened_at": self.opened_at,
            "boot": self.boot,
            "opened_after_s": self.opened_after_s,
            "groups": {name: str(path) for name, path in self.groups.items()},
        }

    @classmethod
    def from_bytes(cls, content: bytes) -> LocalSessionRecord:
        """Read what ``to_json`` gave.

        Raises:
            ValueError: It is not one.
        """
        node = parse(content)
        if node.get("schema").text() != STATE_SCHEMA:
            raise ValueError("of an unknown version")
        return cls(
            id=node.get("id").text(),
            namespace=node.get("namespace").text(),
            name=node.get("name").text(),
            session_key=node.get("session_key").text(),
            template=Template.from_node(node.get("template")),
            user=node.get("user").text(),
            options=_options(node),
            opened_at=node.get("opened_at").positive(),
            boot=node.get("boot").text(),
            opened_after_s=node.get("opened_after_s").positive(),
            groups={name: Path(path) for name, path in node.get("groups").texts().items()},
        )


def _options(node: Node) -> SessionOptions:
    return SessionOptions(
        network=node.get("network").member(Network),
        resources=Resources(
            memory=node.get("memory").count_or_none(),
            cpus=node.get("cpus").positive_or_none(),
            pids=node.get("pids").count_or_none(),
        ),
        idle_timeout_s=node.get("idle_timeout_s").positive(),
        max_lifetime_s=node.get("max_lifetime_s").positive(),
    )


def read(directory: Path) -> LocalSessionRecord | None:
    """Read a session's record; ``None`` where it has ended, was never finished, or is damaged."""
    try:
        return LocalSessionRecord.from_bytes((directory / "meta.json").read_bytes())
    except (OSError, ValueError):
        return None


def write(directory: Path, record: LocalSessionRecord) -> None:
    """Write a session's record."""
    write_file(directory / "meta.json", json.dumps(record.to_json()).encode())


def this_boot() -> str:
    """Say which run of this machine this is."""
    return _BOOT_ID.read_text(encoding="ascii").strip()


def boot_seconds() -> float:
    """Give seconds since boot, which no clock setting changes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
