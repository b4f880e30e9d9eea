import json

import pytest
import yaml

from masqclip_d2.vocabulary import Vocabulary, as_vocabulary, load_vocabulary, save_vocabulary

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
        return load_vocabulary(tmp_path / name)

    return read


def test_yaml_and_json_have_the_same_content(read):
    assert read(YAML) == EXPECTED
    assert read(json.dumps(yaml.safe_load(YAML)), "words.json") == EXPECTED


def test_a_list_contains_the_categories_and_the_rest_has_defaults(read):
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


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json"])
def test_written_files_are_read_again(tmp_path, suffix):
    odd = Vocabulary(
        ("sofa, couch", "a|b", "no", "k\u00e4tzchen", "two  spaces", "plain"),
        (True, False, True, True, True, True),
        (("sofa", "couch"), ("a|b",), ("no",), ("k\u00e4tzchen",), ("two  spaces",), ("plain",)),
        templates=("a {}: yes",),
        background_prompts=("off",),
    )
    for number, vocabulary in enumerate((EXPECTED, odd)):
        path = tmp_path / "new folder" / f"{number}{suffix}"
        save_vocabulary(vocabulary, path)
        assert load_vocabulary(path) == vocabulary == load_vocabulary(str(path))


def test_written_files_are_short(tmp_path):
    save_vocabulary(Vocabulary.from_names("cat,dog|puppy", stuff="grass"), tmp_path / "words.yaml")
    assert yaml.safe_load((tmp_path / "words.yaml").read_text()) == {
        "categories": ["cat", {"name": "dog", "synonyms": ["dog", "puppy"]}, {"name": "grass", "isthing": False}]
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the content is nothing, not a mapping with the key 'categories'"),
        ("cat", r"the content is 'cat' \(str\)"),
        ("categories: [", "not valid YAML"),
        (
            "categories: !!python/object/apply:os.getcwd []",
            "not valid YAML: line 1, column 13: could not determine a constructor",
        ),
        ("categories: cat", r"categories must be a list, got 'cat' \(str\)"),
        ("{templates: name}", "categories must be a list, got nothing"),
        ("[]", "The vocabulary is empty"),
        ("{category: [cat]}", "the unknown key 'category'; known: categories, .* Did you mean 'categories'"),
        ("{categories: [cat], negatives: []}", "unknown key 'negatives'.* 'negatives' is now 'background_prompts'"),
        ("{categories: [cat], colors: []}", "the unknown key 'colors'; known: categories, templates, ensemble"),
        ("[{name: cat, synonym: [kitten]}]", "category 1 has the unknown key 'synonym'.* Did you mean 'synonyms'"),
        ("[{synonyms: [cat]}]", "category 1 needs a string as its 'name', got None"),
        ("[cat, no]", r"category 2 is False \(bool\); give a string \(in quotes\)"),
        ("[cat, {name: 7}]", "category 2 needs a string as its 'name', got 7; put it in quotes"),
        ("[cat, '']", "blank names"),
        ("[cat, '|dog']", "The category 2 .* has blank names"),
        ("[{name: ' '}]", "blank names in categories"),
        ("[{name: cat, synonyms: []}]", "blank names in categories"),
        ("[{name: cat, synonyms: [cat, '']}]", "blank names in categories"),
        ("[{name: cat, synonyms: cat}]", r"synonyms of category 1 \('cat'\) must be a list"),
        ("[{name: cat, synonyms: [yes]}]", r"synonyms of category 1 \('cat'\) must be strings, got True"),
        ("[cat, dog, Cat]", "duplicates: 'cat'"),
        ("['cat|Cat']", "The entry of category 1 has duplicates: 'cat'"),
        ("[{name: cat, synonyms: [pet, pet]}]", r"synonyms of category 1 \('cat'\) has duplicates: 'pet'"),
        ("[{name: cat, isthing: maybe}]", r"isthing of category 1 \('cat'\) is 'maybe'"),
        ("[{name: cat, color: red}]", r"the color of category 1 \('cat'\) must be a list, got 'red'"),
        ("[{name: cat, color: [1, 2]}]", r"The color of 'cat' is \[1, 2\]; give red, green and blue"),
        ("[{name: cat, color: [1, 2, 256]}]", "integers 0..255"),
        ("[{name: cat, color: [1, 2, 0.5]}]", "integers 0..255"),
        ("{categories: [cat], templates: vild14}", "No prompt templates named 'vild14'; .* Did you mean 'vild_14'"),
        ("{categories: [cat], templates: ['a photo']}", "A template has one {} for the category name, got 'a photo'"),
        ("{categories: [cat], templates: ['{} {}']}", "A template has one {}"),
        ("{categories: [cat], templates: []}", "The list of templates is empty"),
        ("{categories: [cat], templates: ['a {}', 'A {}']}", "The list of templates has duplicates"),
        ("{categories: [cat], ensemble: median}", "ensemble must be one of first, mean, max; got 'median'"),
        ("{categories: [cat], background_prompts: shadow}", "background_prompts must be a list"),
        ("{categories: [cat], background_prompts: [' ']}", r"The background_prompts \[' '\] have blank texts"),
        ("{categories: [cat], background_prompts: [a, A]}", "The list of background_prompts has duplicates: 'a'"),
        (
            "{categories: ['cat|kitten'], background_prompts: [Kitten]}",
            "'Kitten' is both a background prompt and a name of category 'cat'",
        ),
        (
            "{categories: [cat], groups: {base: [cta]}}",
            "group 'base' names 'cta', which is not a .* Did you mean 'cat'",
        ),
        ("{categories: [cat], groups: [cat]}", "groups must be a mapping"),
        ("{categories: [cat], groups: {base: cat}}", "group 'base' must be a list"),
    ],
)
def test_errors_are_one_line_with_the_file_name(read, text, message):
    with pytest.raises(ValueError, match=message) as error:
        read(text)
    assert str(error.value).startswith("Vocabulary file ") and "words.yaml: " in str(error.value)
    assert "\n" not in str(error.value)


def test_other_files_are_refused(tmp_path, read):
    with pytest.raises(ValueError, match=r"must have the suffix .yaml, .yml, .json, .txt; got 'words.md'"):
        read("cat", "words.md")
    with pytest.raises(ValueError, match="words.json: not valid JSON"):
        read("{categories: [cat]}", "words.json")
    with pytest.raises(ValueError, match="must have the suffix .yaml"):
        save_vocabulary(EXPECTED, tmp_path / "words.csv")
    with pytest.raises(FileNotFoundError, match=r"There is no vocabulary file .*missing.yaml"):
        load_vocabulary(tmp_path / "missing.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"- k\xe4tzchen\n")
    with pytest.raises(ValueError, match="latin.yaml: not valid YAML"):
        load_vocabulary(tmp_path / "latin.yaml")


def test_a_word_list_has_one_category_per_line(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("\ufeffcat | kitten\n\n# animals end here\n  fire hydrant\r\n\u732b\n", encoding="utf-8")
    vocabulary = load_vocabulary(path)
    assert vocabulary.synonyms == (("cat", "kitten"), ("fire hydrant",), ("\u732b",)) and all(vocabulary.is_thing)
    with_stuff = as_vocabulary(str(path), "fire hydrant,grass")
    assert with_stuff.names == ("cat", "fire hydrant", "\u732b", "grass")
    assert with_stuff.is_thing == (True, False, True, False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it has no words"),
        (b"# nothing\n", "it has no words"),
        ("gr\u00f6\u00dfe".encode("latin-1"), "it is not UTF-8"),
        (b"cat\nCat\n", "The vocabulary has duplicates"),
    ],
)
def test_bad_word_lists_are_refused(tmp_path, content, message):
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    for read in (load_vocabulary, lambda file: as_vocabulary(file, "grass")):
        with pytest.raises(ValueError, match=f"^Vocabulary file \\S*words.txt: {message}"):
            read(path)


def test_a_byte_order_mark_is_ignored(tmp_path):
    for name in ("words.json", "words.yaml"):
        (tmp_path / name).write_text('\ufeff["cat", "dog"]', encoding="utf-8")
        assert load_vocabulary(tmp_path / name).names == ("cat", "dog")


def test_vocabularies_are_not_saved_as_word_lists(tmp_path):
    with pytest.raises(ValueError, match="yaml or .json"):
        save_vocabulary(Vocabulary.from_names("cat"), tmp_path / "words.txt")


def test_a_repeated_key_of_json(tmp_path):
    path = tmp_path / "words.json"
    path.write_text('{"categories": ["a"], "categories": ["b"]}')
    with pytest.raises(ValueError, match="words.json: not valid JSON: it has the key 'categories' twice"):
        load_vocabulary(path)
