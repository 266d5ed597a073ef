"""The hook of the story: runs in the build, against the sandbox."""


def warm(sandbox):
    """Leave a file behind, made by a command of the sandbox."""
    sandbox.write("/workspace/warm.py", "import six\nprint('warm', six.PY3)\n")
    sandbox.run("/opt/venv/bin/python /workspace/warm.py > /workspace/warmed")
