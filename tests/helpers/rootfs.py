"""Root filesystems and images for tests: busybox as an archive and as an OCI layout.

busybox is Debian's ``busybox-static``: the installed one, else its package, fetched once into ``$PREWARM_TEST_CACHE``
(default ``~/.cache/prewarm-tests``).
"""

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

APPLETS = [
    "ash",
    "cat",
    "chmod",
    "chown",
    "cp",
    "cut",
    "date",
    "echo",
    "env",
    "false",
    "grep",
    "head",
    "id",
    "ip",
    "kill",
    "ln",
    "ls",
    "mkdir",
    "mount",
    "mv",
    "ps",
    "pwd",
    "readlink",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "sh",
    "sleep",
    "sort",
    "stat",
    "tail",
    "test",
    "touch",
    "tr",
    "true",
    "umount",
    "uname",
    "wc",
    "whoami",
]


def busybox():
    """Give the path of a static busybox; ``None`` where there is none and none can be fetched."""
    found = shutil.which("busybox")
    if found and subprocess.run(["ldd", found], capture_output=True, check=False).returncode != 0:  # It needs no other.
        return Path(found)
    cache = Path(os.environ.get("PREWARM_TEST_CACHE") or Path.home() / ".cache" / "prewarm-tests") / "busybox"
    program = cache / "bin" / "busybox"
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        fetched = subprocess.run(["apt-get", "download", "busybox-static"], cwd=cache, capture_output=True, check=False)
        for package in cache.glob("busybox-static_*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(package), str(cache)], check=True, capture_output=True)
        if fetched.returncode != 0 and not program.exists():
            return None
    return program


def member(name, kind=tarfile.REGTYPE, *, mode=0o644, link="", size=0, uid=0, gid=0):
    found = tarfile.TarInfo(name)
    found.type, found.mode, found.linkname, found.size, found.uid, found.gid = kind, mode, link, size, uid, gid
    return found


def archive(*entries):
    """Give a tar archive of (TarInfo, content) pairs."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in entries:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def busybox_archive(program):
    """Give a root filesystem that holds busybox, a few accounts, and nothing to mount on."""
    entries = [
        (member("bin", tarfile.DIRTYPE, mode=0o755), b""),
        (member("bin/busybox", mode=0o755), Path(program).read_bytes()),
        *((member(f"bin/{name}", tarfile.SYMTYPE, mode=0o777, link="busybox"), b"") for name in APPLETS),
        (member("etc", tarfile.DIRTYPE, mode=0o755), b""),
        (member("etc/passwd"), b"root:x:0:0:root:/root:/bin/sh\n"),
        (member("etc/group"), b"root:x:0:\n"),
        (member("root", tarfile.DIRTYPE, mode=0o700), b""),
        (member("opt/keep/one"), b"1\n"),
        (member("opt/keep/two"), b"2\n"),
    ]
    return archive(*entries)


def layout(directory, *layers, tag="1", platform=("linux", "amd64"), env=("PATH=/bin", "FROM_IMAGE=yes")):
    """Write an OCI layout of these tar archives, the first lowest; odd ones are compressed."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)

    def blob(content, kind):
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}

    kind = "application/vnd.oci.image"
    config = {
        "os": platform[0],
        "architecture": platform[1],
        "config": {"Env": list(env)},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]},
    }
    written = [
        blob(gzip.compress(layer) if number % 2 else layer, f"{kind}.layer.v1.tar{'+gzip' if number % 2 else ''}")
        for number, layer in enumerate(layers)
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": blob(json.dumps(config).encode(), f"{kind}.config.v1+json"),
        "layers": written,
    }
    described = blob(json.dumps(manifest).encode(), f"{kind}.manifest.v1+json")
    described["platform"] = {"os": platform[0], "architecture": platform[1]}
    inner = blob(json.dumps({"schemaVersion": 2, "manifests": [described]}).encode(), f"{kind}.index.v1+json")
    inner["annotations"] = {"org.opencontainers.image.ref.name": tag}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [inner]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return directory
