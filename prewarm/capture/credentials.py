"""What a build may use and nothing may keep: values of secrets, and variables passed through to steps.

Read here, once, for what is going to be captured; handed to the backend; hidden in everything that is shown or written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from prewarm.definition.model import Definition, Secret
from prewarm.errors import DefinitionError
from prewarm.process import Redactor

_USERINFO: Final = re.compile(r"://([^/@\s]+)@")
_TELLING: Final = re.compile(r"TOKEN|SECRET|PASS|CREDENTIAL|AUTH|API_?KEY|PRIVATE", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Values for one capture.

    Attributes:
        secrets: By id.
        pass_env: By name.
        redact: Hides all of them in text.
    """

    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    pass_env: Mapping[str, str] = field(default_factory=dict, repr=False)
    redact: Callable[[str], str] = field(default_factory=Redactor, repr=False)


def read_all(
    definitions: Iterable[Definition], *, project: Path, environment: Mapping[str, str]
) -> dict[str, Credentials]:
    """Read what the steps of these definitions name, by definition.

    Raises:
        DefinitionError: Secrets are missing or cannot be read; all are named, none is shown.
    """
    problems: list[str] = []
    found = {
        definition.name: _read(definition, project=project, environment=environment, problems=problems)
        for definition in definitions
    }
    if problems:
        told = problems[0] if len(problems) == 1 else "\n".join(["secrets are missing:", *(f"  {p}" for p in problems)])
        raise DefinitionError(told, hint="set the variable or make the file before the build", problems=tuple(problems))
    return found


def _read(definition: Definition, *, project: Path, environment: Mapping[str, str], problems: list[str]) -> Credentials:
    named = {secret for step in definition.template.bootstrap for secret in step.secrets}
    values: dict[str, bytes] = {}
    for secret in definition.build.secrets:
        if secret.id in named:
            try:
                values[secret.id] = _value(secret, project, environment)
            except LookupError as error:
                problems.append(f"sandbox '{definition.name}': secret '{secret.id}': {error.args[0]}")
    passed = {name: environment[name] for name in definition.build.pass_env if name in environment}
    hidden = [*(value.decode("utf-8", "replace") for value in values.values()), *_telling(passed)]
    return Credentials(secrets=values, pass_env=passed, redact=Redactor(hidden))


def _value(secret: Secret, project: Path, environment: Mapping[str, str]) -> bytes:
    if secret.env is not None:
        if not environment.get(secret.env):
            raise LookupError(f"the variable {secret.env} is not set")
        return environment[secret.env].encode("utf-8", "surrogateescape")
    file = secret.file or ""
    path = Path(environment["HOME"]) / file[2:] if file.startswith("~/") and "HOME" in environment else project / file
    try:
        return path.read_bytes()
    except OSError as error:
        raise LookupError(f"cannot read {path}: {error.strerror}") from error


def _telling(passed: Mapping[str, str]) -> Iterator[str]:
    """Give the parts of passed variables that look like credentials: a proxy's password, a token by its name."""
    for name, value in passed.items():
        if _TELLING.search(name):
            yield value
        for userinfo in _USERINFO.findall(value):
            yield userinfo
            yield userinfo.partition(":")[2]
