import logging

import pytest

from masqclip_d2.vocabulary import Vocabulary, resolve_vocabulary

OWN = Vocabulary(
    ("cat", "building, edifice", "grass-merged"),
    (True, True, False),
    (("cat",), ("building", "edifice"), ("grass",)),
    {"base": (0, 2), "novel": (1,)},
)


@pytest.fixture
def choose(tmp_path):
    def choose(words):
        path = tmp_path / "words.yaml"
        path.write_text(words)
        return resolve_vocabulary(OWN, str(path), "my_val")

    return choose


def test_nothing_chosen_is_the_datasets_own():
    assert resolve_vocabulary(OWN, "", "my_val") is OWN


def test_a_form(caplog):
    with caplog.at_level(logging.INFO):
        words = resolve_vocabulary(OWN, "maskclip", "my_val")
    assert words.synonyms[1] == ("building, edifice",) and words.ensemble == "first"
    assert "my_val: words of 'maskclip', templates name, first of synonyms" in caplog.text


def test_a_file_keeps_its_words_and_the_things_and_groups_of_the_dataset(choose):
    words = choose("{categories: [cat|kitten, building, grass], ensemble: max, background_prompts: [shadow]}")
    assert words.names == ("cat", "building", "grass") and words.synonyms[0] == ("cat", "kitten")
    assert words.is_thing == OWN.is_thing and words.groups == OWN.groups
    assert words.ensemble == "max" and words.background_prompts == ("shadow",)


def test_a_shipped_name_in_full():
    own = Vocabulary.load("coco_novel17/masqclip")
    assert resolve_vocabulary(own, "coco_novel17/openseg", "coco").ensemble == "max"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("[cat, building]", "has 2 categories, but dataset 'my_val' has 3; give one for each, in its order"),
        ("[grass-merged, building, Cat]", "'grass-merged' as category 0, but in dataset 'my_val' that is category 2"),
        ("[dog, 'Cat', grass]", r"that is category 0 \(counted from 0\), and 1 is 'building, edifice'"),
    ],
)
def test_words_that_do_not_fit(choose, words, message):
    with pytest.raises(ValueError, match=message):
        choose(words)


def test_an_unknown_form_and_one_without_words():
    with pytest.raises(FileNotFoundError, match="no vocabulary 'openseg2'.* FORM one of maskclip, masqclip, openseg"):
        resolve_vocabulary(OWN, "openseg2", "my_val")
    with pytest.raises(ValueError, match="Dataset 'my_val': There are no OpenSeg names for these 3 categories"):
        resolve_vocabulary(OWN, "openseg", "my_val")
