"""Which refs lead to one template: equal ones, and those of one content."""

from prewarm.refs import ref_names, same_template
from prewarm.values import TemplateRef


def ref(**value):
    return TemplateRef(backend="docker", format="docker/1", value=value)


OLD = ref(image="1", tag="t")
HERE = ref(image="1", tag="t", content="c")
THERE = ref(image="2", tag="t", content="c")
OTHER = ref(image="3", tag="t", content="d")


def test_equal_refs_lead_to_one_template():
    assert same_template(OLD, ref(tag="t", image="1"))


def test_refs_of_one_content_lead_to_one_template_wherever_they_were_written():
    assert same_template(HERE, THERE)
    assert not same_template(HERE, OTHER)


def test_a_ref_from_before_contents_leads_where_the_same_image_is():
    assert same_template(OLD, HERE)
    assert not same_template(OLD, THERE)


def test_contents_of_different_backends_are_different():
    assert not same_template(HERE, TemplateRef(backend="local", format="local/1", value={"content": "c"}))


def test_a_content_that_is_no_text_names_nothing():
    assert len(ref_names(ref(image="1", content=7))) == 1
