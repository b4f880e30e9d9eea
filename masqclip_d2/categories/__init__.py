"""Category tables: one JSON file per dataset, the only definition of its names, ids and base / novel categories.

May import `json_data` and modules beside it, no Detectron2.

| table | rows | further columns |
| --- | --- | --- |
| shapes | 36 things, 6 stuff | pattern, shape |
| coco | 80 things, 53 stuff | split: base, novel or null |
| ade20k | 100 things among 150 | instance_id, instance_name: those of the instance challenge |
| ade20k_full | 847 | ade_id: class index in the published pngs |
| pascal_context_59, pascal_context_459 | 59, 459 | label_459 |
| pascal_voc | 20 things | |
| lvis_v1 | 1203 things | frequency: f, c, r |
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
        contiguous_id: position in the table, 0..K-1; the id in models and `gt_classes`.
        name: category name; "sofa, couch" lists synonyms.
        isthing: True for things, False for stuff. A table without this column has semantic labels only: all stuff.
        color: (red, green, blue), 0..255, different for each category.
        novel: True if the category has no labels in base training.
        synonyms: at least one name of the category.
        attributes: further columns of the table.
    """

    id: int
    contiguous_id: int
    name: str
    isthing: bool
    color: tuple[int, int, int]
    novel: bool
    synonyms: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def natural_name(self) -> str:
        """The name, or the first synonym for an artificial name of COCO: "building" for "building-other-merged"."""
        return self.synonyms[0] if "-" in self.name and self.name not in self.synonyms else self.name


_COLUMNS = ("id", "name", "isthing", "color", "novel", "synonyms")


@cache
def load_categories(table: str) -> tuple[Category, ...]:
    """Read a table, ascending by id. The module docstring lists the tables.

    Raises:
        ValueError: unknown table, or duplicate ids or names in it.
    """
    path = _DIR / f"{table}.json"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in _DIR.glob("*.json")))
        raise ValueError(f"There is no category table {table!r}; known: {known}.")
    rows = json.loads(path.read_text(encoding="utf-8"))["categories"]
    refuse_repeated(rows, f"The category table {table!r}")
    return tuple(
        Category(
            id=row["id"],
            contiguous_id=index,
            name=row["name"],
            isthing=bool(row.get("isthing", False)),
            color=_rgb(row["color"]) if "color" in row else label_color(index + 1),
            novel=bool(row.get("novel", False)),
            synonyms=tuple(row["synonyms"]) if "synonyms" in row else tuple(row["name"].split(", ")),
            attributes={key: value for key, value in row.items() if key not in _COLUMNS},
        )
        for index, row in enumerate(rows)
    )


def _rgb(color: Sequence[int]) -> tuple[int, int, int]:
    red, green, blue = color
    return red, green, blue


def renumbered(categories: Iterable[Category]) -> tuple[Category, ...]:
    """Return rows of a table with new contiguous ids 0..n-1, in their order."""
    return tuple(replace(category, contiguous_id=position) for position, category in enumerate(categories))


def base_novel_groups(categories: Iterable[Category]) -> dict[str, tuple[int, ...]]:
    """Return {"base": contiguous ids, "novel": contiguous ids}; either may be empty."""
    categories = list(categories)
    return {
        "base": tuple(category.contiguous_id for category in categories if not category.novel),
        "novel": tuple(category.contiguous_id for category in categories if category.novel),
    }


def refuse_repeated(rows: Sequence[Mapping[str, Any]], where: str) -> None:
    """Raise ValueError if two rows (keys id and name) have the same id or name; `where` starts the message."""
    for column in ("id", "name"):
        counts = Counter(row[column] for row in rows)
        repeated = [repr(value) for value, count in counts.items() if count > 1]
        if repeated:
            raise ValueError(f"{where} has the category {column} {', '.join(repeated[:5])} more than once.")


def label_color(label: int) -> tuple[int, int, int]:
    """Return the RGB color of a label in PASCAL VOC's color map (VOC2012 development kit): distinct, 0 is black.

    The label's bits go to red, green and blue in turn, filling each channel from its highest bit.
    """
    channels = [0, 0, 0]
    for position in range(24):
        if label >> position & 1:
            channels[position % 3] |= 128 >> position // 3
    return _rgb(channels)
