"""Backends: what captures templates and hosts sessions. ``base`` is the page that their authors read."""
