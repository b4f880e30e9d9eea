"""Category tables: one JSON file per dataset, the only place where its names, ids and groups are written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

_DIR = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Category:
    """One row of a table.

    Args:
        id: id in the dataset's annotation files; not contiguous.
        contiguous_id: position in the table, 0..K-1; what models and `gt_classes` use.
        name: the words that a text encoder reads.
        isthing: True for things, False for stuff.
        color: (red, green, blue), 0..255, different for each category.
        novel: True if the category carries no label in base training.
        attributes: the dataset's further columns, for Shapes `pattern` and `shape` (None for stuff).
    """

    id: int
    contiguous_id: int
    name: str
    isthing: bool
    color: tuple[int, int, int]
    novel: bool
    attributes: dict[str, Any] = field(default_factory=dict, compare=False)


_COLUMNS = ("id", "name", "isthing", "color", "novel")


@cache
def load_categories(table: str) -> tuple[Category, ...]:
    """Read a table by name, ascending by id: "shapes" (36 things, then 6 stuff), "coco" (80 and 53).

    Raises:
        ValueError: there is no such table.
    """
    path = _DIR / f"{table}.json"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in _DIR.glob("*.json")))
        raise ValueError(f"There is no category table {table!r}; known: {known}.")
    rows = json.loads(path.read_text(encoding="utf-8"))["categories"]
    return tuple(
        Category(
            id=row["id"],
            contiguous_id=index,
            name=row["name"],
            isthing=bool(row["isthing"]),
            color=tuple(row["color"]),
            novel=bool(row.get("novel", False)),
            attributes={key: value for key, value in row.items() if key not in _COLUMNS},
        )
        for index, row in enumerate(rows)
    )


def renumbered(categories: Iterable[Category]) -> tuple[Category, ...]:
    """Some rows of a table with contiguous ids 0..n-1 of their own, in their order."""
    return tuple(replace(category, contiguous_id=position) for position, category in enumerate(categories))
