from dataclasses import replace
from types import SimpleNamespace

import pytest

from masqclip_d2.vocabulary import Vocabulary


def test_free_words_are_things_unless_said_to_be_stuff():
    vocabulary = Vocabulary.from_names("striped circle,dotted star", stuff="grass,sand")
    assert vocabulary.names == ("striped circle", "dotted star", "grass", "sand")
    assert vocabulary.is_thing == (True, True, False, False)
    assert vocabulary.synonyms == (("striped circle",), ("dotted star",), ("grass",), ("sand",))
    assert len(vocabulary) == 4


def test_stuff_among_the_words_is_marked_in_place():
    vocabulary = Vocabulary.from_names("sky|heaven, cat ,Grass", stuff=" grass , heaven, sand")
    assert vocabulary.names == ("sky", "cat", "Grass", "sand")
    assert vocabulary.is_thing == (False, True, False, False)


@pytest.mark.parametrize(
    "words",
    [
        "cat,kitten;sofa,couch",
        "cat|kitten,sofa|couch",
        "cat|kitten;sofa,couch;",
        " cat , kitten ; sofa , couch ",
        ["cat,kitten", "sofa | couch"],
    ],
)
def test_synonym_syntax(words):
    vocabulary = Vocabulary.from_names(words)
    assert vocabulary.names == ("cat", "sofa")
    assert vocabulary.synonyms == (("cat", "kitten"), ("sofa", "couch"))


def test_one_word_and_one_category_with_synonyms():
    assert Vocabulary.from_names("cat").names == ("cat",)
    assert Vocabulary.from_names("cat,kitten;").synonyms == (("cat", "kitten"),)
    assert Vocabulary.from_names([], stuff="grass").is_thing == (False,)


@pytest.mark.parametrize(
    ("words", "stuff", "message"),
    [
        ("", "", "The vocabulary is empty; give at least one word"),
        ("  ", "", "The vocabulary is empty"),
        ([], (), "The vocabulary is empty"),
        ("cat,,dog", "", "'cat,,dog' has blank words at position 2"),
        ("cat, ", "", "blank words at position 2"),
        ("cat|,dog", "", "blank words at position 1"),
        (["cat", "  "], "", "blank words at position 2"),
        ("cat,dog", "grass,", "The stuff list 'grass,' has blank words at position 2"),
        ("cat,dog,cat", "", "The vocabulary has duplicate words: 'cat'"),
        ("Hot  dog,cat, hot dog", "", "duplicate words: 'hot dog' .letter case and spaces do not matter"),
        ("cat|kitten,dog|Kitten", "", "duplicate words: 'kitten'"),
        ("a,b,a,b", "", "duplicate words: 'a', 'b'"),
        ("cat", "sand,Sand", "The stuff list has duplicate words: 'sand'"),
    ],
)
def test_bad_words_are_named(words, stuff, message):
    with pytest.raises(ValueError, match=message) as error:
        Vocabulary.from_names(words, stuff)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"names": ("a", "b"), "is_thing": (True,)}, "2 names, 1 is_thing, 2 synonyms"),
        ({"names": ("a", "A "), "is_thing": (True, True)}, "duplicate words: 'a'"),
        ({"names": ("a", " "), "is_thing": (True, True)}, r"blank words in categories \[1\]"),
        ({"names": ("a",), "is_thing": (True,), "synonyms": ((),)}, r"blank words in categories \[0\]"),
        ({"names": ("a",), "is_thing": (True,), "groups": {"base": (0, 1)}}, r"outside 0..0: {'base': \[1\]}"),
        ({"names": ("a", 1), "is_thing": (True, True)}, r"Words are texts, got 1 \(int\); put it in quotes"),
        ({"names": ("a",), "is_thing": (True,), "colors": ((1, 2, 3), None)}, "1 synonyms, 2 colors"),
        ({"names": ("a",), "is_thing": (True,), "colors": ((1, 2, -3),)}, r"The color of 'a' is \[1, 2, -3\]"),
        ({"names": ("a",), "is_thing": (True,), "templates": "vild"}, "No prompt templates named 'vild'"),
        ({"names": ("a",), "is_thing": (True,), "ensemble": "sum"}, "ensemble is one of first, mean, max; got 'sum'"),
        (
            {"names": ("a",), "is_thing": (True,), "background_prompts": ("A",)},
            "'A' is a negative and a word of category 'a'",
        ),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary(**fields)


def test_categories_may_share_a_synonym():
    vocabulary = Vocabulary(("pot", "flowerpot"), (True, True), (("pot",), ("flowerpot", "pot")))
    assert vocabulary.synonyms[1] == ("flowerpot", "pot")


def test_json_round_trip():
    vocabulary = Vocabulary(
        ("cat", "grass"), (True, False), (("cat", "k\u00e4tzchen"), ("grass",)), {"base": (1,), "novel": (0,)}
    )
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary
    assert hash(Vocabulary.from_dict(vocabulary.to_dict())) == hash(vocabulary)
    full = replace(
        vocabulary, templates=("a {}",), ensemble="max", background_prompts=("dog",), colors=((1, 2, 3), None)
    )
    assert Vocabulary.from_json(full.to_json()) == full != vocabulary
    assert hash(Vocabulary.from_dict(full.to_dict())) == hash(full)


@pytest.mark.parametrize("text", ["{", "[]", '{"names": ["a"]}', '{"names": ["a"], "is_thing": [true], "words": []}'])
def test_other_json_is_refused(text):
    with pytest.raises(ValueError, match="not JSON|A vocabulary has the entries names, is_thing, synonyms, groups"):
        Vocabulary.from_json(text)


def test_metadata_with_a_vocabulary():
    vocabulary = Vocabulary.from_names("cat,dog")
    assert Vocabulary.from_metadata(SimpleNamespace(vocabulary=vocabulary, thing_classes=["x"])) is vocabulary
    assert Vocabulary.from_metadata(SimpleNamespace(vocabulary=vocabulary.to_dict())) == vocabulary


def test_metadata_of_instance_and_semantic_datasets():
    things = Vocabulary.from_metadata(SimpleNamespace(name="i", thing_classes=["sofa, couch", "window "]))
    assert things.names == ("sofa, couch", "window") and things.is_thing == (True, True)
    assert things.synonyms == (("sofa", "couch"), ("window",))
    assert Vocabulary.from_metadata(SimpleNamespace(name="s", stuff_classes=["sky"])).is_thing == (False,)


def test_metadata_of_panoptic_datasets():
    apart = SimpleNamespace(name="p", thing_classes=["cat"], stuff_classes=["sky", "sea"])
    assert Vocabulary.from_metadata(apart).names == ("cat", "sky", "sea")
    assert Vocabulary.from_metadata(apart).is_thing == (True, False, False)
    # ADE20K: things are scattered among the 150 classes.
    whole = SimpleNamespace(name="p", thing_classes=["bed"], stuff_classes=["wall", "bed", "sky"])
    assert Vocabulary.from_metadata(whole).names == ("wall", "bed", "sky")
    assert Vocabulary.from_metadata(whole).is_thing == (False, True, False)
    # Detectron2's COCO panoptic: both lists have every class, and the ids tell.
    both = SimpleNamespace(
        name="p",
        thing_classes=["cat", "sky"],
        stuff_classes=["cat", "sky"],
        thing_dataset_id_to_contiguous_id={17: 0},
    )
    assert Vocabulary.from_metadata(both).is_thing == (True, False)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (SimpleNamespace(name="my_val"), "Dataset 'my_val' has no metadata 'vocabulary'"),
        (SimpleNamespace(name="my_val", thing_classes=[]), "Dataset 'my_val' has no metadata"),
        (
            SimpleNamespace(name="fpn", thing_classes=["cat"], stuff_classes=["things", "sky"]),
            "'fpn' merges all things",
        ),
    ],
)
def test_metadata_without_words(metadata, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary.from_metadata(metadata)
