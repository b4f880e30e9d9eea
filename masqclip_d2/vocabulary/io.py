"""Vocabulary files, YAML or JSON: one object for demo, evaluation and training.

    categories:
      - striped circle                    # a thing; its name is the only word that is read
      - circle | disc                     # name and a synonym, as on the command line
      - name: tree-merged                 # what the answer says
        synonyms: [tree, palm tree]       # all words that are read for it; default: the name
        isthing: false                    # default: true
        color: [60, 120, 40]              # in pictures; default: chosen there
    templates: vild_14                    # name of a set, or a list of sentences with {}; default: those of the model
    ensemble: max                         # first, mean or max over synonyms; default: that of the model
    background_prompts: [shadow, reflection]       # texts that compete and are never an answer
    groups: {base: [striped circle]}      # categories that are evaluated on their own, by name

A file that is nothing but a list holds the categories.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..files import save_text
from .vocabulary import Vocabulary, fold, near_match, refuse_repeated, split_categories

SUFFIXES = (".yaml", ".yml", ".json")
_KEYS = ("categories", "templates", "ensemble", "background_prompts", "groups")
_CATEGORY_KEYS = ("name", "synonyms", "isthing", "color")
_SEPARATORS = ",|"  # of synonyms, in a category that is nothing but a text


def read_vocabulary(path: str | Path) -> Vocabulary:
    """`Vocabulary.from_file`."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"There is no vocabulary file {path}.")
    try:
        return _from_content(_parsed(path))
    except ValueError as error:
        raise ValueError(f"Vocabulary file {path}: {' '.join(str(error).split())}") from error


def write_vocabulary(path: str | Path, vocabulary: Vocabulary) -> None:
    """`Vocabulary.to_file`."""
    path = Path(path).expanduser()
    _check_ending(path)
    content = _to_content(vocabulary)
    if path.suffix == ".json":
        text = json.dumps(content, indent=1)
    else:
        text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)
    save_text(path, text)


def _parsed(path: Path) -> Any:
    _check_ending(path)
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (yaml.YAMLError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"it is no {'JSON' if path.suffix == '.json' else 'YAML'}: {error}.") from error


def _check_ending(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise ValueError(f"A vocabulary file ends in {', '.join(SUFFIXES)}; got {path.name!r}.")


def _from_content(content: Any) -> Vocabulary:
    if isinstance(content, list):
        content = {"categories": content}
    if not isinstance(content, Mapping):
        raise ValueError(f"it holds {_kind(content)}, not a mapping with the key 'categories'.")
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
    """Name, synonyms, isthing and color of an entry, the `number`-th from 1."""
    where = f"category {number}"
    if isinstance(entry, str):
        (words,) = split_categories([entry], where)
        refuse_repeated([words], f"entry of {where}")
        return {"name": words[0], "synonyms": words, "isthing": True, "color": None}
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where} is {_kind(entry)}; give a text (in quotes) or a mapping with the key 'name'.")
    _refuse_unknown(entry, _CATEGORY_KEYS, where)
    if not isinstance(entry.get("name"), str):
        raise ValueError(f"{where} has no text as its 'name', got {entry.get('name')!r}; put it in quotes.")
    where = f"{where} ({entry['name']!r})"
    synonyms = _texts(entry.get("synonyms", [entry["name"]]), f"synonyms of {where}")
    refuse_repeated([synonyms], f"list of synonyms of {where}")
    isthing = entry.get("isthing", True)
    if isthing not in (True, False):  # 0 and 1, as in COCO's files, too
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
            raise ValueError(f"group {group!r} names {name!r}, which is no category.{near_match(name, names)}")
    return tuple(index_of[fold(name)] for name in members)


def _refuse_unknown(content: Mapping, known: Sequence[str], where: str) -> None:
    for key in content:
        if key not in known:
            hint = near_match(str(key), known)
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
    for word in _listed(value, what):
        if not isinstance(word, str):
            raise ValueError(f"{what} must be texts, got {word!r}; put it in quotes.")
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
