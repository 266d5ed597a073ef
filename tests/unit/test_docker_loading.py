"""Archives that the engine is given, and what becomes of what it says to them."""

import contextlib
import hashlib
import io
import json
import tarfile

import pytest

from prewarm.backends.docker.loading import Sent, archive, load
from prewarm.errors import CaptureFailedError

BLOBS = {hashlib.sha256(data).hexdigest(): data for data in (b"config", b"first layer", b"x" * 3000)}
CONFIG, FIRST, SECOND = BLOBS


@contextlib.contextmanager
def blob(digest):
    yield io.BytesIO(BLOBS[digest]), len(BLOBS[digest])


class Engine:
    """Takes what is loaded, and answers with these events."""

    def __init__(self, *events):
        self.events, self.taken = events, b""

    @property
    def api(self):
        return self

    def load_image(self, data):
        self.taken = b"".join(data)
        return iter(self.events)


def refusal(why):
    return CaptureFailedError(f"refused: {why}")


def test_an_archive_has_what_images_are_made_of_once_and_says_so_last():
    images = [
        Sent(tag="a:1", config=CONFIG, layers=(FIRST, SECOND)),
        Sent(tag="b:1", config=CONFIG, layers=(FIRST, FIRST)),
    ]
    engine = Engine({"stream": "Loaded image: a:1"})
    load(engine, archive(images, blob), refusal)

    with tarfile.open(fileobj=io.BytesIO(engine.taken)) as tar:
        names = tar.getnames()
        assert names == [*(f"blobs/sha256/{digest}" for digest in BLOBS), "manifest.json"]
        assert [tar.extractfile(name).read() for name in names[:-1]] == list(BLOBS.values())
        first, second = json.load(tar.extractfile("manifest.json"))
    assert first == {"Config": names[0], "RepoTags": ["a:1"], "Layers": names[1:3]}
    assert (second["RepoTags"], second["Layers"]) == (["b:1"], [names[1]] * 2)


def test_what_the_engine_says_against_it_is_the_callers_error():
    with pytest.raises(CaptureFailedError, match="refused: no such platform"):
        load(Engine({"stream": "x"}, {"error": "no such platform"}), iter([b""]), refusal)


def test_an_answer_that_is_an_error_is_the_callers_error_too():
    from docker.errors import APIError

    class Refusing(Engine):
        def load_image(self, data):
            raise APIError("500", explanation="invalid tar header")

    with pytest.raises(CaptureFailedError, match="refused: invalid tar header"):
        load(Refusing(), iter([b""]), refusal)
