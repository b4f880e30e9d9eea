"""Published metrics: the tables of both papers, and the configuration of each of their rows.

published_rows.json has the values as printed; they were not measured here. A run is compared with a row only if its
model, training set and test-time image sizes are those of the row's configuration. Weights and the thresholds of
panoptic output (which depend on the dataset) are not compared: report them with the results. Other methods of the same
file: `other_methods`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...clip.pretrained import OPENAI_MODELS
from ...config import flat_items, load_config
from ...data.registration.aliases import canonical_name

PUBLISHED_FILE = Path(__file__).with_name("published_rows.json")
# Keys that may differ within a row: weights, device, settings of a dataset.
_NOT_COMPARED = (
    "MODEL.WEIGHTS",
    "MODEL.DEVICE",
    "MODEL.MASK_FORMER.TEST.",
    "MODEL.MASQCLIP.CLIP.ARCHITECTURE",
    "MODEL.MASQCLIP.DISTILLATION.TEACHER",
    "MODEL.MASQCLIP.TEST.BASELINE_BATCH_SIZE",
    "MODEL.MASQCLIP.TEST.CLASS_MAPS",
)
_COMPARED_INPUT_KEYS = ("INPUT.FORMAT", "INPUT.MIN_SIZE_TEST", "INPUT.MAX_SIZE_TEST")
_BOTH_DEFINITIONS = ("mIoU", "mIoU_gt_or_pred")
_MAX_SHOWN_DIFFERENCES = 3  # keys in the message about a configuration that is no row


@dataclass(frozen=True)
class Column:
    """Column of a table: its name, the registered datasets it can be measured on, task and metric of the results."""

    name: str
    datasets: tuple[str, ...]
    task: str
    metric: str

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics to compare with it: for mIoU both definitions, since the papers do not state theirs."""
        return _BOTH_DEFINITIONS if self.metric == "mIoU" else (self.metric,)


@dataclass(frozen=True)
class Table:
    """Table of a paper.

    Args:
        paper: authors, conference and year.
        name: of the table.
        note: a definition that the paper leaves open, or "".
        columns: of values.
        rows: method -> configuration (None: another method), and one value or None per column; percent.
    """

    paper: str
    name: str
    note: str
    columns: tuple[Column, ...]
    rows: Mapping[str, tuple[str | None, tuple[float | None, ...]]]


@dataclass(frozen=True)
class Published:
    """Value in percent of the row of a configuration, with paper, table and method."""

    value: float
    paper: str
    table: str
    method: str
    note: str


@functools.cache
def tables() -> tuple[Table, ...]:
    """The tables of both papers, in their order."""
    content = json.loads(PUBLISHED_FILE.read_text(encoding="utf-8"))
    return tuple(
        Table(
            content["papers"][table["paper"]],
            table["table"],
            table["note"],
            tuple(Column(**{**column, "datasets": tuple(column["datasets"])}) for column in table["columns"]),
            {row["method"]: (row["config"], tuple(row["values"])) for row in table["rows"]},
        )
        for table in content["tables"]
    )


def has_published_values(dataset: str) -> bool:
    """Whether a dataset, given by its name or an alias, is in a table."""
    return any(canonical_name(dataset) in column.datasets for table in tables() for column in table.columns)


def published_values(config: str) -> dict[tuple[str, str, str], Published]:
    """Values of a configuration's rows by (dataset, task, metric); if several tables have it, the more precise one."""
    found: dict[tuple[str, str, str], Published] = {}
    for table, method, column, value in _values_of(config):
        for dataset in column.datasets:
            for metric in column.metrics:
                key = (dataset, column.task, metric)
                if key not in found or len(str(value)) > len(str(found[key].value)):
                    found[key] = Published(value, table.paper, table.name, method, table.note)
    return found


def published_value(config: str | None, dataset: str, task: str, metric: str) -> Published | None:
    """The value of a configuration's row, or None; `dataset` may be an alias."""
    return None if config is None else published_values(config).get((canonical_name(dataset), task, metric))


def row_of(cfg: Any) -> tuple[str | None, str]:
    """Find the row of the papers that a configuration, with its overrides, stands for.

    Returns:
        The name of the row's configuration, such as "coco/maskclip_worma_r50", and ""; or None and a text about the
        keys that differ from the nearest row.
    """
    own = _compared(cfg)
    differences = {
        name: sorted(key for key in own.keys() | row.keys() if own.get(key) != row.get(key))
        for name, row in _compared_rows().items()
    }
    nearest = min(differences, key=lambda name: len(differences[name]))
    keys = differences[nearest]
    if not keys:
        return nearest, ""
    more = f" and {len(keys) - _MAX_SHOWN_DIFFERENCES} more keys" if len(keys) > _MAX_SHOWN_DIFFERENCES else ""
    return None, f"the nearest, configs/{nearest}.yaml, differs in {', '.join(keys[:_MAX_SHOWN_DIFFERENCES])}{more}"


def side_by_side(results: Mapping[str, Mapping[str, Mapping[str, float]]], config: str) -> str:
    """The papers' tables that contain the row of a configuration, with the metrics of a run as further rows.

    Args:
        results: dataset -> task -> metric -> percent.
        config: as `row_of` returns it.

    Returns:
        Markdown; "" if the run has no metric of these tables.
    """
    return "\n\n".join(_format_table(table, results) for table in tables() if _is_measured(table, results, config))


def _format_table(table: Table, results: Mapping) -> str:
    from tabulate import tabulate

    rows = [[f"{method} (published)", *cells(values, "g")] for method, (_, values) in table.rows.items()]
    for definition in _BOTH_DEFINITIONS if any(column.metric == "mIoU" for column in table.columns) else ("",):
        values = [measured(column, results, definition or column.metric) for column in table.columns]
        rows.append([f"this run, {definition}" if definition else "this run", *cells(values, ".2f")])
    headers = ("method", *(column.name for column in table.columns))
    text = tabulate(rows, headers=headers, tablefmt="pipe", disable_numparse=True)
    return f"{table.paper}, {table.name}. {table.note}".rstrip() + f"\n{text}"


def cells(values: Iterable[float | None], format_spec: str) -> list[str]:
    """Values as text, "-" for None."""
    return ["-" if value is None else format(value, format_spec) for value in values]


def measured(column: Column, results: Mapping, metric: str) -> float | None:
    """The value of a run in a column, by a definition of mIoU if the column has mIoU; None: not measured."""
    metric = metric if column.metric == "mIoU" else column.metric
    for dataset in results:
        value = (
            results[dataset].get(column.task, {}).get(metric) if canonical_name(dataset) in column.datasets else None
        )
        if value is not None:
            return value
    return None


def _is_measured(table: Table, results: Mapping, config: str) -> bool:
    return any(of == config for of, _ in table.rows.values()) and any(
        measured(column, results, column.metric) is not None for column in table.columns
    )


def _values_of(config: str) -> Iterator[tuple[Table, str, Column, float]]:
    for table in tables():
        for method, (of, values) in table.rows.items():
            if of == config:
                for column, value in zip(table.columns, values, strict=True):
                    if value is not None:
                        yield table, method, column, value


@functools.cache
def _compared_rows() -> dict[str, dict[str, Any]]:
    names = dict.fromkeys(config for table in tables() for config, _ in table.rows.values() if config is not None)
    return {name: _compared(load_config(name)) for name in names}


def _compared(cfg: Any) -> dict[str, Any]:
    """The keys and values that distinguish the rows of the papers."""
    items = {
        key: _plain(value)
        for key, value in flat_items(cfg)
        if key.startswith("MODEL.") and not key.startswith(_NOT_COMPARED) or key in _COMPARED_INPUT_KEYS
    }
    items["MODEL.MASQCLIP.CLIP.NAME"] = _clip_name(items.get("MODEL.MASQCLIP.CLIP.NAME", ""))
    items["DATASETS.TRAIN"] = [canonical_name(name) for name in cfg.DATASETS.TRAIN]
    return items


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _clip_name(name: str) -> str:
    """OpenAI's model name for a file named like OpenAI's; any other name unchanged."""
    by_stem = {Path(model["url"]).stem: known for known, model in OPENAI_MODELS.items()}
    return by_stem.get(Path(name).stem, name)
