import pytest

from masqclip_d2.vocabulary import Vocabulary, load_vocabulary, with_background_prompts
from masqclip_d2.vocabulary.background import background_pool


def left_out(names):
    """Background prompts that are not used with these categories."""
    vocabulary = with_background_prompts(Vocabulary.from_names(names), "coco_lvis")
    return set(background_pool("coco_lvis")) - set(vocabulary.background_prompts)


def test_the_pool_has_the_names_of_coco_and_lvis_once():
    pool = background_pool("coco_lvis")
    assert len(pool) == len(set(pool)) == 1269
    assert {"person", "building", "wood floor", "zucchini", "bat (animal)"} <= set(pool)
    assert not any("merged" in prompt for prompt in pool)
    assert set(load_vocabulary("lvis_v1/maskclip").names) <= set(pool)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("tables", {"table", "dining table", "coffee table"}),  # a plural; "dining table" is a table
        ("dining table", {"table", "dining table"}),  # so "table" would win against it
        ("Dining-Table", {"table", "dining table"}),
        ("sofa", {"couch", "sofa"}),  # synonyms of OpenSeg
        ("courgette", {"zucchini"}),  # of LVIS
        ("pet|dog", {"dog", "pug-dog", "dalmatian"}),  # of the user; broader by WordNet
        ("woman", {"person"}),
        ("knives", {"knife", "steak knife"}),
        ("furniture", {"chair", "couch", "bed", "desk"}),
        ("a red bicycle", {"bicycle"}),
        ("clothes", {"shirt", "trousers"}),
    ],
)
def test_names_that_may_mean_a_category_are_left_out(names, expected):
    assert expected <= left_out(names) and len(left_out(names)) < 200


@pytest.mark.parametrize(
    ("names", "used"),
    [
        ("dog", {"cat", "wolf", "teddy bear", "sky", "person"}),
        ("poodle", {"dog"}),  # narrower: dogs that are no poodles belong to the background
        ("car", {"card", "carton", "bus (vehicle)"}),  # parts of words do not count
        ("glass", {"fiberglass", "grass"} & set(background_pool("coco_lvis"))),
    ],
)
def test_other_names_are_used(names, used):
    assert used and not used & left_out(names)


def test_words_of_other_scripts_are_no_names_of_the_pool():
    chinese, emoji = "\u732b", "\U0001f600"
    assert left_out([chinese, emoji]) == set()
    labelled = Vocabulary((chinese,), (True,), (("cat",),))  # the label in one language, the prompt in another
    assert "cat" not in with_background_prompts(labelled, "coco_lvis").background_prompts


def test_own_background_prompts_and_none_are_kept():
    own = Vocabulary(("dog",), (True,), background_prompts=("shadow",))
    assert with_background_prompts(own, "coco_lvis") is own
    plain = Vocabulary.from_names("dog")
    assert with_background_prompts(plain, "") is plain
    with pytest.raises(ValueError, match="no background prompts 'coco-lvis'; known: coco_lvis. Did you mean"):
        with_background_prompts(plain, "coco-lvis")


@pytest.mark.parametrize("name", ["coco_panoptic/openseg", "lvis_v1/openseg", "ade20k_full/maskclip"])
def test_large_vocabularies_leave_some_of_the_pool(name):
    vocabulary = with_background_prompts(load_vocabulary(name), "coco_lvis")
    assert 0 < len(vocabulary.background_prompts) < 1269  # and they are valid: no name is also a category
