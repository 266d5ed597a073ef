"""Templates as this backend records them: which layers, on what; found by key, proven by their layers."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from prewarm.backends.local.disk import entries, write_file
from prewarm.backends.local.store import Store
from prewarm.document import Node, parse
from prewarm.errors import TemplateCorruptError, TemplateNotFoundError
from prewarm.key import TemplateKey
from prewarm.values import TemplateRef

if TYPE_CHECKING:
    from prewarm.backends.capturing import Probe

NAME: Final = "local"
CAPTURE_FORMAT: Final = "local/1"
_SCHEMA: Final = "prewarm.local-template/1"
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class Template(NamedTuple):
    """A template as recorded on this machine.

    Attributes:
        layers: Digests, lowest first.
        environment: Variables of the base's own (an image's ``Env``).
        binds: What of this machine is seen, read-only, and where. Not in the ref: these are paths of this machine.
        parent: The template it stands on (namespace, key); ``None`` for a base.
        size: Bytes that it adds.
    """

    namespace: str
    name: str
    key: TemplateKey
    layers: tuple[str, ...]
    environment: Mapping[str, str] = MappingProxyType({})
    binds: tuple[tuple[str, str], ...] = ()
    parent: tuple[str, TemplateKey] | None = None
    size: int = 0

    @property
    def ref(self) -> TemplateRef:
        value = {"namespace": self.namespace, "key": str(self.key), "layers": list(self.layers)}
        return TemplateRef(backend=NAME, format=CAPTURE_FORMAT, value=value)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": _SCHEMA,
            "namespace": self.namespace,
            "name": self.name,
            "key": str(self.key),
            "layers": list(self.layers),
            "environment": dict(self.environment),
            "binds": [list(pair) for pair in self.binds],
            "parent": self.parent and [self.parent[0], str(self.parent[1])],
            "size": self.size,
        }

    @classmethod
    def from_bytes(cls, content: bytes) -> Template:
        """Read what ``to_json`` gave.

        Raises:
            ValueError: It is not one.
        """
        return cls.from_node(parse(content))

    @classmethod
    def from_node(cls, node: Node) -> Template:
        """Read it as a part of another document.

        Raises:
            ValueError: It is not one.
        """
        if node.get("schema").text() != _SCHEMA:
            raise ValueError("of an unknown version")
        parent = None if node.object().get("parent") is None else [item.text() for item in node.get("parent").items()]
        return cls(
            namespace=node.get("namespace").text(),
            name=node.get("name").text(),
            key=TemplateKey(node.get("key").text()),
            layers=layers_from(node),
            environment=node.get("environment").texts(),
            binds=tuple((pair.items()[0].text(), pair.items()[1].text()) for pair in node.get("binds").items()),
            parent=None if parent is None else (parent[0], TemplateKey(parent[1])),
            size=int(str(node.object().get("size", 0))),
        )


def layers_from(node: Node) -> tuple[str, ...]:
    """Read the list of layers of a record.

    Raises:
        ValueError: It is not one.
    """
    return tuple(item.text(_DIGEST) for item in node.get("layers").items())


def named_by(ref: TemplateRef) -> tuple[str, TemplateKey, tuple[str, ...]]:
    """Give the namespace, key and layers that a ref names.

    Raises:
        TemplateNotFoundError: It is another backend's, of another format, or cannot be read.
    """
    if ref.backend != NAME or ref.format != CAPTURE_FORMAT:
        raise TemplateNotFoundError(f"the template is of backend '{ref.backend}', format '{ref.format}'")
    node = Node(ref.value, "ref")
    try:
        return node.get("namespace").text(_NAMESPACE), TemplateKey(node.get("key").text()), layers_from(node)
    except ValueError as error:
        raise TemplateNotFoundError(f"the template's ref cannot be read: {error}") from error


class Templates:
    """The records of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def path(self, namespace: str, key: TemplateKey) -> Path:
        """Give where a template's record is."""
        return self._store.templates / namespace / f"{key}.json"

    def find(self, namespace: str, key: TemplateKey) -> Template | None:
        """Give a published template; ``None`` where there is none, or its record is damaged."""
        return _read(self.path(namespace, key))

    def all(self, namespace: str | None = None) -> list[Template]:
        """Give all published ones, of one namespace or of all."""
        found: list[Template] = []
        for directory in entries(self._store.templates):
            if namespace is None or directory.name == namespace:
                found.extend(template for path in entries(directory) if (template := _read(path)) is not None)
        return found

    def staged(self) -> Iterator[Template]:
        """Give those of captures under way that are finished and not published yet."""
        for staging in entries(self._store.stagings):
            if (template := _read(staging / "template.json")) is not None:
                yield template

    def publish(self, template: Template) -> None:
        """Make a template findable, in place of one of the same key. Call while ``changing``."""
        path = self.path(template.namespace, template.key)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write(path, template)

    def by_ref(self, ref: TemplateRef) -> Template:
        """Give the template that a ref names, published or staged.

        Raises:
            TemplateNotFoundError: There is no such template.
            TemplateCorruptError: It is there, and one of its layers or of the directories it sees is not.
        """
        namespace, key, layers = named_by(ref)
        found = self.find(namespace, key)
        if found is None or found.layers != layers:
            staged = (t for t in self.staged() if (t.namespace, t.key, t.layers) == (namespace, key, layers))
            found = next(staged, None)
        if found is None:
            raise TemplateNotFoundError(f"template {key.short} is not on this machine")
        problem = _missing(found, self._store)
        if problem:
            raise TemplateCorruptError(f"template {key.short} cannot be opened: {problem}")
        return found

    def probe(self, wanted: Sequence[tuple[TemplateKey, TemplateRef]], *, deep: bool = False) -> list[Probe]:
        """Answer ``TemplateBackend.probe``: each layer is looked at once, however many templates stand on it."""
        templates = [self._published(ref) for _, ref in wanted]
        layers = self._store.look([d for found in templates if found is not None for d in found.layers], deep=deep)
        return [self._answer(key, found, layers) for (key, _), found in zip(wanted, templates, strict=True)]

    def _published(self, ref: TemplateRef) -> Template | None:
        try:
            namespace, key, layers = named_by(ref)
        except TemplateNotFoundError:
            return None
        found = self.find(namespace, key)
        return found if found is not None and found.layers == layers else None

    def _answer(self, key: TemplateKey, found: Template | None, problems: Mapping[str, str]) -> Probe:
        from prewarm.backends.capturing import Presence, Probe  # Builds ask this; opening a session does not pay.

        if found is None:
            return Probe(presence=Presence.MISSING, detail="no such template here")
        if found.key != key:
            return Probe(presence=Presence.CORRUPT, detail=f"it is template {found.key.short}, not {key.short}")
        problem = _missing(found, self._store) or next((problems[d] for d in found.layers if problems[d]), "")
        return Probe(presence=Presence.CORRUPT if problem else Presence.PRESENT, detail=problem)


def _missing(template: Template, store: Store) -> str:
    for digest in template.layers:
        if not store.tree(digest).is_dir():
            return f"layer {digest[:12]} is gone"
    return next((f"{path} of this machine is gone" for path, _ in template.binds if not os.path.exists(path)), "")


def write(path: Path, template: Template) -> None:
    """Write a template's record."""
    write_file(path, json.dumps(template.to_json(), indent=1).encode(), durable=True)


def _read(path: Path) -> Template | None:
    try:
        return Template.from_bytes(path.read_bytes())
    except (OSError, ValueError):
        return None
