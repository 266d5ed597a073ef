"""Turn a checked shape into the frozen values of ``model``, with every default filled in.

Pure; nothing can fail here that ``checking`` has let through. Called by ``load`` and ``construct``.
"""

from __future__ import annotations

import posixpath
from typing import Final

from prewarm.definition import fields, model, schema

_DEFAULTS: Final = model.Template(base=model.HostBase())
_INHERITABLE: Final = ("user", "workdir", "backend")


def definition(name: str, shape: schema.SandboxShape, origin: model.Origin | None) -> model.Definition:
    """Make a definition out of its shape."""
    return model.Definition(
        name=name,
        template=model.Template(
            base=_base(shape),
            user=shape.user or _DEFAULTS.user,
            workdir=_directory(shape.workdir or _DEFAULTS.workdir),
            env=dict(shape.env),
            seeds=tuple(_seed(seed) for seed in shape.seed),
            bootstrap=tuple(_step(step) for step in shape.bootstrap),
            verify=tuple(_step(step) for step in shape.verify),
            inputs=tuple(shape.inputs),
            revalidate=shape.revalidate,
            options=dict(shape.backends),
        ),
        backend=shape.backend or "auto",
        build=_build(shape.build),
        session=_session(shape.session),
        origin=origin,
        unsaid=frozenset(field for field in _INHERITABLE if getattr(shape, field) is None),
    )


def _directory(path: str) -> str:
    return path.rstrip("/") or "/"


def _base(shape: schema.SandboxShape) -> model.Base:
    match shape.base:
        case schema.RootfsShape(rootfs=path, sha256=sha256):
            return model.RootfsBase(path=path, sha256=sha256)
        case schema.DockerfileShape(dockerfile=dockerfile, context=context, target=target, args=args):
            context = posixpath.normpath(context)
            return model.DockerfileBase(dockerfile=dockerfile, context=context, target=target, args=dict(args))
        case schema.ImageShape(image="host"):
            return model.HostBase()
        case schema.ImageShape(image=image):
            return model.ImageBase(reference=image)
        case None:
            return model.ExtendsBase(sandbox=shape.extends or "")


def _seed(shape: schema.SeedShape) -> model.Seed:
    if isinstance(shape, schema.TreeSeedShape):
        return model.TreeSeed(source=shape.source, target=shape.target, ignore=tuple(shape.ignore))
    content = fields.from_base64(shape.base64) if shape.base64 is not None else (shape.content or "").encode()
    return model.InlineSeed(path=shape.path, content=content, mode=fields.mode(shape.mode))


def _step(shape: schema.StepShape) -> model.Step:
    limits = model.StepLimits(
        timeout_s=shape.timeout or model.DEFAULT_STEP_TIMEOUT_S,
        network=None if shape.network is None else model.Network(shape.network),
    )
    return model.Step(action=_action(shape), user=shape.user, secrets=tuple(sorted(set(shape.secrets))), limits=limits)


def _action(shape: schema.StepShape) -> model.Action:
    match shape:
        case schema.RunShape(run=str() as command):
            return model.RunAction(command=command)
        case schema.RunShape(run=argv):
            return model.RunAction(command=tuple(argv))
        case schema.ScriptShape(script=path, arguments=arguments):
            return model.ScriptAction(path=path, arguments=tuple(arguments))
        case schema.PythonShape(python=hook):
            module, _, function = hook.partition(":")
            return model.PythonAction(module=module, function=function)


def _build(shape: schema.BuildShape | None) -> model.BuildOptions:
    if shape is None:
        return model.BuildOptions()
    return model.BuildOptions(
        network=model.Network(shape.network),
        pass_env=tuple(dict.fromkeys(shape.pass_env)),
        secrets=tuple(model.Secret(id=secret.id, env=secret.env, file=secret.file) for secret in shape.secrets),
        timeout_s=shape.timeout or model.DEFAULT_BUILD_TIMEOUT_S,
    )


def _session(shape: schema.SessionShape | None) -> model.SessionOptions:
    if shape is None:
        return model.SessionOptions()
    return model.SessionOptions(
        network=model.Network(shape.network),
        resources=_resources(shape.resources),
        idle_timeout_s=shape.idle_timeout or model.DEFAULT_IDLE_TIMEOUT_S,
        max_lifetime_s=shape.max_lifetime or model.DEFAULT_MAX_LIFETIME_S,
        options=dict(shape.backends),
    )


def _resources(shape: schema.ResourcesShape | None) -> model.Resources:
    if shape is None:
        return model.Resources()
    defaults = model.Resources()
    return model.Resources(
        memory=shape.memory,
        cpus=shape.cpus,
        pids=defaults.pids if shape.pids is None else shape.pids,
        disk=shape.disk,
    )
