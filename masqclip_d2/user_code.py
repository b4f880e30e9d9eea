"""Import of a user's own Python, which registers datasets or parts of a model: the option `--import FILE` of commands.

Files are named on the command line and never in a configuration, so that a foreign YAML file runs no code.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path


def import_user_code(names: Iterable[str]) -> None:
    """Import files (ending in .py) and modules (found from the current folder, too), each once per process.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: there is no such module.
        Whatever the user's code raises.
    """
    for name in names:
        if name.endswith(".py"):
            _import_file(Path(name).expanduser().resolve())
        else:
            if os.getcwd() not in sys.path:
                sys.path.insert(0, os.getcwd())
            importlib.import_module(name)


def _import_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"--import: there is no file {path}.")
    # A name of its own: files are called data.py or datasets.py, as installed packages are.
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
