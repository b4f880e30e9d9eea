import copy
import json
import pickle
from dataclasses import replace
from types import SimpleNamespace

import pytest

from masqclip_d2.vocabulary import Vocabulary


def test_names_are_things_unless_listed_as_stuff():
    vocabulary = Vocabulary.from_names("striped circle,dotted star", stuff="grass,sand")
    assert vocabulary.names == ("striped circle", "dotted star", "grass", "sand")
    assert vocabulary.is_thing == (True, True, False, False)
    assert vocabulary.synonyms == (("striped circle",), ("dotted star",), ("grass",), ("sand",))
    assert len(vocabulary) == 4


def test_stuff_among_the_names_is_marked_in_place():
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


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (None, "vocabulary is of type NoneType; expected 'cat,dog', or a list of names"),
        (5, "vocabulary is of type int"),
        (b"cat", "vocabulary is of type bytes"),
        ({"cat": 1}, "vocabulary is of type dict"),
        (["cat", 5], "vocabulary has 5 of type int; each category is a string"),
        ([("cat", "kitten"), "dog"], r"has \('cat', 'kitten'\) of type tuple; .*after bars: 'cat|kitten'"),
    ],
)
def test_names_of_another_type_are_refused(names, message):
    with pytest.raises(TypeError, match=message):
        Vocabulary.from_names(names)


def test_one_name_and_one_category_with_synonyms():
    assert Vocabulary.from_names("cat").names == ("cat",)
    assert Vocabulary.from_names("cat,kitten;").synonyms == (("cat", "kitten"),)
    assert Vocabulary.from_names([], stuff="grass").is_thing == (False,)


@pytest.mark.parametrize(
    ("words", "stuff", "message"),
    [
        ("", "", "The vocabulary is empty; give at least one category name"),
        ("  ", "", "The vocabulary is empty"),
        ([], (), "The vocabulary is empty"),
        ("cat,,dog", "", "'cat,,dog' has blank names at position 2"),
        ("cat, ", "", "blank names at position 2"),
        ("cat|,dog", "", "blank names at position 1"),
        (["cat", "  "], "", "blank names at position 2"),
        ("cat,dog", "grass,", "The stuff list 'grass,' has blank names at position 2"),
        ("cat,dog,cat", "", "The vocabulary has duplicates: 'cat'"),
        ("Hot  dog,cat, hot dog", "", "duplicates: 'hot dog' .ignoring letter case and spaces"),
        ("cat|kitten,dog|Kitten", "", "duplicates: 'kitten'"),
        ("caf\u00e9,cafe\u0301", "", "duplicates: 'caf\u00e9'"),
        ("a,b,a,b", "", "duplicates: 'a', 'b'"),
        ("cat", "sand,Sand", "The stuff list has duplicates: 'sand'"),
    ],
)
def test_invalid_names(words, stuff, message):
    with pytest.raises(ValueError, match=message) as error:
        Vocabulary.from_names(words, stuff)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"names": ("a", "b"), "is_thing": (True,)}, "2 names, 1 is_thing, 2 synonyms"),
        ({"names": ("a", "A "), "is_thing": (True, True)}, "duplicates: 'a'"),
        ({"names": ("a", " "), "is_thing": (True, True)}, r"blank names in categories \[1\]"),
        ({"names": ("a",), "is_thing": (True,), "synonyms": ((),)}, r"blank names in categories \[0\]"),
        (
            {"names": ("a",), "is_thing": (True,), "groups": {"base": (0, 1)}},
            r"outside 0..0 .there are 1 categories.: {'base': \[1\]}",
        ),
        (
            {"names": ("a", 1), "is_thing": (True, True)},
            r"Category names must be strings, got 1 \(int\); put it in quotes",
        ),
        ({"names": ("a",), "is_thing": (True,), "colors": ((1, 2, 3), None)}, "1 synonyms, 2 colors"),
        ({"names": ("a",), "is_thing": (True,), "colors": ((1, 2, -3),)}, r"The color of 'a' is \[1, 2, -3\]"),
        ({"names": ("a",), "is_thing": (True,), "templates": "vild"}, "No prompt templates named 'vild'"),
        (
            {"names": ("a",), "is_thing": (True,), "ensemble": []},
            r"ensemble must be one of first, mean, max; got \[\]",
        ),
        (
            {"names": ("a",), "is_thing": (True,), "background_prompts": ("A",)},
            "'A' is both a background prompt and a name of category 'a'",
        ),
    ],
)
def test_invalid_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary(**fields)


def test_categories_may_share_a_synonym():
    vocabulary = Vocabulary(("pot", "flowerpot"), (True, True), (("pot",), ("flowerpot", "pot")))
    assert vocabulary.synonyms[1] == ("flowerpot", "pot")


def test_dict_round_trip():
    vocabulary = Vocabulary(
        ("cat", "grass"), (True, False), (("cat", "k\u00e4tzchen"), ("grass",)), {"base": (1,), "novel": (0,)}
    )
    assert Vocabulary.from_dict(json.loads(json.dumps(vocabulary.to_dict()))) == vocabulary
    assert hash(Vocabulary.from_dict(vocabulary.to_dict())) == hash(vocabulary)
    full = replace(
        vocabulary, templates=("a {}",), ensemble="max", background_prompts=("dog",), colors=((1, 2, 3), None)
    )
    assert Vocabulary.from_dict(json.loads(json.dumps(full.to_dict()))) == full != vocabulary
    assert hash(Vocabulary.from_dict(full.to_dict())) == hash(full)


@pytest.mark.parametrize("entries", [[], {"names": ["a"]}, {"names": ["a"], "is_thing": [True], "words": []}])
def test_dicts_with_other_entries_are_refused(entries):
    with pytest.raises(ValueError, match="A vocabulary has the entries names, is_thing, synonyms, groups"):
        Vocabulary.from_dict(entries)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Vocabulary.load("shapes/maskclip"),
            r"Vocabulary.load does not exist; use masqclip_d2.load_vocabulary",
        ),
        (lambda: Vocabulary.from_file("a.yaml"), r"use masqclip_d2.load_vocabulary\(path\)"),
        (lambda: Vocabulary.from_names("a").to_file("a.yaml"), r"use masqclip_d2.save_vocabulary\(vocabulary, path\)"),
        (lambda: Vocabulary.from_words("a"), r"use Vocabulary.from_names\(names\)"),
        (lambda: Vocabulary(("a",), (True,), negatives=("b",)), "'negatives' is now 'background_prompts'"),
        (
            lambda: Vocabulary.from_dict({"names": ["a"], "is_thing": [True], "negatives": ["b"]}),
            "'negatives' is now 'background_prompts'",
        ),
    ],
)
def test_old_names_are_refused_with_the_new_one(call, message):
    with pytest.raises((AttributeError, TypeError, ValueError), match=message):
        call()


def test_vocabularies_are_copied_and_pickled():
    vocabulary = Vocabulary.from_names("cat|kitten", stuff="grass")
    assert pickle.loads(pickle.dumps(vocabulary)) == copy.deepcopy(vocabulary) == vocabulary


def test_metadata_with_a_vocabulary():
    vocabulary = Vocabulary.from_names("cat,dog")
    assert Vocabulary.from_metadata(SimpleNamespace(vocabulary=vocabulary, thing_classes=["x"])) is vocabulary
    assert Vocabulary.from_metadata(SimpleNamespace(vocabulary=vocabulary.to_dict())) == vocabulary


def test_groups_of_metadata_without_a_vocabulary():
    metadata = SimpleNamespace(name="p", thing_classes=["cat", "dog"], category_groups={"base": [1], "novel": [0]})
    assert Vocabulary.from_metadata(metadata).groups == {"base": (1,), "novel": (0,)}
    metadata.category_groups["novel"] = [2]
    with pytest.raises(
        ValueError, match=r"Dataset 'p': Groups have ids outside 0..1 .there are 2 cat.*{'novel': \[2\]}"
    ):
        Vocabulary.from_metadata(metadata)


def test_groups_are_stored_once():
    metadata = SimpleNamespace(name="p", vocabulary=Vocabulary.from_names("cat,dog"), category_groups={"base": [1]})
    with pytest.raises(ValueError, match="'p' has both metadata 'vocabulary' and 'category_groups'; remove the second"):
        Vocabulary.from_metadata(metadata)


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
def test_metadata_without_category_names(metadata, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary.from_metadata(metadata)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("cat . fire hydrant .", ("cat", "fire hydrant")),
        ("cat . fire hydrant", ("cat", "fire hydrant")),
        ("cat. fire hydrant.", ("cat", "fire hydrant")),
        ("cat|kitten . dog.", ("cat", "dog")),
        ("St. Bernard", ("St. Bernard",)),
        ("St. Bernard,Mr. Bean.", ("St. Bernard", "Mr. Bean.")),
        ("3.5 inch disk", ("3.5 inch disk",)),
        ("cat|kitten\nfire hydrant\n\nSt. Bernard\n", ("cat", "fire hydrant", "St. Bernard")),
        ("cat, fire\nhydrant,\ndog", ("cat", "fire hydrant", "dog")),
    ],
)
def test_categories_separated_by_dots_or_lines(names, expected):
    assert Vocabulary.from_names(names).names == expected


def test_a_slash_is_part_of_a_name_and_between_spaces_a_warning(caplog):
    for _ in range(2):
        assert Vocabulary.from_names("washer / dryer,tv/radio").names == ("washer / dryer", "tv/radio")
    assert caplog.messages == [
        "'washer / dryer' is a single name: a slash is part of it. If these are synonyms, separate them by a bar: "
        "'washer|dryer'."
    ]


def test_blank_names_between_dots_are_refused():
    with pytest.raises(ValueError, match="blank names at position 2"):
        Vocabulary.from_names("cat . . dog .")


@pytest.mark.parametrize("name", ["\x1b[2Jcat", "cat\x07", "a\x00b", "\ud800", "\u202ecat\u202c", "\u2067dog"])
def test_names_with_characters_that_are_no_text(name):
    with pytest.raises(ValueError, match="which is no text") as caught:
        Vocabulary.from_names([name, "dog"])
    assert str(caught.value).isascii() and str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["\u200b", "\u2060\u200d"])
def test_invisible_names(name):
    with pytest.raises(ValueError, match="no visible character|blank"):
        Vocabulary.from_names([name, "dog"])


@pytest.mark.parametrize(
    "name", ["\u732b", "na\u00efve", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u05db\u05dc\u05d1\u200f", "a\tb"]
)
def test_names_of_any_script(name):
    assert Vocabulary.from_names([name]).names[0].split() == name.split()
