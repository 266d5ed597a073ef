"""The shape of ``prewarm.yaml``: pydantic models that check its head and one sandbox at a time.

Loaded only when something is to be checked. Takes plain data whose strings are rendered; gives models that ``assemble``
turns into the frozen values of ``model``. Not here: places in the file, rendering, what several definitions say about
each other. Each description is what an editor shows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from prewarm.definition.forms import (
    BackendName,
    Base64,
    Command,
    Cores,
    Count,
    Duration,
    FilePath,
    Hook,
    Image,
    InsidePath,
    Mode,
    Name,
    NetworkName,
    Options,
    ProjectPath,
    SecretId,
    Sha256,
    Size,
    StepUser,
    Text,
    UserName,
    VariableName,
)

STEP_TAGS: Final = ("<run>", "<script>", "<python>")
BACKENDS: Final = "<backends>"  # Where ``load`` puts what stands under backends' names; nobody can write it in a file.


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)


class _StepShape(_Shape):
    timeout: Duration | None = Field(None, description="After which the step is killed and the capture fails.")
    user: StepUser | None = Field(None, description="Who runs it: root in bootstrap, the sandbox's user in verify.")
    network: NetworkName | None = Field(None, description="What this step may reach, if not what the build may.")
    secrets: list[SecretId] = Field([], description="Ids of build secrets, mounted at /run/secrets/ID for this step.")


def _by_key(**tags: str) -> Discriminator:
    """Choose the shape of a mapping by the first of these keys that it has; the last one's where it has none."""

    def choose(value: object) -> str:
        keys: Collection[object] = value if isinstance(value, Mapping) else ()
        return next((tag for key, tag in tags.items() if key in keys), list(tags.values())[-1])

    return Discriminator(choose)


def _text_or(key: str) -> BeforeValidator:
    """Let plain text stand for a mapping of one key."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)


class RunShape(_StepShape):
    """A step that runs a command."""

    run: Annotated[
        Annotated[Command, Tag("<shell>")] | Annotated[list[Text], Field(min_length=1), Tag("<argv>")],
        Discriminator(lambda value: "<argv>" if isinstance(value, list) else "<shell>"),
    ] = Field(..., description="Shell text for /bin/sh -e; or a list, a program and its arguments.")


class ScriptShape(_StepShape):
    """A step that runs a script of the project."""

    script: ProjectPath = Field(..., description="A script of the project: copied in, run, removed again.")
    arguments: list[Text] = Field([], description="Passed to the script.")


class PythonShape(_StepShape):
    """A step that calls a Python function of the project."""

    python: Hook = Field(..., description="module:function of the project, called here with the sandbox.")


_AnyStep: TypeAlias = Annotated[
    Annotated[ScriptShape, Tag("<script>")]
    | Annotated[PythonShape, Tag("<python>")]
    | Annotated[RunShape, Tag("<run>")],
    _by_key(run="<run>", script="<script>", python="<python>", _="<run>"),
]
StepShape: TypeAlias = Annotated[_AnyStep, _text_or("run")]


class TreeSeedShape(_Shape):
    """Files of the project, put in before bootstrap."""

    source: ProjectPath = Field(..., description="File, directory or glob of the project.")
    target: InsidePath = Field(..., description="Where it goes; a directory's contents land in it.")
    ignore: list[Text] = Field(
        [], description="Patterns as in .gitignore, relative to the source.", examples=[["*.log"]]
    )


class InlineSeedShape(_Shape):
    """A file written here."""

    path: FilePath = Field(..., description="Where the file goes.")
    content: Text | None = Field(None, description="Its text.")
    base64: Base64 | None = Field(None, description="Its bytes, where they are no text.")
    mode: Mode = Field("0644", description="Its permission bits, in quotes.")


SeedShape: TypeAlias = Annotated[
    Annotated[InlineSeedShape, Tag("<inline>")] | Annotated[TreeSeedShape, Tag("<tree>")],
    _by_key(source="<tree>", path="<inline>", content="<inline>", base64="<inline>", _="<tree>"),
]


class ImageShape(_Shape):
    """A container image to start from."""

    image: Image = Field(..., description="A container image, or oci:./layout, or oci-archive:./image.tar.")


class RootfsShape(_Shape):
    """An archive to start from."""

    rootfs: ProjectPath = Field(..., description="A root filesystem archive: tar, plain or with gzip or zstd.")
    sha256: Sha256 | None = Field(None, description="Expected digest of the archive.")


class DockerfileShape(_Shape):
    """A Dockerfile to build and start from."""

    dockerfile: ProjectPath = Field("Dockerfile", description="Relative to the context.")
    context: ProjectPath = Field(".", description="Build context, relative to the project directory.")
    target: Text | None = Field(None, description="Stage to build; the last one if not given.")
    args: dict[VariableName, Text] = Field({}, description="Build arguments.")


BaseShape: TypeAlias = Annotated[
    Annotated[
        Annotated[RootfsShape, Tag("<rootfs>")]
        | Annotated[DockerfileShape, Tag("<dockerfile>")]
        | Annotated[ImageShape, Tag("<image>")],
        _by_key(rootfs="<rootfs>", dockerfile="<dockerfile>", context="<dockerfile>", image="<image>", _="<image>"),
    ],
    _text_or("image"),
]


class SecretShape(_Shape):
    """A value a build may use and nothing may keep."""

    id: SecretId = Field(..., description="Its name: the file below /run/secrets, and what steps list.")
    env: VariableName | None = Field(None, description="Environment variable to take it from.")
    file: ProjectPath | None = Field(None, description="File of the project to take it from.")


class BuildShape(_Shape):
    """How to capture; not in the key."""

    network: NetworkName = Field("all", description="What steps may reach unless they say otherwise.")
    pass_env: list[VariableName] = Field(
        [], description="Environment variables handed to steps, kept out of the template."
    )
    secrets: list[SecretShape] = Field([], description="Secrets that steps may ask for by id.")
    timeout: Duration | None = Field(None, description="For the whole capture.")


class ResourcesShape(_Shape):
    """Limits of a session."""

    memory: Size | None = Field(None, description="Most memory.")
    cpus: Cores | None = Field(None, description="Processor cores, fractions allowed.")
    pids: Count | None = Field(None, description="Most processes and threads.")
    disk: Size | None = Field(None, description="Most bytes that a session may write.")


class SessionShape(_Shape):
    """How to open; not in the key."""

    network: NetworkName = Field("none", description="What a session may reach; nothing unless asked for.")
    resources: ResourcesShape | None = Field(None, description="Limits of a session.")
    idle_timeout: Duration | None = Field(None, description="Without a call from a client for so long, it ends.")
    max_lifetime: Duration | None = Field(None, description="After so long it ends in any case.")
    backends: dict[str, Options] = Field({}, alias=BACKENDS)


class SandboxShape(_Shape):
    """One sandbox."""

    base: BaseShape | None = Field(None, description="What it starts from: an image, 'host', an archive, a Dockerfile.")
    extends: Name | None = Field(
        None, description="Sandbox of this file whose template it starts from, instead of a base."
    )
    backend: BackendName | None = Field(None, description="auto, or the name of an installed backend.")
    user: UserName | None = Field(None, description="Who sessions run as; created if missing. 'sandbox' if not given.")
    workdir: InsidePath | None = Field(
        None, description="Where commands start; created if missing. /workspace if not given."
    )
    env: dict[VariableName, Text] = Field({}, description="For steps and sessions; added to that of what it extends.")
    seed: list[SeedShape] = Field([], description="Files put in before bootstrap; a later one wins at the same path.")
    bootstrap: list[StepShape] = Field([], description="Steps that run once, in order, when the template is captured.")
    verify: list[StepShape] = Field([], description="Steps that must pass in a session opened from the fresh capture.")
    inputs: list[ProjectPath] = Field([], description="Further files or globs whose content counts for the key.")
    revalidate: Text | None = Field(None, description="Free text that counts; change it to capture again.")
    build: BuildShape | None = Field(None, description="How to capture; not in the key.")
    session: SessionShape | None = Field(None, description="How to open; not in the key.")
    backends: dict[str, Options] = Field({}, alias=BACKENDS)


class HeaderShape(_Shape):
    """What stands beside the sandboxes."""

    version: Literal[1] = Field(1, description="Of this file's format.")
    namespace: Name = Field(..., description="Of this application: in every name and label that prewarm makes.")
    vars: dict[VariableName, Text | None] = Field({}, description="Text for {{ NAME }}; empty means: to be given.")
