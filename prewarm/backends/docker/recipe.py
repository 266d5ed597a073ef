"""From a capture request to the text of a Dockerfile. Pure; called by ``capture`` alone.

A step runs as the child of a small shell wrapper, for three reasons: the first process of a container cannot be
killed by its own signals, so a step that is would look like one that succeeded; variables for steps only must be in no
layer, so they come from a mounted file; and caches of pip and npm lie outside anybody's home.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from prewarm.backends.capturing import CaptureRequest
from prewarm.backends.docker.accounts import Account
from prewarm.backends.environment import default_environment
from prewarm.backends.steps import _interpreter
from prewarm.definition.model import Json, Network
from prewarm.errors import CaptureFailedError, UnsupportedOptionError
from prewarm.render import render_recipe
from prewarm.request import RunStep, ScriptStep

MOUNTS: Final = "/run/prewarm"
ENV_SECRET: Final = "prewarm-env"  # noqa: S105 - an id.
TREE: Final = "tree.tar"
# Variables that name a file with certificates: the file is mounted for the steps, and the variable points at it.
_CERTIFICATES: Final = re.compile(r"(?i).*(CA_BUNDLE|CERT|CERTS|CERT_FILE|CERTS_FILE|CAINFO|CAFILE|ROOTS_FILE_PATH)$")
# The wrapper says nothing of its own, such as "Killed"; the step has its streams.
_QUIETLY: Final = 'exec 3>&2 2>/dev/null; (exec "$@" 2>&3 3>&-); exit $?'
_CACHES: Final = (("PIP_CACHE_DIR", "pip"), ("npm_config_cache", "npm"))


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlace:
    """What a step finds around it.

    Attributes:
        namespace: Caches are shared within one only.
        account: Who runs it, with numbers; ``None`` for a user whom an earlier step makes.
        has_shell: Whether the wrapper can run.
        has_apt: Whether apt's downloads are cached.
        caches: Whether there are cache mounts at all.
        known: Variables that the image or the definition sets; defaults stay out of their way.
        exports: Variables of the definition that a Dockerfile cannot hold.
        passes_env: Whether a file with variables for steps only is mounted.
        certificates: Id of a mount to its file on this machine, for files that passed variables name.
    """

    namespace: str
    account: Account | None
    has_shell: bool
    has_apt: bool
    caches: bool
    known: frozenset[str]
    exports: Mapping[str, str]
    passes_env: bool
    certificates: Mapping[str, str]


def render(source: str, values: Mapping[str, object]) -> str:
    """Fill in the recipe."""
    return render_recipe(source, values, "recipes/Dockerfile.j2")


def unquotable(env: Mapping[str, str]) -> dict[str, str]:
    """Give the variables that a Dockerfile cannot hold: those with a line break in the value."""
    return {name: value for name, value in env.items() if "\n" in value or "\r" in value}


def values(
    request: CaptureRequest,
    steps: Sequence[RunStep | ScriptStep],
    first: int,
    *,
    place: StepPlace,
    find: Callable[[str], Account | None],
) -> dict[str, object]:
    """Give what the recipe is filled with, but for the base and the archive of seeds.

    Args:
        request: What is captured.
        steps: Of this build, in order.
        first: Number of the first of them in the whole capture.
        place: What steps find, but for who runs them.
        find: Finds a user by name.

    Raises:
        UnsupportedOptionError: A step needs a shell, and the base has none.
    """
    env = [(name, value) for name, value in request.env.items() if name not in place.exports]
    return {
        "env": [{"name": name, "quoted": dockerfile_quoted(value)} for name, value in env],
        "workdir": dockerfile_quoted(request.workdir),
        "steps": [
            step_line(step, number, replace(place, account=find(step.user))) for number, step in enumerate(steps, first)
        ],
        "revalidate": hashlib.sha256(request.revalidate.encode()).hexdigest() if request.revalidate else "",
        "user": request.user,
        "entrypoint": words_option(request.options.get("entrypoint")),
        "command": words_option(request.options.get("cmd")),
    }


def dockerfile_quoted(text: str) -> str:
    """Quote a word for ENV: nothing in it is expanded."""
    return '"' + re.sub(r'([\\"$])', r"\\\1", text) + '"'


def json_words(words: Sequence[str]) -> str:
    """Give the exec form of an instruction. ``<`` is escaped: two of them would begin a here-document."""
    return json.dumps(list(words)).replace("<", "\\u003c")


def step_line(step: RunStep | ScriptStep, number: int, place: StepPlace) -> dict[str, object]:
    """Give what the recipe needs for one step: who, with which mounts, which words.

    Raises:
        UnsupportedOptionError: It needs a shell, and the base has none.
    """
    # Of a user whom an earlier step makes no number is known yet: such a step's files are for everybody in it.
    owner = f"mode=0400,uid={place.account.uid},gid={place.account.gid}" if place.account else "mode=0444"
    flags = ["--network=none"] if step.network is Network.NONE else []
    flags += [f"--mount=type=secret,id={one},target=/run/secrets/{one},required=true,{owner}" for one in step.secrets]
    argv = _argv(step)
    if isinstance(step, ScriptStep):
        flags.append(f"--mount=type=bind,source={script_name(number)},target={MOUNTS}/script")
    if place.has_shell:
        exports = _exports(step.user, place)
        flags += _cache_mounts(place)
        if place.passes_env:
            flags.append(f"--mount=type=secret,id={ENV_SECRET},target={MOUNTS}/env,required=true,{owner}")
            exports.append(f". {MOUNTS}/env")
        flags += [
            f"--mount=type=secret,id={one},target={certificate_path(path)},required=true,mode=0444"
            for one, path in place.certificates.items()
        ]
        argv = ("/bin/sh", "-c", "; ".join((*exports, _QUIETLY)), "step", *argv)
    elif place.passes_env or place.exports:
        raise UnsupportedOptionError(
            f"step '{step.text}' needs /bin/sh for its variables, and the base has none",
            hint="leave out 'pass_env' and variables with line breaks, or choose a base with a shell",
        )
    return {"user": step.user, "flags": flags, "argv": json_words(argv)}


def script_name(number: int) -> str:
    """Give a script step's file in the build context."""
    return f"scripts/{number}"


def env_file(pass_env: Mapping[str, str], certificates: Mapping[str, str]) -> bytes:
    """Give the file with variables for steps only, as a shell reads it.

    Args:
        pass_env: The variables.
        certificates: Names of variables to the path where their file is mounted.
    """
    lines = [f"export {name}={shlex.quote(certificates.get(name, value))}" for name, value in pass_env.items()]
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def names_certificates(variable: str, value: str) -> bool:
    """Say whether a variable is one that names a file with certificates, going by its name."""
    return value.startswith("/") and _CERTIFICATES.fullmatch(variable) is not None


def certificate_id(path: str) -> str:
    """Give the mount of a file with certificates a name."""
    return "prewarm-ca-" + hashlib.sha256(path.encode()).hexdigest()[:12]


def _argv(step: RunStep | ScriptStep) -> tuple[str, ...]:
    match step:
        case RunStep(argv=argv):
            return argv
        case ScriptStep():
            return (*_interpreter(step.content), f"{MOUNTS}/script", *step.arguments)


def _exports(user: str, place: StepPlace) -> list[str]:
    values = {
        name: value
        for name, value in default_environment(user, place.account.home if place.account else None).items()
        if name not in place.known and name != "PATH"
    }
    if place.caches and place.account:
        values |= {name: f"{MOUNTS}/cache/{directory}" for name, directory in _CACHES if name not in place.known}
    values |= place.exports
    return [f"export {' '.join(f'{name}={shlex.quote(value)}' for name, value in values.items())}"] if values else []


def _cache_mounts(place: StepPlace) -> list[str]:
    if not place.caches or place.account is None:
        return []
    scope = f"prewarm-{hashlib.sha256(place.namespace.encode()).hexdigest()[:12]}"
    uid, gid = place.account.uid, place.account.gid
    mounts = [
        f"--mount=type=cache,id={scope}-{directory}-{uid},target={MOUNTS}/cache/{directory},uid={uid},gid={gid}"
        for name, directory in _CACHES
        if name not in place.known
    ]
    if place.has_apt and uid == 0:
        mounts.append(f"--mount=type=cache,id={scope}-apt,target=/var/cache/apt,sharing=locked")
    return mounts


def certificate_path(path: str) -> str:
    """Give where a file with certificates is mounted."""
    return f"{MOUNTS}/{certificate_id(path)}.pem"


def words_option(value: Json) -> str:
    """Give an option that lists words as an instruction takes it; an empty text where it is not given."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return json_words([str(word) for word in value])
    return ""


def source() -> str:
    """Give the recipe's text, from the installed package or from a checkout.

    Raises:
        CaptureFailedError: The installation lacks it.
    """
    package = Path(__file__).resolve().parents[2]
    for directory in (package / "_templates", package.parent / "templates"):
        path = directory / "recipes" / "Dockerfile.j2"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise CaptureFailedError("the recipe Dockerfile.j2 is not installed", hint="install prewarm again")
