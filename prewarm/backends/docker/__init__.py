"""The docker backend: templates are images that BuildKit builds, sessions are containers with a keeper in them.

``DockerBackend`` is found by its entry point. Only ``engine`` knows where the engine is, and only it turns the SDK's
errors into prewarm's. Capturing (``capture`` and what it imports) is loaded when something is captured: the runtime
half needs the standard library and the docker SDK alone.
"""

from prewarm.backends.docker.backend import DockerBackend

__all__ = ["DockerBackend"]
