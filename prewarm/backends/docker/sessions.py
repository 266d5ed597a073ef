"""Open, attach and list sessions: containers with a keeper in them, found by name or id, told by their labels."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from prewarm.backends.docker import platforms
from prewarm.backends.docker import policy as policies
from prewarm.backends.docker.engine import Engine, raw, translated
from prewarm.backends.docker.handle import STATE_SCHEMA, DockerSession, expired, gone, inspect, remove
from prewarm.backends.docker.images import held
from prewarm.backends.docker.keeper import EXPIRED, command
from prewarm.backends.docker.names import (
    BACKEND,
    LABEL_EXPIRES,
    LABEL_KEY,
    LABEL_NAME,
    LABEL_NAMESPACE,
    LABEL_POLICY,
    LABEL_REF,
    LABEL_ROLE,
    LABEL_SCHEMA,
    LABEL_SESSION,
    ROLE_SESSION,
    SCHEMA,
    session_container,
)
from prewarm.backends.docker.policy import Policy
from prewarm.backends.hosting import OpenRequest, SessionRecord
from prewarm.definition.model import Json, Network
from prewarm.errors import (
    OtherPlatformError,
    SessionFailedError,
    SessionGoneError,
    SessionStateError,
)
from prewarm.key import TemplateKey
from prewarm.request import TemplateRef

_TRIES: Final = 5
_CONFLICT: Final = 409
_GOING: Final = frozenset({"removing", "dead"})
_REMOVAL_S: Final = 30.0
_POLL_S: Final = 0.05


def open_session(engine: Engine, request: OpenRequest, allowed: Sequence[str]) -> DockerSession:
    """Open a session, or attach to the one of this namespace, name and session key.

    Raises:
        TemplateNotFoundError, TemplateCorruptError: The image is not there, or is another one.
        SessionFailedError: The engine refused.
    """
    policy = Policy(user=request.user, workdir=request.workdir, env=request.env, options=request.options)
    name = session_container(request.namespace, request.name, request.session_key)
    for _ in range(_TRIES):
        made = _create(engine, request, policy, name, allowed)
        if made is not None:
            return made
        found = _by_name(engine, name)
        if found is None:  # Gone since, or its name is not free yet.
            time.sleep(_POLL_S)
            continue
        labels = found["Config"]["Labels"] or {}
        identity = (request.namespace, request.name, request.session_key)
        if tuple(labels.get(label) for label in (LABEL_NAMESPACE, LABEL_NAME, LABEL_SESSION)) != identity:
            raise SessionFailedError(
                f"a container named '{name}' exists and is not this session", hint=f"remove it: docker rm -f {name}"
            )
        if expired(found, _ends_at(labels)):
            remove(engine, found["Id"])
        else:
            with contextlib.suppress(SessionGoneError):  # Somebody removes it; its name is free when that is done.
                return _enter(engine, found, policy)
        _await_removal(engine, found["Id"])
    raise SessionFailedError(
        f"session '{request.session_key}' of '{request.name}' comes and goes",
        hint="something else removes it; see 'docker events'",
    )


def attach(engine: Engine, state: Mapping[str, Json]) -> DockerSession:
    """Find a session again by its state.

    Raises:
        SessionGoneError: It has expired or was removed.
        SessionStateError: The state is not one of this backend's, or of an unknown version.
    """
    found = _by_state(engine, state)
    labels = found["Config"]["Labels"]
    if expired(found, _ends_at(labels)):
        remove(engine, found["Id"])
        raise gone(found["Id"])
    return _enter(engine, found, policies.from_json(labels[LABEL_POLICY]))


def end(engine: Engine, state: Mapping[str, Json]) -> None:
    """End a session by its state, without starting it; one that has ended is fine.

    Raises:
        SessionStateError: The state is not one of this backend's, or of an unknown version.
    """
    with contextlib.suppress(SessionGoneError):
        remove(engine, _by_state(engine, state)["Id"])


def _by_state(engine: Engine, state: Mapping[str, Json]) -> Mapping[str, Any]:
    container = state.get("container")
    if state.get("schema") != STATE_SCHEMA or not isinstance(container, str) or not container.isalnum():
        raise SessionStateError(
            f"this is no session state of the docker backend: schema {state.get('schema')!r}, not {STATE_SCHEMA!r}"
        )
    found = inspect(engine, container)
    if (found["Config"]["Labels"] or {}).get(LABEL_ROLE) != ROLE_SESSION:
        raise SessionStateError(f"container {container[:12]} is no session of prewarm")
    return found


def list_sessions(engine: Engine, namespace: str | None) -> list[SessionRecord]:
    """List live sessions; those that have expired are no more."""
    filters = {"label": [f"{LABEL_ROLE}={ROLE_SESSION}"]}
    if namespace is not None:
        filters["label"].append(f"{LABEL_NAMESPACE}={namespace}")
    with translated():
        containers: list[dict[str, Any]] = engine.api.containers(all=True, filters=filters)
    records = []
    for found in containers:
        labels = found["Labels"]
        if not is_over(found):
            records.append(_record(found, labels, _ends_at(labels)))
    return sorted(records, key=lambda record: (record.namespace, record.name, record.session_key))


def is_over(found: Mapping[str, Any]) -> bool:
    """Say of a listed session container whether it has expired."""
    ends_at = _ends_at(found["Labels"])
    if ends_at is not None and time.time() >= ends_at:
        return True
    return found["State"] == "exited" and f"({EXPIRED})" in found["Status"]


def _record(found: Mapping[str, Any], labels: Mapping[str, str], ends_at: float | None) -> SessionRecord:
    ref: dict[str, Any] = json.loads(labels[LABEL_REF])
    return SessionRecord(
        id=found["Id"],
        namespace=labels[LABEL_NAMESPACE],
        name=labels[LABEL_NAME],
        session_key=labels[LABEL_SESSION],
        key=TemplateKey(labels[LABEL_KEY]),
        ref=TemplateRef(backend=BACKEND, format=ref["format"], value=ref["value"]),
        running=found["State"] == "running",
        expires_at=ends_at,
        state={"schema": STATE_SCHEMA, "container": found["Id"]},
    )


def _create(
    engine: Engine, request: OpenRequest, policy: Policy, name: str, allowed: Sequence[str]
) -> DockerSession | None:
    from docker.errors import APIError

    image = held(engine, request.ref, request.key)
    ends_at = time.time() + request.options.max_lifetime_s
    labels = {
        LABEL_SCHEMA: SCHEMA,
        LABEL_ROLE: ROLE_SESSION,
        LABEL_NAMESPACE: request.namespace,
        LABEL_NAME: request.name,
        LABEL_SESSION: request.session_key,
        LABEL_KEY: request.key,
        LABEL_EXPIRES: repr(ends_at),
        LABEL_POLICY: policy.to_json(),
        LABEL_REF: json.dumps({"format": request.ref.format, "value": dict(request.ref.value)}, sort_keys=True),
    }
    config = policies.host_config(policy, allowed, os.path.realpath if engine.is_local else str)
    ports = policies.exposed(request.options.options)
    with translated():
        api = engine.api
        try:
            made = api.create_container(
                image.id,
                entrypoint=command(idle_s=request.options.idle_timeout_s, ends_at=ends_at),
                command=[],
                name=name,
                user="0:0",
                working_dir="/",
                labels=labels,
                ports=ports or None,
                host_config=api.create_host_config(**config),
            )
        except APIError as error:
            if error.status_code == _CONFLICT:
                return None
            raise policies.refusal(error, policy) from error
        try:
            api.start(made["Id"])
        except APIError as error:
            remove(engine, made["Id"])
            raise policies.refusal(error, policy) from error
    if not platforms.runs(engine, made["Id"], image.platform):
        remove(engine, made["Id"])
        raise OtherPlatformError(
            f"'{request.name}' is for {image.platform}, and this engine cannot run programs of that platform",
            hint=platforms.EMULATE,
        )
    return DockerSession(engine, made["Id"], key=request.key, policy=policy, known=frozenset(image.env))


def _enter(engine: Engine, found: Mapping[str, Any], policy: Policy) -> DockerSession:
    """Start a container if it is stopped, apply the policy, give a handle."""
    from docker.errors import APIError, NotFound

    container: str = found["Id"]
    labels = found["Config"]["Labels"]
    with translated():
        api = engine.api
        try:
            if found["State"].get("Paused"):
                api.unpause(container)
            if changes := policies.update(policy, found["HostConfig"]):
                client = raw(api)
                response = client._post_json(client._url("/containers/{0}/update", container), data=changes)  # noqa: SLF001
                client._raise_for_status(response)  # noqa: SLF001 - the SDK's update knows no pids limit.
            _connect(engine, container, set(found["NetworkSettings"]["Networks"] or {}), policy)
            if not found["State"]["Running"]:
                api.start(container)
        except NotFound as error:
            raise gone(container) from error
        except APIError as error:
            if _is_going(engine, container):
                raise gone(container) from error
            raise policies.refusal(error, policy) from error
    env = found["Config"].get("Env") or ()
    known = frozenset(text.split("=", 1)[0] for text in env)
    return DockerSession(engine, container, key=TemplateKey(labels[LABEL_KEY]), policy=policy, known=known)


def _is_going(engine: Engine, container: str) -> bool:
    """Say whether somebody removes a container, or has."""
    try:
        return inspect(engine, container)["State"]["Status"] in _GOING
    except SessionGoneError:
        return True


def _await_removal(engine: Engine, container: str) -> None:
    deadline = time.monotonic() + _REMOVAL_S
    with contextlib.suppress(SessionGoneError):  # As it should be.
        while inspect(engine, container)["State"]["Status"] in _GOING and time.monotonic() < deadline:
            time.sleep(_POLL_S)


def _connect(engine: Engine, container: str, networks: set[str], policy: Policy) -> None:
    if policy.options.network is Network.NONE:
        for network in networks - {"none"}:
            engine.api.disconnect_container_from_network(container, network, force=True)
    elif not networks - {"none"}:
        if networks:
            engine.api.disconnect_container_from_network(container, "none", force=True)
        engine.api.connect_container_to_network(container, "bridge")


def _by_name(engine: Engine, name: str) -> dict[str, Any] | None:
    from docker.errors import NotFound

    with translated():
        try:
            found: dict[str, Any] = engine.api.inspect_container(name)
        except NotFound:
            return None
    return found


def _ends_at(labels: Mapping[str, str]) -> float | None:
    try:
        return float(labels[LABEL_EXPIRES])
    except (KeyError, ValueError):
        return None
