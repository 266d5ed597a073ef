"""Whether the docker backend can work here: an engine that answers, new enough, and a builder."""

from __future__ import annotations

import re
from typing import Final

from prewarm.backends.docker.engine import Engine, translated
from prewarm.backends.docker.exchange import can_rewrite
from prewarm.backends.health import Finding, Health
from prewarm.errors import PrewarmError
from prewarm.process import Command, run

_TIMEOUT_S: Final = 5.0
_BUILDER_S: Final = 30.0  # buildx itself waits 20 for one that does not answer.

_SAID: Final = re.compile(r"^(?:Driver|Status): +(\S+)", re.MULTILINE)  # Its driver, then the state of each node.
_BROKEN: Final = re.compile(r"^Error: +(.+)", re.MULTILINE)  # Instead of a node's state.
_REMOTE: Final = "remote"  # The only driver that cannot start its builder.
_INACTIVE: Final = "inactive"
_STATUSES: Final = {_INACTIVE: "not running yet: the first build starts it", "stopped": "stopped: a build starts it"}


def check(engine: Engine) -> Health:
    """Look at the engine and the builder; changes nothing, never raises."""
    try:
        with translated():
            version = engine.api.version()
    except PrewarmError as error:
        return Health(findings=(Finding(subject="docker engine", ok=False, detail=error.message, hint=error.hint),))
    findings = [Finding(subject="docker engine", ok=True, detail=f"{version['Version']}, API {version['ApiVersion']}")]
    is_podman = any("Podman" in str(part.get("Name")) for part in version.get("Components") or ())
    if is_podman and not engine.environment.get("BUILDX_BUILDER"):
        findings.append(
            Finding(
                subject="buildkit",
                ok=False,
                detail="the engine is Podman, which has no BuildKit of its own",
                hint="name a builder that loads into it in BUILDX_BUILDER, or use the local backend",
            )
        )
    outcome = run(Command(argv=("docker", "buildx", "version"), env=engine.environment, timeout_s=_TIMEOUT_S))
    if outcome.ok:
        detail = outcome.stdout.decode("utf-8", "replace").strip()
        findings.append(Finding(subject="docker buildx", ok=True, detail=detail))
    else:
        findings.append(
            Finding(
                subject="docker buildx",
                ok=False,
                detail=outcome.describe(),
                hint="install Docker's command line and its buildx plugin (packages docker-cli and docker-buildx)",
            )
        )
    if outcome.ok:
        findings += _builder(engine)
    if outcome.ok and all(finding.ok for finding in findings):
        findings.append(_reproducible(engine))
    return Health(findings=tuple(findings))


def _reproducible(engine: Engine) -> Finding:
    """Say whether two captures of the same steps can be one image here; nobody needs it, so it is no failure."""
    try:
        if can_rewrite(engine):
            detail = "with --reproducible"
        else:
            detail = "not here: Docker's own image store keeps the times in layers; containerd's, or another builder, does not"
    except PrewarmError as error:
        return Finding(subject="reproducible images", ok=False, detail=error.message, hint=error.hint)
    return Finding(subject="reproducible images", ok=True, detail=detail)


def _builder(engine: Engine) -> list[Finding]:
    """Name the builder that is not the engine's own, and say what it is; no builder is started for that."""
    named = engine.environment.get("BUILDX_BUILDER")
    try:
        if not named and engine.builder.is_engines_own:
            return []
        name = named or engine.builder.name
    except PrewarmError as error:
        return [Finding(subject="builder", ok=False, detail=error.message, hint=error.hint)]
    outcome = run(Command(argv=("docker", "buildx", "inspect", name), env=engine.environment, timeout_s=_BUILDER_S))
    if not outcome.ok:
        hint = "choose another in BUILDX_BUILDER: see 'docker buildx ls'"
        return [Finding(subject=f"builder '{name}'", ok=False, detail=outcome.describe(), hint=hint)]
    said = outcome.stdout.decode("utf-8", "replace")
    driver, *statuses = _SAID.findall(said) or ["known to buildx"]
    broken = _BROKEN.search(said)
    if broken or (driver == _REMOTE and _INACTIVE in statuses):
        hint = "start it, or choose another in BUILDX_BUILDER; what is reused needs none"
        detail = f"{driver}, does not answer{f': {broken[1]}' if broken else ''}"
        return [Finding(subject=f"builder '{name}'", ok=False, required=False, detail=detail, hint=hint)]
    detail = ", ".join([driver, *(_STATUSES.get(status, status) for status in dict.fromkeys(statuses))])
    return [Finding(subject=f"builder '{name}'", ok=True, detail=detail)]
