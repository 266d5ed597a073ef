"""What the docker backend calls things: labels, image tags, container names. Pure; read by every module beside it."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Final

from prewarm.key import TemplateKey

BACKEND: Final = "docker"
CAPTURE_FORMAT: Final = "docker/1"

LABEL: Final = "dev.prewarm."
LABEL_SCHEMA: Final = LABEL + "schema"
LABEL_ROLE: Final = LABEL + "role"
LABEL_NAMESPACE: Final = LABEL + "namespace"
LABEL_NAME: Final = LABEL + "name"
LABEL_KEY: Final = LABEL + "key"
LABEL_PARENT: Final = LABEL + "parent"
LABEL_BASE_BYTES: Final = LABEL + "base-bytes"
LABEL_SESSION: Final = LABEL + "session"
LABEL_POLICY: Final = LABEL + "policy"
LABEL_EXPIRES: Final = LABEL + "expires"
LABEL_REF: Final = LABEL + "ref"
LABEL_BUILD: Final = LABEL + "build"
SCHEMA: Final = "1"

ROLE_TEMPLATE: Final = "template"
ROLE_SESSION: Final = "session"
ROLE_BUILD: Final = "build"

PUBLISHED: Final = "prewarm/"
STAGED: Final = "prewarm-staging/"
BASE_REPOSITORY: Final = "prewarm-base/image"
_REPOSITORY: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_LONGEST_NAME: Final = 63
_LONGEST_NAMESPACE: Final = 100
_IDENTITY_DIGITS: Final = 12


def repository(namespace: str) -> str:
    """Give a namespace as a part of an image's name; one that image names cannot hold becomes a digest of it."""
    if _REPOSITORY.fullmatch(namespace) and len(namespace) <= _LONGEST_NAMESPACE:
        return namespace
    return "x-" + hashlib.sha256(namespace.encode()).hexdigest()[:32]


def published_tag(namespace: str, key: TemplateKey) -> str:
    """Give the tag under which a published template is found."""
    return f"{PUBLISHED}{repository(namespace)}:{key}"


def staged_tag(namespace: str, key: TemplateKey, identity: str, part: str = "all") -> str:
    """Give the tag of an unpublished image, with the identity of its build at the end."""
    return f"{STAGED}{repository(namespace)}:{key.short}.{part}.{identity}"


def tag_identity(tag: str) -> str:
    """Give the identity in the tag of a staged image or of a base."""
    return tag.rpartition(".")[2]


def base_tag(image_id: str, identity: str) -> str:
    """Give the tag by which one build names its base: an image id alone cannot stand in a Dockerfile."""
    return f"{BASE_REPOSITORY}:{image_id.removeprefix('sha256:')[:12]}.{identity}"


def template_labels(
    namespace: str, name: str, key: TemplateKey, *, parent: str | None, base_bytes: int
) -> dict[str, str]:
    """Give the labels of a template's image."""
    labels = {
        LABEL_SCHEMA: SCHEMA,
        LABEL_ROLE: ROLE_TEMPLATE,
        LABEL_NAMESPACE: namespace,
        LABEL_NAME: name,
        LABEL_KEY: key,
        LABEL_BASE_BYTES: str(base_bytes),
    }
    # An inherited label would name the grandparent: it is always set.
    labels[LABEL_PARENT] = parent or ""
    return labels


def session_container(namespace: str, name: str, session_key: str) -> str:
    """Give a session's container name: the short hash of its identity whole and first, then what people recognise.

    The template's key has no part in it: opening a session again finds the one there is, whatever it was born from.
    """
    identity = f"{namespace}\x00{name}\x00{session_key}".encode()
    digest = hashlib.sha256(identity).hexdigest()[:_IDENTITY_DIGITS]
    readable = re.sub(r"[^a-zA-Z0-9_.-]+", "-", f"{namespace}-{name}-{session_key}")
    return f"{digest}-{readable}"[:_LONGEST_NAME].rstrip("-._")


def build_container(key: TemplateKey) -> str:
    """Give a fresh name for a container that a capture needs."""
    return f"{key.short}-build-{secrets.token_hex(8)}"
