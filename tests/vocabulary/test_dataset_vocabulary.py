import logging

import pytest

from masqclip_d2.vocabulary import Vocabulary, load_vocabulary, resolve_vocabulary

OWN = Vocabulary(
    ("cat", "building, edifice", "grass-merged"),
    (True, True, False),
    (("cat",), ("building", "edifice"), ("grass",)),
    {"base": (0, 2), "novel": (1,)},
)


@pytest.fixture
def choose(tmp_path):
    def choose(content):
        path = tmp_path / "words.yaml"
        path.write_text(content)
        return resolve_vocabulary(OWN, str(path), "my_val")

    return choose


def test_the_default_is_the_datasets_own():
    assert resolve_vocabulary(OWN, "", "my_val") is OWN


def test_a_style(caplog):
    with caplog.at_level(logging.INFO):
        words = resolve_vocabulary(OWN, "maskclip", "my_val")
    assert words.synonyms[1] == ("building, edifice",) and words.ensemble == "first"
    assert "my_val: vocabulary 'maskclip', templates name, ensemble first" in caplog.text


def test_a_file_with_the_things_and_groups_of_the_dataset(choose):
    words = choose("{categories: [cat|kitten, building, grass], ensemble: max, background_prompts: [shadow]}")
    assert words.names == ("cat", "building", "grass") and words.synonyms[0] == ("cat", "kitten")
    assert words.is_thing == OWN.is_thing and words.groups == OWN.groups
    assert words.ensemble == "max" and words.background_prompts == ("shadow",)


def test_a_shipped_name_in_full():
    own = load_vocabulary("coco_novel17/masqclip")
    assert resolve_vocabulary(own, "coco_novel17/openseg", "coco").ensemble == "max"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[cat, building]", "has 2 categories, but dataset 'my_val' has 3; give one for each, in its order"),
        ("[grass-merged, building, Cat]", "'grass-merged' as category 0, but in dataset 'my_val' that is category 2"),
        ("[dog, 'Cat', grass]", r"that is category 0 \(counted from 0\), and 1 is 'building, edifice'"),
    ],
)
def test_files_that_do_not_match_the_dataset(choose, content, message):
    with pytest.raises(ValueError, match=message):
        choose(content)


def test_an_unknown_style_and_one_without_names():
    with pytest.raises(FileNotFoundError, match="no vocabulary 'openseg2'.* STYLE one of maskclip, masqclip, openseg"):
        resolve_vocabulary(OWN, "openseg2", "my_val")
    with pytest.raises(ValueError, match="Dataset 'my_val': There are no OpenSeg names for these 3 categories"):
        resolve_vocabulary(OWN, "openseg", "my_val")
