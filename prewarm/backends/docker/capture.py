"""Make a template: base, one archive of seeds, a layer a step, hooks in between, and an image that nobody finds yet.

A hook runs in this process, so it splits the build: what is before it is built, it runs in a container of that image,
the container is committed, and the build goes on from there.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from prewarm.backends.capturing import CaptureObserver, CaptureRequest, Phase
from prewarm.backends.docker import bases, builders, exchange, hooks, recipe
from prewarm.backends.docker.accounts import Account, Accounts
from prewarm.backends.docker.buildcontext import write_tree
from prewarm.backends.docker.buildkit import Build, BuildStep, build
from prewarm.backends.docker.engine import Engine
from prewarm.backends.docker.images import BaseFiles, ImageFacts, facts, image_of, look
from prewarm.backends.docker.names import LABEL_KEY, base_tag, staged_tag, template_labels
from prewarm.backends.docker.staging import Staged, forget, name
from prewarm.backends.docker.workplace import Workplace, workplace
from prewarm.errors import CaptureFailedError
from prewarm.process import Redactor
from prewarm.request import HookStep, RunStep, ScriptStep

_LONGEST_ENV: Final = 100_000
_TRIES: Final = 3  # A garbage collection elsewhere may take a base just before it has a name of this build's.
_CREDENTIALS: Final = re.compile(r"//([^/@\s]+)@")


@contextlib.contextmanager
def capture(engine: Engine, home: Path, request: CaptureRequest, observer: CaptureObserver) -> Iterator[Staged]:
    """Make a template; leaving the context takes away all that was not published.

    Raises:
        StepFailedError: A step failed.
        CaptureFailedError: Anything else did.
        BackendUnavailableError: The engine or its builder does not answer.
        InterruptedBuildError: It was cancelled.
    """
    with workplace(home) as place, contextlib.ExitStack() as tags:
        made = _Capture(engine, request, observer, place, tags)
        image = made.run()
        yield Staged(engine, request, image, made.base_size)


class _Capture:
    """One capture under way."""

    def __init__(
        self,
        engine: Engine,
        request: CaptureRequest,
        observer: CaptureObserver,
        place: Workplace,
        tags: contextlib.ExitStack,
    ) -> None:
        self._engine = engine
        self._request = request
        self._observer = observer
        self._place = place
        self._tags = tags
        self._deadline = time.monotonic() + request.timeout_s
        self._title = f"'{request.name}' ({request.key.short})"
        self._certificates = {
            name: value
            for name, value in request.pass_env.items()
            if recipe.names_certificates(name, value) and Path(value).is_file()
        }
        hidden = [value.decode("utf-8", "surrogateescape") for value in request.secrets.values()]
        # Passed variables are no secrets, but an address among them may carry a password.
        hidden += [found for value in request.pass_env.values() for found in _CREDENTIALS.findall(value)]
        self._handed_on = builders.effective(request.buildkit, engine.environment)
        self._redact = Redactor([*hidden, *builders.credentials(self._handed_on, engine.environment)])
        self.base_size = 0

    def run(self) -> ImageFacts:
        request = self._request
        self._observer.phase(Phase.BASE)
        base = self._base()
        self.base_size = base.size
        files = look(self._engine, base.id, key=request.key, workdir=request.workdir, identity=self._place.identity)
        self._observer.phase(Phase.SEED)
        accounts = files.accounts
        user = accounts.find(request.user)
        added = user is None
        if user is None:
            accounts, user = accounts.with_user(request.user)
        directories: dict[str, Account] = {user.home: user} if added else {}
        if not files.has_workdir:
            directories[request.workdir] = user
        has_tree = write_tree(
            self._place.context / recipe.TREE,
            seeds=request.seeds,
            owner=user,
            accounts=accounts if added else None,
            directories=directories,
        )
        self._observer.phase(Phase.BOOTSTRAP)
        return self._steps(base, files, accounts, has_tree=has_tree)

    def _base(self) -> ImageFacts:
        """Bring the base, and give it a name of this build's own: garbage collection leaves what has one."""
        for _ in range(_TRIES):
            base = bases.bring(self._engine, self._request, self._build_base)
            tag = base_tag(base.id, self._place.identity)
            self._tag_for_cleaning(tag)
            if name(self._engine, base.id, tag):
                return base
        raise CaptureFailedError(
            f"the base of {self._title} goes from the engine as soon as it is there",
            hint="see that nothing else cleans up the engine's images, and build again",
        )

    def _steps(self, base: ImageFacts, files: BaseFiles, accounts: Accounts, *, has_tree: bool) -> ImageFacts:
        current = base_tag(base.id, self._place.identity)
        steps, number = list(self._request.steps), 1
        while True:
            until = next((i for i, step in enumerate(steps) if isinstance(step, HookStep)), len(steps))
            ordinary = [step for step in steps[:until] if not isinstance(step, HookStep)]
            tag = staged_tag(self._request.namespace, self._request.key, self._place.identity, f"{number}-{until}")
            values = self._values(base, files, accounts, ordinary, number)
            values["tree"] = recipe.TREE if has_tree and number == 1 else ""
            self._build(current, tag, ordinary, first=number, values=values)
            image = self._staged(tag)
            if until == len(steps):
                return image
            hook = steps[until]
            if isinstance(hook, HookStep):
                current = self._hook(image, hook, number + until)
            steps, number = steps[until + 1 :], number + until + 1

    def _values(
        self,
        base: ImageFacts,
        files: BaseFiles,
        accounts: Accounts,
        steps: Sequence[RunStep | ScriptStep],
        first: int,
    ) -> dict[str, object]:
        request = self._request
        place = recipe.StepPlace(
            namespace=request.namespace,
            account=None,
            has_shell=files.has_shell,
            has_apt=files.has_apt,
            caches=request.options.get("cache_mounts") is not False,
            known=frozenset((*base.env, *request.env)),
            exports=recipe.unquotable(request.env),
            passes_env=bool(request.pass_env),
            certificates={recipe.certificate_id(path): path for path in self._certificates.values()},
        )
        for number, step in enumerate(steps, first):
            if isinstance(step, ScriptStep):
                script = self._place.context / recipe.script_name(number)
                script.write_bytes(step.content)
                script.chmod(0o755)
        return recipe.values(request, steps, first, place=place, find=accounts.find)

    def _build(
        self,
        base: str,
        tag: str,
        steps: Sequence[RunStep | ScriptStep],
        *,
        first: int,
        values: Mapping[str, object],
    ) -> None:
        request = self._request
        text = recipe.render(recipe.source(), {"base": base, **values})
        self._place.context.joinpath("Dockerfile").write_text(text, "utf-8")
        wanted = {one for step in steps for one in step.secrets}
        secrets = {one: value for one, value in request.secrets.items() if one in wanted}
        if missing := wanted - secrets.keys():
            raise CaptureFailedError(f"capture of {self._title} has no value for secret '{min(missing)}'")
        if request.pass_env and steps:
            paths = {name: recipe.certificate_path(path) for name, path in self._certificates.items()}
            secrets[recipe.ENV_SECRET] = recipe.env_file(request.pass_env, paths)
        files = {recipe.certificate_id(path): Path(path) for path in self._certificates.values()}
        with contextlib.ExitStack() as written:
            for one in [one for one, value in secrets.items() if b"\0" in value or len(value) > _LONGEST_ENV]:
                files[one] = self._written(secrets.pop(one), written)
            self._tag_for_cleaning(tag)
            self._run(
                Build(
                    title=self._title,
                    context=self._place.context,
                    tag=tag,
                    labels=self._labels(),
                    secrets=secrets,
                    files=files if steps else {},
                    steps=[BuildStep(text=self._redact(step.text), timeout_s=step.timeout_s) for step in steps],
                    first=first,
                    total=len(request.steps),
                    seals=first + len(steps) > len(request.steps),
                    platform=request.platform,
                    arguments=[
                        *builders.arguments(self._handed_on, request.name, first),
                        *(["--no-cache"] if request.anew else []),
                    ],
                ),
                images={base: base},
            )

    def _run(self, what: Build, images: Mapping[str, str]) -> None:
        request = self._request
        with exchange.handed(
            self._engine,
            self._place.path,
            images,
            platform=request.platform,
            reproducible=self._handed_on.reproducible,
            check=request.cancellation.check,
        ) as arguments:
            build(
                replace(what, arguments=[*arguments, *what.arguments]),
                environment=self._engine.environment,
                builder=None if self._engine.builder.is_engines_own else self._engine.builder.name,
                observer=self._observer,
                redact=self._redact,
                cancellation=request.cancellation,
                deadline=self._deadline,
            )

    def _written(self, value: bytes, written: contextlib.ExitStack) -> Path:
        """Write a value that no variable can hold beside the context, until the build is done."""
        path = self._place.path / f"value-{len(list(self._place.path.iterdir()))}"
        path.touch(mode=0o600)
        written.callback(path.unlink)
        path.write_bytes(value)
        return path

    def _labels(self) -> dict[str, str]:
        request = self._request
        parent = None
        if request.base.parent is not None:
            found = image_of(self._engine, request.base.parent)
            parent = found.labels.get(LABEL_KEY) if found else None
        return template_labels(request.namespace, request.name, request.key, parent=parent, base_bytes=self.base_size)

    def _hook(self, image: ImageFacts, step: HookStep, number: int) -> str:
        tag = staged_tag(self._request.namespace, self._request.key, self._place.identity, f"{number}-hook")
        self._tag_for_cleaning(tag)
        hooks.run(
            self._engine,
            self._request,
            step,
            image=image,
            tag=tag,
            number=number,
            identity=self._place.identity,
            certificates=self._certificates,
            observer=self._observer,
            redact=self._redact,
            deadline=self._deadline,
        )
        return tag

    def _build_base(self, value: Mapping[str, object], tag: str) -> None:
        if "pull" in value:
            context, dockerfile = self._place.path / "pull", "Dockerfile"
            context.mkdir()
            context.joinpath(dockerfile).write_text(f"FROM {value['pull']}\n", "utf-8")
        else:
            context, dockerfile = self._request.project / str(value["context"]), str(value["dockerfile"])
        images, pins = bases.dockerfile_images(self._engine, value)
        options = builders.arguments(self._handed_on, self._request.name, 0)
        self._run(
            Build(
                title=f"{self._title}: its base {value.get('pull', dockerfile)}",
                context=context,
                tag=tag,
                labels={},
                platform=self._request.platform,
                arguments=[*bases.build_arguments(value), *pins, *options],
                dockerfile=context / dockerfile,
            ),
            images=images,
        )

    def _staged(self, tag: str) -> ImageFacts:
        image = facts(self._engine, tag)
        if image is None:
            raise CaptureFailedError(
                f"the image of {self._title} is not in the engine after its build",
                hint="the builder must load into this engine; see 'docker buildx ls'",
            )
        return image

    def _tag_for_cleaning(self, tag: str) -> None:
        self._tags.callback(forget, self._engine, tag)
