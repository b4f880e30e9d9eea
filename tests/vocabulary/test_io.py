import json

import pytest
import yaml

from masqclip_d2.vocabulary import Vocabulary

YAML = """
categories:
  - striped circle
  - circle | disc            # a name and a synonym
  - {name: tree-merged, synonyms: [tree, palm tree], isthing: false, color: [60, 120, 40]}
templates: vild_14
ensemble: max
background_prompts: [shadow]
groups: {base: [tree-merged, striped circle]}
"""
EXPECTED = Vocabulary(
    ("striped circle", "circle", "tree-merged"),
    (True, True, False),
    (("striped circle",), ("circle", "disc"), ("tree", "palm tree")),
    {"base": (2, 0)},
    templates="vild_14",
    ensemble="max",
    background_prompts=("shadow",),
    colors=(None, None, (60, 120, 40)),
)


@pytest.fixture
def read(tmp_path):
    def read(text, name="words.yaml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return Vocabulary.from_file(tmp_path / name)

    return read


def test_yaml_and_json_say_the_same(read):
    assert read(YAML) == EXPECTED
    assert read(json.dumps(yaml.safe_load(YAML)), "words.json") == EXPECTED


def test_a_list_is_the_categories_and_the_rest_has_defaults(read):
    vocabulary = read("- cat, kitten\n- 'no'\n")
    assert vocabulary == Vocabulary.from_names(["cat,kitten", "no"])
    assert (vocabulary.templates, vocabulary.ensemble, vocabulary.background_prompts, vocabulary.colors) == (
        "",
        "",
        (),
        (),
    )


def test_own_templates_and_isthing_as_in_coco(read):
    vocabulary = read("{categories: [{name: cat, isthing: 0}], templates: ['a {}.', '{article} big {}']}")
    assert vocabulary.templates == ("a {}.", "{article} big {}") and vocabulary.is_thing == (False,)
    assert read("{categories: [cat], templates: 'a {}.'}").templates == ("a {}.",)


@pytest.mark.parametrize("ending", [".yaml", ".yml", ".json"])
def test_written_files_are_read_again(tmp_path, ending):
    odd = Vocabulary(
        ("sofa, couch", "a|b", "no", "k\u00e4tzchen", "two  spaces", "plain"),
        (True, False, True, True, True, True),
        (("sofa", "couch"), ("a|b",), ("no",), ("k\u00e4tzchen",), ("two  spaces",), ("plain",)),
        templates=("a {}: yes",),
        background_prompts=("off",),
    )
    for number, vocabulary in enumerate((EXPECTED, odd)):
        path = tmp_path / "new folder" / f"{number}{ending}"
        vocabulary.to_file(path)
        assert Vocabulary.from_file(path) == vocabulary == Vocabulary.load(str(path))


def test_written_files_are_short(tmp_path):
    Vocabulary.from_names("cat,dog|puppy", stuff="grass").to_file(tmp_path / "words.yaml")
    assert yaml.safe_load((tmp_path / "words.yaml").read_text()) == {
        "categories": ["cat", {"name": "dog", "synonyms": ["dog", "puppy"]}, {"name": "grass", "isthing": False}]
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it holds nothing, not a mapping with the key 'categories'"),
        ("cat", r"it holds 'cat' \(str\)"),
        ("categories: [", "it is no YAML"),
        ("categories: !!python/object/apply:os.getcwd []", "it is no YAML: could not determine a constructor"),
        ("categories: cat", r"categories must be a list, got 'cat' \(str\)"),
        ("{templates: name}", "categories must be a list, got nothing"),
        ("[]", "The vocabulary is empty"),
        ("{category: [cat]}", "the unknown key 'category'; known: categories, .* Did you mean 'categories'"),
        ("{categories: [cat], colours: []}", "the unknown key 'colours'; known: categories, templates, ensemble"),
        ("[{name: cat, synonym: [kitten]}]", "category 1 has the unknown key 'synonym'.* Did you mean 'synonyms'"),
        ("[{synonyms: [cat]}]", "category 1 has no text as its 'name', got None"),
        ("[cat, no]", r"category 2 is False \(bool\); give a text \(in quotes\)"),
        ("[cat, {name: 7}]", "category 2 has no text as its 'name', got 7; put it in quotes"),
        ("[cat, '']", "blank words"),
        ("[cat, '|dog']", "The category 2 .* has blank words"),
        ("[{name: ' '}]", "blank words in categories"),
        ("[{name: cat, synonyms: []}]", "blank words in categories"),
        ("[{name: cat, synonyms: [cat, '']}]", "blank words in categories"),
        ("[{name: cat, synonyms: cat}]", r"synonyms of category 1 \('cat'\) must be a list"),
        ("[{name: cat, synonyms: [yes]}]", r"synonyms of category 1 \('cat'\) must be texts, got True"),
        ("[cat, dog, Cat]", "duplicate words: 'cat'"),
        ("['cat|Cat']", "The entry of category 1 has duplicate words: 'cat'"),
        ("[{name: cat, synonyms: [pet, pet]}]", r"synonyms of category 1 \('cat'\) has duplicate words: 'pet'"),
        ("[{name: cat, isthing: maybe}]", r"isthing of category 1 \('cat'\) is 'maybe'"),
        ("[{name: cat, color: red}]", r"the color of category 1 \('cat'\) must be a list, got 'red'"),
        ("[{name: cat, color: [1, 2]}]", r"The color of 'cat' is \[1, 2\]; give red, green and blue"),
        ("[{name: cat, color: [1, 2, 256]}]", "whole numbers 0..255"),
        ("[{name: cat, color: [1, 2, 0.5]}]", "whole numbers 0..255"),
        ("{categories: [cat], templates: vild14}", "No prompt templates named 'vild14'; .* Did you mean 'vild_14'"),
        ("{categories: [cat], templates: ['a photo']}", "A template has one {} for the word, got 'a photo'"),
        ("{categories: [cat], templates: ['{} {}']}", "A template has one {}"),
        ("{categories: [cat], templates: []}", "The list of templates is empty"),
        ("{categories: [cat], templates: ['a {}', 'A {}']}", "The list of templates has duplicate words"),
        ("{categories: [cat], ensemble: median}", "ensemble is one of first, mean, max; got 'median'"),
        ("{categories: [cat], background_prompts: shadow}", "background_prompts must be a list"),
        ("{categories: [cat], background_prompts: [' ']}", r"The background_prompts \[' '\] have blank words"),
        ("{categories: [cat], background_prompts: [a, A]}", "The list of background_prompts has duplicate words: 'a'"),
        (
            "{categories: ['cat|kitten'], background_prompts: [Kitten]}",
            "'Kitten' is a negative and a word of category 'cat'",
        ),
        ("{categories: [cat], groups: {base: [cta]}}", "group 'base' names 'cta', which is no .* Did you mean 'cat'"),
        ("{categories: [cat], groups: [cat]}", "groups must be a mapping"),
        ("{categories: [cat], groups: {base: cat}}", "group 'base' must be a list"),
    ],
)
def test_what_is_wrong_is_one_sentence_with_the_file(read, text, message):
    with pytest.raises(ValueError, match=message) as error:
        read(text)
    assert str(error.value).startswith("Vocabulary file ") and "words.yaml: " in str(error.value)
    assert "\n" not in str(error.value)


def test_other_files_are_refused(tmp_path, read):
    with pytest.raises(ValueError, match=r"ends in .yaml, .yml, .json; got 'words.txt'"):
        read("cat", "words.txt")
    with pytest.raises(ValueError, match="words.json: it is no JSON"):
        read("{categories: [cat]}", "words.json")
    with pytest.raises(ValueError, match="ends in .yaml"):
        EXPECTED.to_file(tmp_path / "words.csv")
    with pytest.raises(FileNotFoundError, match=r"There is no vocabulary file .*missing.yaml"):
        Vocabulary.from_file(tmp_path / "missing.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"- k\xe4tzchen\n")
    with pytest.raises(ValueError, match="latin.yaml: it is no YAML"):
        Vocabulary.from_file(tmp_path / "latin.yaml")
