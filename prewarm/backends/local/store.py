"""What the local backend keeps on disk, below ``$PREWARM_HOME/local``; who may change it when.

    layers/DIGEST/tree           a layer; beside it layer.json (size, seal) and manifest; DIGEST is half of its sha256
    bases/NAME.json              an archive or image unpacked: its layers
    templates/NAMESPACE/KEY.json a template: its layers and what it stands on; written last
    staging/ID/                  a capture under way; its ``lock`` is held while it lives
    sessions/ID/                 a session: upper, work, meta.json and its lease

Directories appear and vanish by ``rename``. Whoever adds or takes away layers, or decides that something is not needed,
holds ``changing``. All of it belongs to this user alone (mode 0700).
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from prewarm.backends.local.disk import (
    add_line,
    entries,
    remove_tree,
    sync_directory,
    sync_filesystem,
    write_file,
    write_through,
)
from prewarm.backends.local.layers import (
    Content,
    first_difference,
    read_content,
    read_manifest,
    read_seal,
    write_manifest,
)
from prewarm.document import parse
from prewarm.errors import CaptureFailedError, HomeError
from prewarm.home import Home

CHECK_PREFIX: Final = ".prewarm-check."
_NAME_DIGITS: Final = 32  # 128 bits name a layer: the kernel's mount option holds the paths of all of them.
_SETTLE_S: Final = 0.012  # Longer than the clock tick that file times come from: later changes get later times.


class Staging:
    """A place of one's own for a capture; whoever finds its lock free may take it away.

    ``layers`` in it names the layers that the capture needs, so that they stay.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    def fresh(self, name: str) -> Path:
        """Make an empty directory; ``name-2`` and so on where it exists."""
        for number in itertools.count(1):
            path = self.path / (name if number == 1 else f"{name}-{number}")
            try:
                path.mkdir(mode=0o700)
            except FileExistsError:
                continue
            return path
        raise AssertionError

    def keep(self, layers: Iterable[str]) -> None:
        """Say that these layers are needed while this place is."""
        for layer in layers:
            add_line(self.path / "layers", layer)

    def close(self) -> None:
        remove_tree(self.path)
        os.close(self._lock)


class Store:
    """The directories of the backend.

    Args:
        home: The state directory.
        single_owner: Whether all files have one owner (``layers.read_content``).
    """

    def __init__(self, home: Path, *, single_owner: bool) -> None:
        self._home = Home(home)
        self._single_owner = single_owner
        self.path = home / "local"
        self.layers = self.path / "layers"
        self.bases = self.path / "bases"
        self.templates = self.path / "templates"
        self.stagings = self.path / "staging"
        self.sessions = self.path / "sessions"

    def ensure(self) -> None:
        """Make the directories.

        Raises:
            HomeError: They cannot be made.
        """
        self._home.ensure()
        try:
            for path in (self.path, self.layers, self.bases, self.templates, self.stagings, self.sessions):
                path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise HomeError(
                f"cannot use the state directory {self.path}: {error.strerror}",
                hint="set PREWARM_HOME to a directory that this user can write",
            ) from error

    def lock(self, name: str, *, timeout: float | None = None) -> AbstractContextManager[None]:
        """Hold a lock of this backend; freed where the process dies. ``TimeoutError`` after ``timeout`` seconds."""
        return self._home.lock(f"local-{name}", timeout=timeout)

    def changing(self) -> AbstractContextManager[None]:
        """Hold the lock under which layers come and go."""
        return self.lock("store")

    def using(self) -> AbstractContextManager[None]:
        """Hold the lock under which no layer goes; many may."""
        return self._home.lock("local-store", exclusive=False)

    @contextlib.contextmanager
    def staging(self) -> Iterator[Staging]:
        """Lend a fresh place; it is gone afterwards with all that is still in it."""
        self.ensure()
        path = self.stagings / os.urandom(12).hex()
        with self.changing():  # So that nobody finds it before its lock is held.
            path.mkdir(mode=0o700)
            descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        staging = Staging(path, descriptor)
        try:
            yield staging
        finally:
            staging.close()

    def abandoned(self) -> list[Path]:
        """Give the stagings whose owners are dead. Call while ``changing``."""
        found = []
        for path in entries(self.stagings):
            try:
                descriptor = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                found.append(path)
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found.append(path)
            except BlockingIOError:
                pass
            finally:
                os.close(descriptor)
        return found

    def tree(self, digest: str) -> Path:
        """Give where a layer's files are."""
        return self.layers / layer_name(digest) / "tree"

    def seal(self, directory: Path, staging: Staging) -> tuple[str, int]:
        """Turn a directory into a layer; it is gone from where it was. One that exists already and is sound is kept.

        Args:
            directory: In the staging, so that a crash leaves litter and no layer.
            staging: The one it is in; keeps the layer.

        Returns:
            Its digest and its size in bytes.

        Raises:
            CaptureFailedError: It cannot be read or moved.
        """
        try:
            content = read_content(directory, single_owner=self._single_owner)
            sync_filesystem(directory)
            time.sleep(_SETTLE_S)
            made = staging.fresh(f"{directory.name}.layer")
            directory.rename(made / "tree")
            write_through(made / "manifest", write_manifest(content.manifest))
            self._write_seal(made, content)
            place = self.layers / layer_name(content.digest)
            damaged = place.exists() and self._look(content.digest, deep=True)
            with self.changing():
                staging.keep((content.digest,))
                if damaged and place.exists():
                    place.rename(directory.parent / f"damaged-{os.urandom(4).hex()}")
                if not place.exists():
                    made.rename(place)
                    sync_directory(self.layers)
            remove_tree(made)  # Still there where the layer was.
        except OSError as error:
            raise CaptureFailedError(f"the layer could not be stored: {error}") from error
        return content.digest, content.size

    def look(self, digests: Sequence[str], *, deep: bool = False) -> dict[str, str]:
        """Look at each layer once; give what is wrong with it, or an empty string.

        Args:
            digests: Which; given twice is looked at once.
            deep: Whether to read all bytes even where nothing seems touched.
        """
        return {digest: self._look(digest, deep=deep) for digest in dict.fromkeys(digests)}

    def _look(self, digest: str, *, deep: bool) -> str:
        place = self.layers / layer_name(digest)
        tree = place / "tree"
        try:
            if not deep and _seal_of(place) == read_seal(tree):
                return ""
            content = read_content(tree, single_owner=self._single_owner)
        except FileNotFoundError:
            return f"layer {digest[:12]} is gone"
        except OSError as error:
            return f"layer {digest[:12]} cannot be read: {error.strerror}"
        if content.digest != digest:
            with contextlib.suppress(OSError):
                recorded = read_manifest((place / "manifest").read_bytes())
                return f"layer {digest[:12]}: {first_difference(recorded, content.manifest)}"
            return f"layer {digest[:12]} has other content than was captured"
        with contextlib.suppress(
            OSError
        ):  # The same content at another place, or touched: looked at quickly next time.
            time.sleep(_SETTLE_S)
            self._write_seal(place, content)
        return ""

    def _write_seal(self, place: Path, content: Content) -> None:
        seal = {"digest": content.digest, "size": content.size, "seal": read_seal(place / "tree")}
        write_file(place / "layer.json", json.dumps(seal).encode(), durable=True)

    def layer_names(self) -> list[Path]:
        """Give all layers there are."""
        return entries(self.layers)


def kept_by(staging: Path) -> list[str]:
    """Give the layers that a staging needs."""
    try:
        return (staging / "layers").read_text(encoding="ascii").split()
    except OSError:
        return []


def layer_name(digest: str) -> str:
    """Give the name of a layer's directory."""
    return digest[:_NAME_DIGITS]


def _seal_of(place: Path) -> str | None:
    try:
        return parse((place / "layer.json").read_bytes()).get("seal").text()
    except (OSError, ValueError):  # Lost or damaged: the content decides.
        return None
