"""Import of a user's own Python (option `--import FILE`), which registers datasets, proposers, backbones or models.

The option belongs to the command line and to `Predictor`, never to a configuration, so that a YAML file from elsewhere
cannot run code.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path

from .files import expand_home


def import_user_code(names: str | Path | Iterable[str | Path]) -> None:
    """Import files (*.py) and modules (also from the current folder), each once per process.

    Args:
        names: one, or several.

    Raises:
        FileNotFoundError: a file does not exist.
        ImportError: a module does not exist.
        Any error of the imported code.
    """
    for name in map(str, [names] if isinstance(names, (str, Path)) else names):
        if name.endswith(".py"):
            _import_file(expand_home(name).resolve())
        else:
            if os.getcwd() not in sys.path:
                sys.path.insert(0, os.getcwd())
            importlib.import_module(name)


def unknown_name(key: str, name: str, known: Iterable[str]) -> ValueError:
    """The error for a configuration that names a part which nothing has registered.

    Args:
        key: the configuration key.
        name: its value.
        known: all names that the key takes.
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return ValueError(
        f"{key} is {name!r}; known: {', '.join(known) or 'none'}.{hint} A name of your own is known once the file that "
        "registers it is imported (--import FILE)."
    )


def _import_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"--import: file {path} does not exist.")
    # A unique name, since a file may have the name of an installed package, such as datasets.py.
    name = f"masqclip_user_{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"--import: Python cannot import {path}.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
