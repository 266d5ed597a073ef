"""The memory backend: the reference, in process, with a dictionary for a filesystem; for unit tests of applications.

It keeps the rules of every backend (keys, paths, publication, expiry, errors). What it does not do: it runs no programs.
Commands are Python functions, the few that it has (``programs``) and those that a test registers; its shell knows
sequences, redirection and variables and refuses the rest by name. Users and permission bits are kept, not enforced. Every
base is the same few directories. Nothing outlives the process.
"""

from prewarm.backends.memory.backend import MemoryBackend
from prewarm.backends.memory.calls import Call, CommandFunction
from prewarm.backends.memory.store import MemoryStore

__all__ = ["Call", "CommandFunction", "MemoryBackend", "MemoryStore"]
