"""What a capture starts from, as layers: this machine, an archive, an image, another template.

A base is unpacked once: ``bases/NAME.json`` remembers its layers. Unpacking goes through a staging like a capture does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from prewarm.backends.local import host_base, images, merging, rootfs
from prewarm.backends.local.disk import write_file
from prewarm.backends.local.store import Staging, Store
from prewarm.backends.local.templates import Template, Templates, layers_from
from prewarm.document import Node, parse
from prewarm.errors import CaptureFailedError
from prewarm.key import TemplateKey
from prewarm.request import ResolvedBase

# Below everything of an archive or image, so that what is mounted has a place whatever the archive lacks.
_PLACES: Final = (("proc", 0o755), ("dev", 0o755), ("run", 0o755), ("sys", 0o755), ("tmp", 0o1777), ("etc", 0o755))
_FILES: Final = ("etc/hosts", "etc/resolv.conf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a capture stands on; as the attributes of ``Template``."""

    layers: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    binds: tuple[tuple[str, str], ...] = ()
    parent: tuple[str, TemplateKey] | None = None


class Bases:
    """The bases of a store.

    Args:
        store: Where they are unpacked.
        templates: What another sandbox's template is found in.
        environment: Says where Docker's credentials for registries are.
    """

    def __init__(self, store: Store, templates: Templates, environment: Mapping[str, str]) -> None:
        self._store = store
        self._templates = templates
        self._environment = environment

    def ground(self, base: ResolvedBase, host_paths: tuple[str, ...], staging: Staging) -> Ground:
        """Give what a base consists of, unpacking it if this has not been done yet.

        Args:
            base: As ``resolve_base`` gave it.
            host_paths: Further paths of this machine to see, where the base is ``host``.
            staging: Where to unpack; it names the layers for as long as it lives.

        Raises:
            CaptureFailedError: It cannot be unpacked.
            TemplateNotFoundError, TemplateCorruptError: It is another sandbox's template, and not there.
        """
        if base.parent is not None:
            return self._parent(base, staging)
        node = Node(base.value, "base")
        match node.get("kind").text():
            case host_base.KIND:
                return self._host(base, host_paths, staging)
            case rootfs.KIND:
                archive, sha256 = Path(node.get("path").text()), node.get("sha256").text()
                return self._unpacked(
                    base,
                    staging,
                    lambda: ([self._sealed(staging, lambda to: rootfs.unpack(archive, to, sha256=sha256))], {}),
                )
            case images.KIND:
                return self._unpacked(
                    base,
                    staging,
                    lambda: images.unpack(base, staging.path, self._seal_into(staging), self._environment),
                )
            case kind:
                raise CaptureFailedError(f"backend 'local' knows no base of kind '{kind}'")

    def _parent(self, base: ResolvedBase, staging: Staging) -> Ground:
        if base.parent is None:
            raise CaptureFailedError("the base names no parent")
        with self._store.using():
            found = self._templates.by_ref(base.parent)
            staging.keep(found.layers)
        return Ground(
            layers=found.layers,
            environment=found.environment,
            binds=found.binds,
            parent=(found.namespace, found.key),
        )

    def _host(self, base: ResolvedBase, paths: tuple[str, ...], staging: Staging) -> Ground:
        binds = host_base.binds(paths)

        def make() -> tuple[list[str], Mapping[str, str]]:
            return [self._sealed(staging, lambda to: host_base.write_layer(to, paths))], host_base.environment()

        ground = self._unpacked(base, staging, make, distinguish=json.dumps(binds))
        return Ground(layers=ground.layers, environment=ground.environment, binds=binds)

    def _unpacked(
        self,
        base: ResolvedBase,
        staging: Staging,
        unpack: Callable[[], tuple[list[str], Mapping[str, str]]],
        *,
        distinguish: str = "",
    ) -> Ground:
        name = hashlib.sha256(f"{base.digest}\0{distinguish}".encode()).hexdigest()[:32]
        with self._store.lock(f"base-{name[:2]}"):
            known = self._known(name, staging)
            if known is not None:
                return known
            layers, environment = unpack()
            if not distinguish:
                layers.insert(0, self._sealed(staging, _write_places))
            record = {"layers": layers, "environment": dict(environment), "description": base.description}
            write_file(self._store.bases / f"{name}.json", json.dumps(record).encode(), durable=True)
            return Ground(layers=tuple(layers), environment=environment)

    def _known(self, name: str, staging: Staging) -> Ground | None:
        with self._store.using():
            try:
                node = parse((self._store.bases / f"{name}.json").read_bytes())
                ground = Ground(layers=layers_from(node), environment=node.get("environment").texts())
            except (OSError, ValueError):
                return None
            staging.keep(ground.layers)
        return None if any(self._store.look(ground.layers).values()) else ground

    def _sealed(self, staging: Staging, fill: Callable[[Path], None]) -> str:
        return self._seal_into(staging)(fill)

    def _seal_into(self, staging: Staging) -> Callable[[Callable[[Path], None]], str]:
        def seal(fill: Callable[[Path], None]) -> str:
            directory = staging.fresh("layer")
            fill(directory)
            return self._store.seal(directory, staging)[0]

        return seal

    def flattened(self, ground: Ground, staging: Staging) -> Ground:
        """Give the same with one layer: for chains longer than the kernel's mount option."""
        trees = [self._store.tree(digest) for digest in ground.layers]
        layer = self._sealed(staging, lambda to: merging.merge(trees, to))
        return Ground(layers=(layer,), environment=ground.environment, binds=ground.binds, parent=ground.parent)


def _write_places(directory: Path) -> None:
    directory.chmod(0o755)
    for name, mode in _PLACES:
        (directory / name).mkdir()
        (directory / name).chmod(mode)
    for name in _FILES:
        (directory / name).write_bytes(b"")
        (directory / name).chmod(0o644)


def template_of(ground: Ground, *, namespace: str, name: str, key: TemplateKey, layer: str, size: int) -> Template:
    """Give the template of a capture that added a layer."""
    return Template(
        namespace=namespace,
        name=name,
        key=key,
        layers=(*ground.layers, layer),
        environment=ground.environment,
        binds=ground.binds,
        parent=ground.parent,
        size=size,
    )
