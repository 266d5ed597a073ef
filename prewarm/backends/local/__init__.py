"""The embedded default: templates as stacks of layer directories, sessions as overlays in namespaces of their own.

``backend`` is the way in; ``store``, ``templates`` and ``layers`` are what lies on disk, ``holder``, ``command`` and
``files`` what runs, ``capture`` and ``sessions`` what is done with both. Opening imports only the standard library.
"""

from prewarm.backends.local.backend import LocalBackend

__all__ = ["LocalBackend"]
