"""A Python hook between two builds: a container of the image so far, the hook in this process, a commit.

Variables and secrets of the hook are given to its commands, or lie in memory mounts; the container itself has none of
them, so that none can end in the image.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from prewarm.backends.capturing import CaptureObserver, CaptureRequest
from prewarm.backends.commands import run_command
from prewarm.backends.docker import platforms, recipe
from prewarm.backends.docker.engine import Engine, raw, translated
from prewarm.backends.docker.handle import DockerSession, remove
from prewarm.backends.docker.images import ImageFacts
from prewarm.backends.docker.keeper import command
from prewarm.backends.docker.names import LABEL_BUILD, LABEL_ROLE, LABEL_SCHEMA, ROLE_BUILD, SCHEMA, build_container
from prewarm.backends.docker.policy import Policy
from prewarm.backends.hosting import ProcessRequest
from prewarm.backends.steps import run_bootstrap_step
from prewarm.definition.model import Json, Network, SessionOptions
from prewarm.errors import CaptureFailedError
from prewarm.request import HookStep

_SECRETS: Final = "/run/secrets"
_MEMORY: Final = "/dev/shm"  # noqa: S108 - the container's; memory, and in no commit.
_PLACE: Final = 'umask 077; cat > "$1" && chmod "$3" "$1" && chown "$2" "$1"'


def run(  # noqa: PLR0913 - a hook and its surroundings.
    engine: Engine,
    request: CaptureRequest,
    step: HookStep,
    *,
    image: ImageFacts,
    tag: str,
    number: int,
    identity: str,
    certificates: Mapping[str, str],
    observer: CaptureObserver,
    redact: Callable[[str], str],
    deadline: float,
) -> None:
    """Run a hook over an image and commit what it did to a tag.

    Raises:
        StepFailedError: It raised, or its time was up.
        CaptureFailedError: The container could not be made or committed.
    """
    left = max(1.0, min(step.timeout_s, deadline - time.monotonic())) + 60.0
    memory: dict[str, Json] = {"tmpfs": {_SECRETS: ""}} if step.secrets else {}
    options = SessionOptions(network=step.network, idle_timeout_s=left, max_lifetime_s=left, options=memory)
    policy = Policy(user="root", workdir=request.workdir, env={}, options=options)
    container = _container(engine, request, step, image, identity=identity, left=left)
    try:
        handle = DockerSession(engine, container, key=request.key, policy=policy, known=frozenset(image.env))
        for one in step.secrets:
            _put(handle, f"{_SECRETS}/{one}", request.secrets[one], owner=step.user, mode="0400")
        trusted = {}
        for name, path in certificates.items():
            trusted[name] = f"{_MEMORY}/{recipe.certificate_id(path)}.pem"
            _put(handle, trusted[name], Path(path).read_bytes(), owner="root", mode="0444")
        run_bootstrap_step(handle, number, request, observer, redact=redact, deadline=deadline, env=trusted)
        _commit(engine, container, image, tag)
    finally:
        remove(engine, container)


def _container(
    engine: Engine, request: CaptureRequest, step: HookStep, image: ImageFacts, *, identity: str, left: float
) -> str:
    from docker.errors import APIError

    with translated():
        api = engine.api
        try:
            made: dict[str, Any] = api.create_container(
                image.id,
                entrypoint=command(idle_s=left, ends_at=time.time() + left),
                command=[],
                name=build_container(request.key),
                user="0:0",
                labels={LABEL_SCHEMA: SCHEMA, LABEL_ROLE: ROLE_BUILD, LABEL_BUILD: identity},
                host_config=api.create_host_config(
                    init=True,
                    network_mode="none" if step.network is Network.NONE else "bridge",
                    tmpfs={_SECRETS: "mode=0755"} if step.secrets else None,
                ),
            )
        except APIError as error:
            raise CaptureFailedError(f"no container for hook '{step.text}': {error.explanation}") from error
        try:
            api.start(made["Id"])
        except APIError as error:
            remove(engine, made["Id"])
            raise CaptureFailedError(
                f"no container for hook '{step.text}': {error.explanation}",
                hint="a hook needs /bin/sh and sleep in the base",
            ) from error
    if not platforms.runs(engine, made["Id"], image.platform):
        remove(engine, made["Id"])
        raise CaptureFailedError(
            f"hook '{step.text}' cannot run: this engine cannot run programs of {image.platform}",
            hint=platforms.EMULATE,
        )
    return str(made["Id"])


def _put(handle: DockerSession, path: str, data: bytes, *, owner: str, mode: str) -> None:
    argv = ("/bin/sh", "-c", _PLACE, "put", path, owner, mode)
    request = ProcessRequest(argv=argv, cwd="/", env={}, user="root", stdin=True)
    result = run_command(handle, request, stdin=data, deadline=time.monotonic() + 30.0, max_output=4096)
    if not result.ok:
        raise CaptureFailedError(f"cannot put {path} into the hook's container: {result.stderr.strip()}")


def _commit(engine: Engine, container: str, image: ImageFacts, tag: str) -> None:
    from docker.errors import APIError

    repository, _, label = tag.rpartition(":")
    with translated():
        try:
            config = raw(engine.api).inspect_image(image.id)["Config"]
            # What the engine is not told it would take from the container, whose words are the keeper's and this build's.
            labels = {**(config.get("Labels") or {}), LABEL_BUILD: ""}
            kept = {**config, "Entrypoint": config.get("Entrypoint") or [], "Cmd": config.get("Cmd"), "Labels": labels}
            engine.api.commit(container, repository=repository, tag=label, conf=kept, pause=True)
        except APIError as error:
            raise CaptureFailedError(f"what the hook did could not be committed: {error.explanation}") from error
