"""Another platform than this machine's: arm64 programs from Debian, and an emulator that the kernel is told of for a while.

Packages are unpacked into ``$PREWARM_TEST_CACHE`` (default ``~/.cache/prewarm-tests``) and never installed.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
from pathlib import Path

PLATFORM = "linux/arm64"
_HANDLER = "prewarm-test-aarch64"
_MAGIC = rb"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = rb"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
_APT = """\
Dir::Etc::sourcelist "{0}/sources.list";
Dir::Etc::sourceparts "-";
Dir::State "{0}";
Dir::State::lists "{0}/lists";
Dir::State::status "{0}/status";
Dir::Cache "{0}/cache";
APT::Sandbox::User "root";
APT::Architecture "arm64";
APT::Architectures "arm64";
"""


def busybox():
    """Give the path of an arm64 busybox; ``None`` where it cannot be fetched."""
    return _program("arm64", "busybox-static", "bin/busybox", for_arm64=True)


def emulator():
    """Give the path of a static emulator of arm64; ``None`` where it cannot be fetched."""
    return _program("emulator", "qemu-user-static", "usr/bin/qemu-aarch64-static", for_arm64=False)


@contextlib.contextmanager
def undisturbed(*, alone):
    """Have no other run of the tests give the kernel an emulator meanwhile, or take it away.

    Args:
        alone: Whether this one will; otherwise several may count on there being none.
    """
    kernel = os.open("/proc/sys/kernel/ostype", os.O_RDONLY)  # All who share it can open this.
    try:
        fcntl.flock(kernel, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
    finally:
        os.close(kernel)


@contextlib.contextmanager
def emulated(program, directory):
    """Have the kernel run arm64 programs by an emulator; raises ``OSError`` where it does not let itself be told."""
    directory.mkdir()
    subprocess.run(["mount", "-t", "binfmt_misc", "none", str(directory)], check=True, capture_output=True)
    try:
        if (directory / _HANDLER).exists():  # Left by a run that was killed.
            (directory / _HANDLER).write_text("-1")
        # F: the emulator is opened now, so that containers need not have it. P: busybox goes by the name it is called by.
        told = b":%s:M::%s:%s:%s:FP" % (_HANDLER.encode(), _MAGIC, _MASK, os.fsencode(program))
        (directory / "register").write_bytes(told)
        try:
            yield
        finally:
            (directory / _HANDLER).write_text("-1")
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def _program(place, package, path, *, for_arm64):
    cache = Path(os.environ.get("PREWARM_TEST_CACHE") or Path.home() / ".cache" / "prewarm-tests") / place
    program = cache / "root" / path
    if program.exists():
        return program
    cache.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ}
    if for_arm64:
        archive = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)", "Created-By: Packages"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.split()
        if not archive:
            return None
        for name in ("lists/partial", "cache/archives/partial"):
            (cache / name).mkdir(parents=True, exist_ok=True)
        (cache / "status").touch()
        (cache / "sources.list").write_text(f"deb [arch=arm64] {archive[0]} {archive[1]} main\n")
        (cache / "apt.conf").write_text(_APT.format(cache))
        environment["APT_CONFIG"] = str(cache / "apt.conf")
        subprocess.run(["apt-get", "update", "-qq"], env=environment, capture_output=True, check=False)
    argv = ["apt-get", "download", "-qq", package]
    subprocess.run(argv, cwd=cache, env=environment, capture_output=True, check=False)
    for found in cache.glob(f"{package}_*.deb"):
        subprocess.run(["dpkg", "-x", str(found), str(cache / "part")], check=True)
        (cache / "part").replace(cache / "root")
        found.unlink()
    for name in ("lists", "cache"):
        shutil.rmtree(cache / name, ignore_errors=True)
    return program if program.exists() else None
