"""A template that was captured and that nobody finds yet, and the end of what was not published. Called by ``capture``."""

from __future__ import annotations

from prewarm.backends.capturing import CaptureRequest
from prewarm.backends.docker.engine import Engine, translated
from prewarm.backends.docker.images import ImageFacts, facts
from prewarm.backends.docker.names import published_tag
from prewarm.backends.docker.templates import ref_of, untag
from prewarm.request import TemplateRef


class Staged:
    """A ``StagedTemplate``: an image with its labels, under a name that only this build knows."""

    def __init__(self, engine: Engine, request: CaptureRequest, image: ImageFacts, base_size: int) -> None:
        self._engine = engine
        self._request = request
        self._image = image
        self._size = max(0, image.size - base_size)

    @property
    def ref(self) -> TemplateRef:
        image, request = self._image, self._request
        return ref_of(image.id, request.namespace, request.key, content=image.content)

    @property
    def size(self) -> int:
        return self._size

    def publish(self) -> None:
        """Name it as a template is named. What another builder published first under this key is replaced, equal in key."""
        tag = published_tag(self._request.namespace, self._request.key)
        repository, _, label = tag.rpartition(":")
        with translated():
            self._engine.api.tag(self._image.id, repository, label)


def name(engine: Engine, image_id: str, tag: str) -> bool:
    """Give an image a name of this build's own; say whether the image is still there to be named."""
    from docker.errors import NotFound

    repository, _, label = tag.rpartition(":")
    with translated():
        try:
            engine.api.tag(image_id, repository, label)
        except NotFound:
            return False
    return True


def forget(engine: Engine, tag: str) -> None:
    """Take away a name of this build's own, where it still stands."""
    found = facts(engine, tag)
    if found is not None:
        untag(engine, tag, found.id)
