"""The command `python -m projects.notebooks`: run the notebooks and store their outputs in them."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from masqclip_d2.files import atomic_write

from .cells import CellRunner
from .stored import faults

ROOT = Path(__file__).resolve().parent.parent.parent


def find_notebooks(root: Path = ROOT) -> list[Path]:
    """Notebooks of a repository, in alphabetical order."""
    return sorted([*(root / "demo").glob("*.ipynb"), *(root / "docs/tutorials").glob("*.ipynb")])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Run notebooks, each in an empty folder, and store their outputs.")
    parser.add_argument("files", nargs="*", type=Path, help="default: all of demo/ and docs/tutorials/")
    parser.add_argument("--output", type=Path, help="folder to write to; default: that of each notebook")
    args = parser.parse_args(argv)
    for file in args.files or find_notebooks():
        start = time.monotonic()
        text = notebook_text(executed(json.loads(file.read_text(encoding="utf-8"))))
        found = faults(text)
        if found:
            sys.exit("\n  ".join([f"error: {file.name} is not stored:", *found]))
        target = (args.output or file.parent) / file.name
        with atomic_write(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(f"{target}: {len(text) / 1000:.0f} kB, {time.monotonic() - start:.0f} s")


def executed(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with new outputs; its cells run in an empty temporary folder.

    Raises:
        RuntimeError: a cell has failed.
    """
    runner, cells = CellRunner(), []
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for cell in notebook["cells"]:
                if cell["cell_type"] == "code":
                    outputs = runner.run("".join(cell["source"]))
                    cell = {**cell, "outputs": outputs, "execution_count": runner.count}
                cells.append(cell)
        finally:
            os.chdir(before)
    return {**notebook, "cells": cells}


def notebook_text(notebook: dict[str, Any]) -> str:
    """A notebook as Jupyter writes it."""
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
