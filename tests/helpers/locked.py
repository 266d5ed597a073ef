"""A registry of a test's own that wants a login, and Docker's two ways to know it."""

import base64
import contextlib
import json
import shutil
import subprocess
from pathlib import Path

from ports import await_port, free_port

USER, PASSWORD = "warden", "correct-horse-battery-9127"
ENCODED = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
HTPASSWD = f"{USER}:$2b$04$abcdefghijklmnopqrstuumdELM49ZUx6VGUjAswfoOpUIpKjSvIO\n"
HELPER = """\
#!/bin/sh
read -r server
echo "$1 $server" >> '%s'
%s
"""
ANSWERS = f'''printf '{{"ServerURL": "%s", "Username": "{USER}", "Secret": "{PASSWORD}"}}' "$server"'''


@contextlib.contextmanager
def locked_registry(directory):
    """Serve one, and lend its address; ``None`` where Debian's docker-registry is not installed."""
    program = shutil.which("docker-registry")
    if program is None:
        yield None
        return
    port = free_port()
    address = f"127.0.0.1:{port}"
    (directory / "htpasswd").write_text(HTPASSWD)
    settings = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
        "http": {"addr": address},
        "auth": {"htpasswd": {"realm": "prewarm-test", "path": str(directory / "htpasswd")}},
    }
    (directory / "registry.yml").write_text(json.dumps(settings))
    with (directory / "log").open("wb") as log:
        served = subprocess.Popen([program, "serve", str(directory / "registry.yml")], stdout=log, stderr=log)
    try:
        await_port(port, served)
        yield address
    finally:
        served.terminate()
        served.wait(60)


def configure(story, **settings):
    (Path(story.environment["DOCKER_CONFIG"]) / "config.json").write_text(json.dumps(settings))


def write_helper(story, tmp_path, answer):
    """Put a credential helper on the path; what it is asked is written down."""
    programs, asked = tmp_path / "programs", tmp_path / "asked"
    programs.mkdir()
    helper = programs / "docker-credential-vault"
    helper.write_text(HELPER % (asked, answer))
    helper.chmod(0o755)
    story.environment["PATH"] = f"{programs}:{story.environment['PATH']}"
    return asked
