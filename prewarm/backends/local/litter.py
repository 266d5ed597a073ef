"""Taking away: templates with all that only they used, and what crashes left behind."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from prewarm.backends.capturing import Litter
from prewarm.backends.local.disk import entries, is_orphan, remove_tree, tree_size
from prewarm.backends.local.processes import kill_process, start_time
from prewarm.backends.local.sessions import Sessions
from prewarm.backends.local.store import CHECK_PREFIX, Staging, Store, kept_by, layer_name
from prewarm.backends.local.templates import Templates, layers_from, named_by
from prewarm.document import parse
from prewarm.errors import TemplateInUseError, TemplateNotFoundError
from prewarm.values import TemplateRef

_BASE_KEPT_S: Final = 3600.0  # A build that failed is tried again, and an image need not be fetched for that again.
_HOLDER_NAME: Final = b"prewarm\0"
_UPPER: Final = re.compile(r"upperdir=/oldroot(/[^,\s]*)")


class Cleaner:
    """Takes things away that nothing needs any more."""

    def __init__(self, store: Store, templates: Templates, sessions: Sessions) -> None:
        self._store = store
        self._templates = templates
        self._sessions = sessions

    def remove(self, ref: TemplateRef) -> None:
        """Take a template away, with all that only it used: ``TemplateBackend.remove``."""
        try:
            namespace, key, layers = named_by(ref)
        except TemplateNotFoundError:
            return
        with self._store.changing():
            found = self._templates.find(namespace, key)
            if found is None or found.layers != layers:
                return
            for template in self._sessions.templates_in_use():
                if template.ref == found.ref:
                    raise TemplateInUseError(
                        f"template {key.short} is in use by a session", hint="end the session, or let it expire"
                    )
            for template in self._templates.all():
                if template.parent == (namespace, key) and template.layers[: len(layers)] == layers:
                    raise TemplateInUseError(
                        f"template {key.short} is what '{template.name}' stands on",
                        hint=f"remove '{template.name}' first",
                    )
            self._templates.path(namespace, key).unlink(missing_ok=True)
            for path in self._unused_bases():
                path.unlink(missing_ok=True)
            for path in self._unneeded():
                self._drop_layer(path)

    def litter(self) -> Iterator[Litter]:
        """Find what crashes left: ``TemplateBackend.litter``."""
        self._store.ensure()
        with self._store.changing():
            abandoned = self._store.abandoned()
            unneeded = self._unneeded(without=abandoned)
            bases = [path for path in self._unused_bases() if time.time() - path.stat().st_mtime > _BASE_KEPT_S]
        for path in abandoned:
            yield Litter(
                description=f"half a capture ({path.name})", size=tree_size(path), remove=self._later(remove_tree, path)
            )
        for path in unneeded:
            yield Litter(
                description=f"a layer that no template has ({path.name[:12]})",
                size=tree_size(path),
                remove=self._later(self._drop_if_unneeded, path),
            )
        for path in self._store.path.parent.glob(f"{CHECK_PREFIX}*"):
            if is_orphan(path):
                yield Litter(
                    description=f"what a check was looking at ({path.name.removeprefix(CHECK_PREFIX)})",
                    size=0,
                    remove=functools.partial(remove_tree, path),
                )
        for path in self._half_written():
            yield Litter(description=f"a record half written ({path.name})", size=0, remove=self._later(_unlink, path))
        for path in bases:
            yield Litter(
                description=f"an unpacked base that no template has ({path.stem[:12]})",
                size=sum(tree_size(self._store.tree(digest)) for digest in _base_layers(path)),
                remove=self._later(self._drop_base, path),
            )
        for identity in self._sessions.over():
            path = self._store.sessions / identity
            yield Litter(
                description=f"a session that has ended ({identity})",
                size=tree_size(path),
                remove=functools.partial(self._sessions.end, identity),
            )
        yield from self._stray_holders()

    def _half_written(self) -> list[Path]:
        """Find records that were being written when their writer was killed."""
        places = (self._store.bases, *entries(self._store.templates), *entries(self._store.sessions))
        found = [path for place in places for path in place.glob(".*") if path.is_file()]
        return [path for path in found if is_orphan(path)]

    def _later(self, what: Callable[[Path], None], path: Path) -> Callable[[], None]:
        def remove() -> None:
            with self._store.changing():
                what(path)

        return remove

    def _drop_if_unneeded(self, path: Path) -> None:
        if path in self._unneeded():
            self._drop_layer(path)

    def _drop_layer(self, path: Path) -> None:
        aside = self._store.stagings / f"dropped-{path.name}"
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, aside)  # So that no crash leaves half a layer under its name.
        remove_tree(aside)

    @contextlib.contextmanager
    def staging(self) -> Iterator[Staging]:
        """Lend a fresh place for a capture; layers that only it needed go with it."""
        kept: list[str] = []
        try:
            with self._store.staging() as staging:
                try:
                    yield staging
                finally:
                    kept = kept_by(staging.path)
        finally:
            names = {layer_name(digest) for digest in kept}
            with self._store.changing():
                for path in self._unneeded():
                    if path.name in names:
                        self._drop_layer(path)

    def _needed(self, without: Sequence[Path]) -> set[str]:
        layers = self._needed_by_templates(without)
        for base in entries(self._store.bases):
            layers.update(_base_layers(base))
        return layers

    def _needed_by_templates(self, without: Sequence[Path] = ()) -> set[str]:
        layers: set[str] = set()
        for template in (*self._templates.all(), *self._sessions.templates_in_use()):
            layers.update(template.layers)
        for staging in entries(self._store.stagings):
            if staging not in without:
                layers.update(kept_by(staging))
        return layers

    def _unneeded(self, without: Sequence[Path] = ()) -> list[Path]:
        """Give layers that nothing names."""
        needed = {layer_name(digest) for digest in self._needed(without)}
        return [path for path in self._store.layer_names() if path.name not in needed]

    def _unused_bases(self) -> list[Path]:
        """Give the unpacked bases that no template stands on."""
        needed = self._needed_by_templates()
        return [path for path in entries(self._store.bases) if not set(_base_layers(path)) & needed]

    def _drop_base(self, path: Path) -> None:
        if path in self._unused_bases():
            path.unlink(missing_ok=True)
            for layer in self._unneeded():
                self._drop_layer(layer)

    def _stray_holders(self) -> Iterator[Litter]:
        """Find holders of this store that no session and no capture knows: their client was killed as it started them."""
        for name in os.listdir("/proc"):
            if name.isdigit() and (place := self._held(int(name))) is not None and not self._knows(place, int(name)):
                started = start_time(int(name))
                if started is not None:
                    yield Litter(
                        description=f"a sandbox that nothing knows (process {name})",
                        size=0,
                        remove=functools.partial(kill_process, int(name), started),
                    )

    def _knows(self, place: Path, pid: int) -> bool:
        """Say whether a session, a capture or a check that lives holds this sandbox."""
        if place.parent == self._store.sessions:
            return self._sessions.knows(place.name, pid)
        if place.name.startswith(CHECK_PREFIX):
            return not is_orphan(place)
        with self._store.changing():
            return place.exists() and place not in self._store.abandoned()

    def _held(self, pid: int) -> Path | None:
        """Give the directory of this store that a holder holds a sandbox over."""
        try:
            if Path(f"/proc/{pid}/cmdline").read_bytes() != _HOLDER_NAME:
                return None
            mounts = Path(f"/proc/{pid}/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None
        found = _UPPER.search(mounts)
        place = Path(found[1]).parent if found is not None else None
        return place if place is not None and place.is_relative_to(self._store.path.parent) else None


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)


def _base_layers(path: Path) -> tuple[str, ...]:
    try:
        return layers_from(parse(path.read_bytes()))
    except (OSError, ValueError):
        return ()
