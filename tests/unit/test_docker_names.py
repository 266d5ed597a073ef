"""Names of the docker backend: hash first and whole, never too long, unlike for unlike identities."""

from hypothesis import given
from hypothesis import strategies as st

from prewarm.backends.docker.names import published_tag, repository, session_container, staged_tag, tag_identity
from prewarm.testing.builders import key_of

KEY = key_of("a")


@given(st.text(min_size=1, max_size=200), st.text(min_size=1, max_size=200), st.text(min_size=1, max_size=200))
def test_a_container_name_is_short_enough_and_begins_with_its_whole_hash(namespace, name, session):
    made = session_container(namespace, name, session)

    assert len(made) <= 63
    assert all(character in "0123456789abcdef" for character in made[:12])
    assert made[12:13] in {"-", ""}


def test_identities_that_read_alike_have_names_of_their_own():
    assert session_container("a", "b", "c-d") != session_container("a", "b-c", "d")
    assert session_container("a", "b", "x" * 100 + "1") != session_container("a", "b", "x" * 100 + "2")


def test_a_published_tag_holds_the_full_key():
    assert published_tag("acme-bot", KEY) == f"prewarm/acme-bot:{KEY}"


def test_a_namespace_that_image_names_cannot_hold_becomes_a_digest():
    assert repository("acme..bot").startswith("x-")
    assert repository("acme..bot") != repository("acme._bot")


def test_a_staged_tag_gives_back_the_identity_of_its_build():
    assert tag_identity(staged_tag("acme", KEY, "m-t-1f", "1-2")) == "m-t-1f"
