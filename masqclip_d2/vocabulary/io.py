"""Vocabularies by file name or shipped name. A file, YAML or JSON, serves demo, evaluation and training:

    categories:
      - striped circle                    # a thing; the name is its only synonym
      - circle | disc                     # a name and a further synonym, as on the command line
      - name: tree-merged                 # label of predictions
        synonyms: [tree, palm tree]       # all prompts of the category; default: the name
        isthing: false                    # default: true
        color: [60, 120, 40]              # in visualizations; default: chosen there
    templates: vild_14                    # name of a set, or a list of templates with {}; default: those of the model
    ensemble: max                         # first, mean or max over synonyms; default: that of the model
    background_prompts: [shadow, reflection]       # texts that compete and are never predicted
    groups: {base: [striped circle]}      # categories, by name, that get metrics of their own

A file that is a list contains the categories. A text file (.txt) has one category per line, "circle | disc" with its
synonyms; empty lines and lines that start with # are skipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..categories.lists import CATEGORY_LISTS
from ..files import expand_home, save_text
from ..json_data import without_repeats
from ..yaml_data import load_yaml
from .shipped import STYLES, shipped_names, shipped_vocabulary
from .vocabulary import RENAMED_FIELDS, Vocabulary, fold, near_match, refuse_repeated, split_categories

SUFFIXES = (".yaml", ".yml", ".json", ".txt")
_WORD_LIST = ".txt"  # of names only, without stuff and templates
_KEYS = ("categories", "templates", "ensemble", "background_prompts", "groups")
_CATEGORY_KEYS = ("name", "synonyms", "isthing", "color")
_SEPARATORS = ",|"  # of synonyms, in a category that is a plain string


def load_vocabulary(name_or_path: str | Path) -> Vocabulary:
    """Return a shipped vocabulary by its name, such as "coco_panoptic/openseg", or read a vocabulary file.

    Raises:
        FileNotFoundError: neither a shipped name nor a file.
        ValueError: the file is not YAML or JSON, has unknown keys, or its content is no valid vocabulary.
    """
    name = str(name_or_path)
    if name in shipped_names():
        list_name, style = name.split("/")
        return shipped_vocabulary(list_name, style)
    if is_vocabulary_name(name_or_path) or expand_home(name).is_file():
        return _read(expand_home(name))
    raise FileNotFoundError(
        f"There is no vocabulary {name!r}: neither a file nor a shipped one, LIST/STYLE with LIST one of "
        f"{', '.join(CATEGORY_LISTS)} and STYLE one of {', '.join(STYLES)}.{near_match(name, shipped_names())}"
    )


def save_vocabulary(vocabulary: Vocabulary, path: str | Path) -> None:
    """Write a file that `load_vocabulary` reads, atomically; missing folders are created.

    Raises:
        ValueError: `path` has another suffix than .yaml, .yml or .json.
    """
    path = expand_home(path)
    if path.suffix == _WORD_LIST:
        raise ValueError("A word list (.txt) cannot hold all of a vocabulary; save it as .yaml or .json.")
    _check_suffix(path)
    content = _to_content(vocabulary)
    if path.suffix == ".json":
        text = json.dumps(content, indent=1)
    else:
        text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)
    save_text(path, text)


def is_vocabulary_name(name_or_path: str | Path) -> bool:
    """Return True for a path, a string with a vocabulary file's suffix, or a shipped name; the file need not exist."""
    return isinstance(name_or_path, Path) or name_or_path.endswith(SUFFIXES) or name_or_path in shipped_names()


def as_vocabulary(vocabulary: Vocabulary | str | Path | Sequence[str], stuff: str | Sequence[str] = ()) -> Vocabulary:
    """Return a vocabulary from any of the types that a user may pass.

    Args:
        vocabulary: a `Vocabulary`; a file or shipped name, see `is_vocabulary_name`; or category names, see
            `Vocabulary.from_names`.
        stuff: which of the category names are stuff; only with category names and word lists (.txt).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no valid vocabulary, or `stuff` with a vocabulary that defines its own stuff.
    """
    if isinstance(vocabulary, Path) or (isinstance(vocabulary, str) and is_vocabulary_name(vocabulary)):
        if stuff and Path(vocabulary).suffix == _WORD_LIST:
            return _read(expand_home(vocabulary), stuff)
        loaded = load_vocabulary(vocabulary)
    elif isinstance(vocabulary, Vocabulary):
        loaded = vocabulary
    else:
        return Vocabulary.from_names(vocabulary, stuff)
    if stuff:
        raise ValueError(
            "`stuff` is for category names only; a vocabulary or vocabulary file defines its own stuff categories."
        )
    return loaded


def _read(path: Path, stuff: str | Sequence[str] = ()) -> Vocabulary:
    """The vocabulary of a file; `stuff` is for word lists."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no vocabulary file {path}.")
    try:
        if path.suffix == _WORD_LIST:
            return Vocabulary.from_names(_words_in(path), stuff)
        return _from_content(_parsed(path))
    except ValueError as error:
        raise ValueError(f"Vocabulary file {path}: {' '.join(str(error).split())}") from error


def _parsed(path: Path) -> Any:
    _check_suffix(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        return json.loads(text, object_pairs_hook=without_repeats) if path.suffix == ".json" else load_yaml(text)
    except (ValueError, RecursionError) as error:  # also of other encodings
        raise ValueError(f"not valid {'JSON' if path.suffix == '.json' else 'YAML'}: {error}.") from error


def _words_in(path: Path) -> list[str]:
    """The categories of a word list; ValueError if there is none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text ({error}); save it as UTF-8.") from error
    words = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not words:
        raise ValueError("it has no words; write one category per line.")
    return words


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise ValueError(f"A vocabulary file must have the suffix {', '.join(SUFFIXES)}; got {path.name!r}.")


def _from_content(content: Any) -> Vocabulary:
    if isinstance(content, list):
        content = {"categories": content}
    if not isinstance(content, Mapping):
        raise ValueError(f"the content is {_kind(content)}, not a mapping with the key 'categories'.")
    _refuse_unknown(content, _KEYS, "the file")
    entries = _listed(content.get("categories"), "categories")
    rows = [_category(number, entry) for number, entry in enumerate(entries, start=1)]
    names = [row["name"] for row in rows]
    templates = content.get("templates", "")
    return Vocabulary(
        tuple(names),
        tuple(row["isthing"] for row in rows),
        tuple(row["synonyms"] for row in rows),
        {name: _indices(name, members, names) for name, members in _mapped(content.get("groups", {})).items()},
        templates=templates if isinstance(templates, str) else tuple(_texts(templates, "templates")),
        ensemble=content.get("ensemble", ""),
        background_prompts=tuple(_texts(content.get("background_prompts", []), "background_prompts")),
        colors=tuple(row["color"] for row in rows),
    )


def _category(number: int, entry: Any) -> dict[str, Any]:
    """Parse category `number` (counted from 1) into name, synonyms, isthing and color."""
    where = f"category {number}"
    if isinstance(entry, str):
        (synonyms,) = split_categories([entry], where)
        refuse_repeated([synonyms], f"entry of {where}")
        return {"name": synonyms[0], "synonyms": synonyms, "isthing": True, "color": None}
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where} is {_kind(entry)}; give a string (in quotes) or a mapping with the key 'name'.")
    _refuse_unknown(entry, _CATEGORY_KEYS, where)
    if not isinstance(entry.get("name"), str):
        raise ValueError(f"{where} needs a string as its 'name', got {entry.get('name')!r}; put it in quotes.")
    where = f"{where} ({entry['name']!r})"
    synonyms = _texts(entry.get("synonyms", [entry["name"]]), f"synonyms of {where}")
    refuse_repeated([synonyms], f"list of synonyms of {where}")
    isthing = entry.get("isthing", True)
    if isthing not in (True, False):  # also 0 and 1, as in COCO's files
        raise ValueError(f"isthing of {where} is {isthing!r}; give true or false.")
    color = entry.get("color")
    if color is not None:
        color = tuple(_listed(color, f"the color of {where}"))
    return {"name": entry["name"], "synonyms": tuple(synonyms), "isthing": bool(isthing), "color": color}


def _indices(group: str, members: Any, names: Sequence[str]) -> tuple[int, ...]:
    index_of = {fold(name): index for index, name in enumerate(names)}
    members = _texts(members, f"group {group!r}")
    for name in members:
        if fold(name) not in index_of:
            raise ValueError(f"group {group!r} names {name!r}, which is not a category.{near_match(name, names)}")
    return tuple(index_of[fold(name)] for name in members)


def _refuse_unknown(content: Mapping, known: Sequence[str], where: str) -> None:
    for key in content:
        if key not in known:
            renamed = RENAMED_FIELDS.get(str(key))
            hint = f" {key!r} is now {renamed!r}." if renamed in known else near_match(str(key), known)
            raise ValueError(f"{where} has the unknown key {str(key)!r}; known: {', '.join(known)}.{hint}")


def _listed(value: Any, what: str) -> list:
    if not isinstance(value, list):
        raise ValueError(f"{what} must be a list, got {_kind(value)}.")
    return value


def _mapped(value: Any) -> Mapping:
    if not isinstance(value, Mapping):
        raise ValueError(f"groups must be a mapping from names to lists of categories, got {_kind(value)}.")
    return value


def _texts(value: Any, what: str) -> list[str]:
    for text in _listed(value, what):
        if not isinstance(text, str):
            raise ValueError(f"{what} must be strings, got {text!r}; put it in quotes.")
    return value


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"{value!r} ({type(value).__name__})"


def _to_content(vocabulary: Vocabulary) -> dict[str, Any]:
    colors = vocabulary.colors or (None,) * len(vocabulary)
    rows = zip(vocabulary.names, vocabulary.is_thing, vocabulary.synonyms, colors, strict=True)
    content: dict[str, Any] = {"categories": [_entry(*row) for row in rows]}
    templates = vocabulary.templates
    optional = {
        "templates": templates if isinstance(templates, str) else list(templates),
        "ensemble": vocabulary.ensemble,
        "background_prompts": list(vocabulary.background_prompts),
        "groups": {group: [vocabulary.names[index] for index in ids] for group, ids in vocabulary.groups.items()},
    }
    return content | {key: value for key, value in optional.items() if value}


def _entry(name: str, is_thing: bool, synonyms: Iterable[str], color: tuple[int, int, int] | None) -> str | dict:
    entry: dict[str, Any] = {"name": name}
    if tuple(synonyms) != (name,):
        entry["synonyms"] = list(synonyms)
    if not is_thing:
        entry["isthing"] = False
    if color is not None:
        entry["color"] = list(color)
    is_plain = len(entry) == 1 and not any(separator in name for separator in _SEPARATORS)
    return name if is_plain and name == " ".join(name.split()) else entry
