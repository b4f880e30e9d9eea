"""Published metrics of other open-vocabulary methods on the papers' datasets, each with its source.

They are in published_rows.json as printed; none was measured here. Methods differ in training data, masks and
evaluators, so a run stands beside them, not against them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass

from .published_rows import PUBLISHED_FILE, Column, cells, measured


@dataclass(frozen=True)
class OtherMethod:
    """One method with one set of weights.

    Args:
        method: name, backbone or CLIP, masks.
        trained_on: segmentation data it was trained on; "": none, it is training-free.
        source: where the values are printed.
        values: percent, one or None per column.
    """

    method: str
    trained_on: str
    source: str
    values: tuple[float | None, ...]

    @property
    def training_free(self) -> bool:
        return not self.trained_on


@dataclass(frozen=True)
class OtherMethods:
    """All of them, with their columns and a note on how far they can be compared."""

    note: str
    columns: tuple[Column, ...]
    rows: tuple[OtherMethod, ...]


@functools.cache
def other_methods() -> OtherMethods:
    """The table of the shipped file."""
    content = json.loads(PUBLISHED_FILE.read_text(encoding="utf-8"))["other_methods"]
    return OtherMethods(
        content["note"],
        tuple(Column(**{**column, "datasets": tuple(column["datasets"])}) for column in content["columns"]),
        tuple(OtherMethod(**{**row, "values": tuple(row["values"])}) for row in content["rows"]),
    )


def other_methods_text(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """The methods that have a value for a metric of this run, with the run as the last rows; "" if there is none.

    Args:
        results: dataset -> task -> metric -> percent.

    Returns:
        A heading, a table in Markdown and the sources; only the columns that the run has.
    """
    from tabulate import tabulate

    found = other_methods()
    shown = [i for i, column in enumerate(found.columns) if measured(column, results, column.metric) is not None]
    rows = [row for row in found.rows if any(row.values[i] is not None for i in shown)]
    if not rows:
        return ""
    sources = {source: number for number, source in enumerate(dict.fromkeys(row.source for row in rows), start=1)}
    lines = [
        [
            row.method,
            "training-free" if row.training_free else row.trained_on,
            *cells([row.values[i] for i in shown], "g"),
            f"[{sources[row.source]}]",
        ]
        for row in rows
    ]
    columns = [found.columns[i] for i in shown]
    for definition in ("mIoU", "mIoU_gt_or_pred") if any(column.metric == "mIoU" for column in columns) else ("",):
        values = [measured(column, results, definition or column.metric) for column in columns]
        lines.append([f"this run, {definition}".rstrip(", "), "", *cells(values, ".2f"), ""])
    headers = ("method", "trained on", *(column.name for column in columns), "source")
    table = tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True)
    legend = "\n".join(f"[{number}] {source}" for source, number in sources.items())
    return f"Other methods, as published, not reproduced here. {found.note}\n\n{table}\n\n{legend}"
