"""``prewarm templates``."""

from __future__ import annotations

import click

from prewarm.backends.base import TemplateRecord
from prewarm.cli import _installed, _output, _text
from prewarm.cli._group import command
from prewarm.cli._options import BACKEND, HOME, JSON, invocation


@command("templates", example="prewarm templates --namespace acme-bot\nprewarm templates --json")
@click.option("--namespace", help="Only templates of this namespace.")
@HOME
@BACKEND
@JSON
def _templates(*, namespace: str | None) -> None:
    """List the templates that the backends of this machine hold.

    SIZE is what a template adds to what it starts from.
    """
    run = invocation()
    held = [record for backend in _installed.working(run) for record in backend.templates(namespace)]
    held.sort(key=lambda record: (record.namespace, record.name, record.key))
    if run.as_json:
        _output.json_object({"schema": "prewarm.templates/1", "templates": [_as_json(record) for record in held]})
        return
    rows = [(r.namespace, r.name, r.key.short, r.ref.backend, _text.size(r.size)) for r in held]
    _output.table(("NAMESPACE", "NAME", "KEY", "BACKEND", "SIZE"), rows)


def _as_json(record: TemplateRecord) -> _output.JsonObject:
    return {
        "namespace": record.namespace,
        "name": record.name,
        "key": str(record.key),
        "backend": record.ref.backend,
        "ref": dict(record.ref.value),
        "bytes": record.size,
    }


COMMAND: click.Command = _templates
