"""Template refs as JSON: how the lock file and the catalog write them, so that equal refs give equal text.

A backend whose stores name one template in several ways says so by ``content`` in its refs: refs of one content are the
same template, wherever they were written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from prewarm.definition.options import Json
from prewarm.document import Node
from prewarm.values import TemplateRef


def ref_json(ref: TemplateRef) -> dict[str, Any]:
    """Give a ref as JSON, keys sorted at every depth."""
    return {"backend": ref.backend, "format": ref.format, "value": in_order(ref.value)}


def ref_text(ref: TemplateRef) -> str:
    """Give a ref as one line of text; two refs are the same where their texts are."""
    return json.dumps(ref_json(ref), separators=(",", ":"))


def ref_names(ref: TemplateRef) -> tuple[str, ...]:
    """Give the texts by which a ref is known: two refs that share one lead to the same template."""
    value = dict(ref.value)
    content = value.pop("content", None)
    texts = [ref_text(TemplateRef(backend=ref.backend, format=ref.format, value=value))]
    if isinstance(content, str):
        texts.append(ref_text(TemplateRef(backend=ref.backend, format=ref.format, value={"content": content})))
    return tuple(texts)


def same_template(one: TemplateRef, other: TemplateRef) -> bool:
    """Say whether two refs lead to the same template."""
    return not set(ref_names(one)).isdisjoint(ref_names(other))


def ref_from(node: Node) -> TemplateRef:
    """Read a ref that ``ref_json`` wrote.

    Raises:
        ValueError: It is not one.
    """
    return TemplateRef(
        backend=node.get("backend").text(), format=node.get("format").text(), value=node.get("value").object()
    )


def in_order(value: Json) -> Json:
    """Give JSON with all keys sorted."""
    if isinstance(value, Mapping):
        return {name: in_order(value[name]) for name in sorted(value)}
    if isinstance(value, (list, tuple)):
        return [in_order(item) for item in value]
    return value
