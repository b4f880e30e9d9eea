"""Configuration files: YAML, by path or shipped name, that may be based on others (_BASE_)."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from .files import expand_home
from .yaml_data import load_yaml

_LONGEST_NAME = 1000  # characters


def find_config(name_or_path: str | Path) -> Path:
    """Path of a configuration given by path, or by shipped name with or without ".yaml"."""
    path = expand_home(name_or_path)
    if path.is_file():
        return path
    name = str(name_or_path).removeprefix("configs/").removesuffix(".yaml")
    shipped = config_dir() / f"{name}.yaml"
    if shipped.is_file():
        return shipped
    names = shipped_configs()
    near = difflib.get_close_matches(name, names, n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Shipped: {', '.join(names)}."
    raise FileNotFoundError(f"Config {str(name_or_path)!r} is neither a file nor a shipped configuration. {hint}")


def config_dir() -> Path:
    """Folder of the shipped configurations: in a wheel inside the package, in a checkout next to it."""
    inside = Path(__file__).parent / "configs"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "configs"


def shipped_configs() -> list[str]:
    """Names for `find_config`, such as "shapes/teacher"; includes the bases of other configurations (base/)."""
    return sorted(str(path.relative_to(config_dir()).with_suffix("")) for path in config_dir().rglob("*.yaml"))


def read_config(path: Path) -> dict[str, Any]:
    """Settings of a configuration file, merged with those of the files that it is based on.

    Raises:
        FileNotFoundError, ValueError: see `config_files`.
    """
    settings: dict[str, Any] = {}
    for file in config_files(path):
        _merge(settings, _yaml_mapping(file))
    settings.pop("_BASE_", None)
    return settings


def config_files(path: Path) -> list[Path]:
    """The files that a configuration is based on (_BASE_) and itself, in the order in which they are merged.

    Raises:
        FileNotFoundError: a _BASE_ is neither a file nor a shipped configuration.
        ValueError: a file is no YAML mapping, or is based on itself.
    """
    return _files(path, (), {})


def _files(path: Path, above: tuple[Path, ...], known: dict[Path, list[Path]]) -> list[Path]:
    """`config_files`, each file once, at its last place: merging it earlier as well would change nothing.

    Args:
        path: its file.
        above: files that are based on it.
        known: the results for files that were read before.
    """
    if any(path.samefile(file) for file in above):
        raise ValueError(f"Config {path} is based on itself (_BASE_ of {above[-1]}).")
    if path.resolve() in known:
        return known[path.resolve()]
    bases = _yaml_mapping(path).get("_BASE_", [])
    files = []
    for base in bases if isinstance(bases, list) else [bases]:
        if len(str(base)) > _LONGEST_NAME:
            raise ValueError(f"_BASE_ of {path} has {len(str(base))} characters; expected the name of a configuration.")
        beside = path.parent / expand_home(str(base))
        try:
            found = beside if beside.is_file() else find_config(str(base))
        except FileNotFoundError as error:
            raise FileNotFoundError(f"_BASE_ of {path}: {error}") from None
        files += _files(found, (*above, path), known)
    known[path.resolve()] = list(reversed(dict.fromkeys(reversed([*files, path]))))
    return known[path.resolve()]


def _yaml_mapping(path: Path) -> dict:
    try:
        content = load_yaml(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:  # also of other encodings
        raise ValueError(f"Config {path} cannot be read: {error}.") from None
    if not isinstance(content, dict):
        found = "is empty" if content is None else f"holds a {type(content).__name__}"
        raise ValueError(f"Config {path} {found}; expected keys with values.")
    _require_text_keys(content, path)
    return content


def _require_text_keys(content: Any, path: Path) -> None:
    """ValueError for keys that YAML reads as numbers, truth values or nothing, such as yes and 5."""
    for key, value in content.items() if isinstance(content, dict) else ():
        if not isinstance(key, str):
            raise ValueError(f"Config {path} has the key {key!r}, which is no text; keys are names such as MODEL.")
        _require_text_keys(value, path)


def _merge(settings: dict, further: dict) -> None:
    """Override settings in place; mappings are merged."""
    for key, value in further.items():
        if isinstance(value, dict) and isinstance(settings.get(key), dict):
            _merge(settings[key], value)
        else:
            settings[key] = value
