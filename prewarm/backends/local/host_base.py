"""The base ``host``: this machine's programs, read-only, over a small layer that stands for the rest of its root.

``/usr`` (and what is not a link into it) is bound; ``/etc`` is a copy of what programs need to work and tells nothing of
this machine's people and secrets; all else is empty. The digest covers the system's release, what its package manager has
installed, and the Python that runs prewarm: what one can tell in milliseconds about the programs, and no path.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from prewarm.backends.environment import DEFAULT_PATH
from prewarm.errors import CaptureFailedError

KIND: Final = "host"
PYTHON_PLACE: Final = "/opt/host-python"
_PROGRAMS: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr")
_EMPTY: Final = (
    ("dev", 0o755), ("etc", 0o755), ("home", 0o755), ("opt", 0o755), ("proc", 0o755), ("root", 0o700), ("run", 0o755),
    ("srv", 0o755), ("sys", 0o755), ("tmp", 0o1777), ("var", 0o755), ("var/cache", 0o755), ("var/lib", 0o755),
    ("var/log", 0o755), ("var/tmp", 0o1777),
)  # fmt: skip
_COPIED: Final = (
    "alternatives", "bash.bashrc", "bash_completion.d", "bindresvport.blacklist", "ca-certificates", "ca-certificates.conf",
    "debian_version", "environment", "fonts", "gai.conf", "host.conf", "inputrc", "java", "ld.so.cache", "ld.so.conf",
    "ld.so.conf.d", "ldap/ldap.conf", "localtime", "locale.alias", "locale.conf", "lsb-release", "magic", "mailcap",
    "mime.types", "nsswitch.conf", "openssl", "os-release", "perl", "pki/ca-trust", "pki/java", "pki/tls", "profile",
    "profile.d", "protocols", "python3", "python3.*", "redhat-release", "alpine-release", "rpc", "services", "shells",
    "skel", "ssl/certs", "ssl/cert.pem", "ssl/openssl.cnf", "terminfo", "timezone", "vimrc", "xattr.conf",
)  # fmt: skip
_ACCOUNTS: Final = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
_GROUPS: Final = "root:x:0:\ntty:x:5:\nusers:x:100:\nnogroup:x:65534:\n"
_PACKAGES: Final = (
    "/var/lib/dpkg/status", "/var/lib/rpm/rpmdb.sqlite", "/usr/lib/sysimage/rpm/rpmdb.sqlite", "/var/lib/rpm/Packages",
    "/lib/apk/db/installed", "/var/lib/pacman/local",
)  # fmt: skip


def digest(host_paths: Sequence[str] = ()) -> str:
    """Give the digest of this machine's programs.

    Raises:
        OSError: Something that was found cannot be read.
    """
    whole = hashlib.sha256(b"prewarm.host/1")
    parts = [platform.machine().encode(), platform.python_implementation().encode(), platform.python_version().encode()]
    for name in ("/etc/os-release", "/usr/lib/os-release"):
        if os.path.exists(name):
            parts.append(Path(name).read_bytes())
            break
    parts.extend(_packages())
    parts.extend(path.encode() for path in sorted(host_paths))
    for part in parts:
        whole.update(b"%d:" % len(part))
        whole.update(part)
    return "sha256:" + whole.hexdigest()


def _packages() -> list[bytes]:
    found = []
    for name in _PACKAGES:
        path = Path(name)
        if path.is_dir():  # pacman: a directory for each package, named by its version.
            found.append("\n".join(sorted(entry.name for entry in path.iterdir())).encode())
        elif path.exists():
            with path.open("rb") as file:
                found.append(hashlib.file_digest(file, "sha256").digest())
    return found


def description() -> str:
    """Say what this machine is, for people."""
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        name = "Linux"
    return f"host ({name}, Python {platform.python_version()})"


def binds(host_paths: Sequence[str] = ()) -> tuple[tuple[str, str], ...]:
    """Give what is bound: of this machine, and where it is seen."""
    found = [
        (f"/{name}", f"/{name}") for name in _PROGRAMS if os.path.isdir(f"/{name}") and not os.path.islink(f"/{name}")
    ]
    prefix = _python_prefix()
    if prefix is not None:
        found.append((prefix, PYTHON_PLACE))
        if _has_shared_library(prefix):
            found.append((prefix, prefix))
    return (*found, *((path, path) for path in host_paths))


def environment() -> dict[str, str]:
    """Give the variables of this base: a PATH with the Python that runs prewarm first, where it is not the system's."""
    if _python_prefix() is None:
        return {}
    return {"PATH": f"{PYTHON_PLACE}/bin:{DEFAULT_PATH}"}


def _python_prefix() -> str | None:
    prefix = os.path.realpath(sys.base_prefix)
    return None if prefix in {"/", "/usr"} or prefix.startswith("/usr/") else prefix


def _has_shared_library(prefix: str) -> bool:
    """Say whether this Python needs its own library by its absolute path."""
    library = Path(prefix, "lib")
    return library.is_dir() and any(library.glob("libpython3*.so*"))


def write_layer(directory: Path, host_paths: Sequence[str] = ()) -> None:
    """Write the layer's files into an empty directory.

    Raises:
        CaptureFailedError: Something cannot be read or written.
    """
    try:
        directory.chmod(0o755)
        for name, mode in _EMPTY:
            (directory / name).mkdir()
            (directory / name).chmod(mode)
        for name in _PROGRAMS:
            source = Path("/", name)
            if source.is_symlink():
                (directory / name).symlink_to(os.readlink(source))
            elif source.is_dir():
                _make(directory, str(source))
        for _, target in binds(host_paths):
            _make(directory, target)
        for pattern in _COPIED:
            for source in sorted(Path("/etc").glob(pattern)):
                _copy(source, directory / source.relative_to("/"))
        for name, text in (("passwd", _ACCOUNTS), ("group", _GROUPS), ("hosts", ""), ("resolv.conf", "")):
            _write(directory / "etc" / name, text.encode())
        (directory / "var/run").symlink_to("/run")
    except OSError as error:
        raise CaptureFailedError(f"the base 'host' could not be made: {error}") from error


def _make(directory: Path, target: str) -> None:
    """Make the place a bind is seen at: an empty directory, or an empty file."""
    place = directory / target.lstrip("/")
    if os.path.isdir(target) or target == PYTHON_PLACE:
        _directories(place)
        for parent in place.relative_to(directory).parents:  # A Python below /root has to be reached by everybody.
            (directory / parent).chmod((directory / parent).stat().st_mode & 0o7777 | 0o011)
    else:
        _directories(place.parent)
        _write(place, b"")


def _directories(path: Path) -> None:
    """Make a directory and its parents, whatever the umask."""
    if not path.is_dir():
        _directories(path.parent)
        path.mkdir()
        path.chmod(0o755)


def _copy(source: Path, target: Path) -> None:
    """Copy what everybody may read; links stay links where they lead into ``/usr`` or this copy, else become content."""
    _directories(target.parent)
    if source.is_symlink() and os.path.realpath(source).startswith(("/usr/", "/etc/")):
        target.symlink_to(os.readlink(source))
    elif source.is_dir() and not source.is_symlink():
        _directories(target)
        for entry in sorted(source.iterdir()):
            _copy(entry, target / entry.name)
    elif source.is_file() and source.stat().st_mode & 0o004:
        _write(target, source.read_bytes(), 0o755 if source.stat().st_mode & 0o111 else 0o644)


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.write_bytes(content)
    path.chmod(mode)
