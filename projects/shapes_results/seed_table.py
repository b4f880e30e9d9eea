"""Metrics of several seeds: mean and deviation per row, verdicts on orderings, and the Markdown page with the tables.

Metrics are named METRIC_SUBSET, such as PQ_novel: those of `METRICS`, each for the subsets of categories of `SUBSETS`.
They are in percent; None if not measured or undefined.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from projects.shapes_results.rows import SHORT_METRICS, SHORT_ROWS, Comparison, Ordering

METRICS = {
    "PQ": ("panoptic_seg", "PQ"),
    "SQ": ("panoptic_seg", "SQ"),
    "RQ": ("panoptic_seg", "RQ"),
    "mIoU": ("sem_seg", "mIoU"),
    "AP": ("segm", "AP"),
    "AP50": ("segm", "AP50"),
    "top1": ("mask_classification", "top1"),
    "AR@10": ("proposals", "AR@10"),
    "AR@100": ("proposals", "AR@100"),
}
"""Metric -> its task and key in the results of an evaluation; AR@n is that of the proposals, before classification."""

SUBSETS = {
    "things": ("_th", "_things"),
    "stuff": ("_st", "_stuff"),
    "base": ("_base",),
    "novel": ("_novel",),
    "all": ("",),
}
"""Subset of categories -> suffixes of its keys; a task has one of them."""

_ONLY_THINGS = ("segm", "proposals")  # tasks whose metrics of all categories are those of things

HOLDS, FAILS, UNSETTLED, UNKNOWN = "holds", "does not hold", "not settled", "not measured"
CONFIDENCE = 0.95

Metrics = Mapping[str, float | None]


def read_metrics(tasks: Mapping[str, Metrics]) -> dict[str, float | None]:
    """Select the metrics of the table from the results of one dataset: task -> key -> value."""
    return {
        f"{metric}_{subset}": _value(tasks.get(task, {}), key, "all" if _is_all(task, subset) else subset)
        for subset in SUBSETS
        for metric, (task, key) in METRICS.items()
    }


def _is_all(task: str, subset: str) -> bool:
    return subset == "things" and task in _ONLY_THINGS


def _value(metrics: Metrics, key: str, subset: str) -> float | None:
    return next((metrics[key + suffix] for suffix in SUBSETS[subset] if key + suffix in metrics), None)


def over_seeds(by_seed: Mapping[int, Metrics]) -> dict[str, dict[str, float | None]]:
    """Keys "mean" and "deviation" (sample standard deviation, None for a single seed), each metric -> value.

    Seeds without a value of a metric are left out.
    """
    names = dict.fromkeys(name for metrics in by_seed.values() for name in metrics)
    values = {name: _values(metrics.get(name) for metrics in by_seed.values()) for name in names}
    return {
        "mean": {name: statistics.fmean(some) if some else None for name, some in values.items()},
        "deviation": {name: statistics.stdev(some) if len(some) > 1 else None for name, some in values.items()},
    }


def interval(values: Sequence[float]) -> float | None:
    """Half the width of the 95 % interval of the mean by Student's t distribution; None for fewer than two values."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    return float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values)))


def judge(ordering: Ordering, measured: Mapping[str, Mapping[int, Metrics]]) -> dict[str, Any]:
    """Check whether an ordering holds.

    Args:
        ordering: it holds if each of its comparisons does, and does not if one does not.
        measured: row -> seed -> metrics.

    Returns:
        claim, source, verdict ("holds", "does not hold", "not settled", "not measured"), and the comparisons, one
        result of `compare` each.
    """
    comparisons = [compare(comparison, measured) for comparison in ordering.comparisons]
    verdicts = {comparison["verdict"] for comparison in comparisons}
    verdict = next(verdict for verdict in (FAILS, UNKNOWN, UNSETTLED, HOLDS) if verdict in verdicts)
    return {"claim": ordering.claim, "source": ordering.source, "verdict": verdict, "comparisons": comparisons}


def compare(comparison: Comparison, measured: Mapping[str, Mapping[int, Metrics]]) -> dict[str, Any]:
    """Compare two rows by one metric, over the seeds that both have.

    Returns:
        better, worse, metric, seeds (their number); verdict ("not settled" if the interval of the gap contains 0, or
        there is one seed only); values (means of the two rows), gap (mean of the gaps of single seeds), gap_interval
        (see `interval`); None if undefined.
    """
    rows = [measured.get(key, {}) for key in (comparison.better, comparison.worse)]
    better, worse = (
        {seed: value for seed, metrics in row.items() if (value := metrics.get(comparison.metric)) is not None}
        for row in rows
    )
    seeds = [seed for seed in better if seed in worse]
    summary = {"better": comparison.better, "worse": comparison.worse, "metric": comparison.metric, "seeds": len(seeds)}
    if not seeds:
        return summary | {"verdict": UNKNOWN, "values": None, "gap": None, "gap_interval": None}
    gaps = [better[seed] - worse[seed] for seed in seeds]
    gap, half_width = statistics.fmean(gaps), interval(gaps)
    settled = half_width is not None and abs(gap) > half_width
    return summary | {
        "verdict": (HOLDS if gap > 0 else FAILS) if settled else UNSETTLED,
        "values": [statistics.fmean(row[seed] for seed in seeds) for row in (better, worse)],
        "gap": gap,
        "gap_interval": half_width,
    }


def page(document: Mapping[str, Any]) -> str:
    """The Markdown page of the document that shapes_results.json holds."""
    parts = [
        "# The rows of both papers on Shapes",
        "",
        "Written by one command, which resumes row by row if it is interrupted; `shapes_results.json` also has the",
        "metrics of each seed:",
        "",
        "```",
        document["command"],
        "```",
        "",
        *_facts(document),
        "",
        "## In short",
        "",
        summary(document),
    ]
    for metric in METRICS:
        table = _table(document["rows"], metric)
        if table:
            parts += ["", f"## {metric}", "", *table]
    parts += ["", "## Orderings the papers report", "", *_orderings(document)]
    parts += ["", "## Commands", "", *_commands(document)]
    return "\n".join(parts) + "\n"


def summary(document: Mapping[str, Any]) -> str:
    """A short table of rows and metrics, and the orderings with their verdicts."""
    named = [row for row in document["rows"] if row["key"] in SHORT_ROWS]
    metrics = [name for name in SHORT_METRICS if any(row["mean"].get(name) is not None for row in named)]
    lines = [_line(["row", *(name.replace("_", " ") for name in metrics)])]
    lines.append(_line(["---"] * (len(metrics) + 1)))
    for row in named:
        cells = [_cell(row["mean"].get(name), row["deviation"].get(name), digits=1) for name in metrics]
        lines.append(_line([row["title"], *cells]))
    verdicts = [f"- {one['claim']}: {_verdict_by_metrics(one)}." for one in document["orderings"]]
    return "\n".join([*lines, "", "What the papers report:", "", *verdicts])


def _facts(document: Mapping[str, Any]) -> list[str]:
    seeds = ", ".join(map(str, document["seeds"]))
    data = document["data"]
    spec = ", ".join(f"{name} {value}" for name, value in data["spec"].items()) if data else ""
    world = f"version {data['world_version']} of the world, {spec}" if data else "not known"
    versions = "; ".join(
        ", ".join(f"{name} {version}" for name, version in some.items()) for some in document["versions"]
    )
    return [
        f"- Metrics in percent: mean over seeds {seeds}, in brackets the sample standard deviation. `-`: not measured.",
        f"- Validation: {document['num_images']} images of `{document['dataset']}`. Shapes: {world}.",
        "- things, stuff, base, novel, all: the categories that a metric is the mean of. AP, AR are metrics of things.",
        "- top1: right categories of ground-truth masks. AR@10, AR@100: class-agnostic recall of the best 10 or 100 "
        "proposals, before classification.",
        f"- CLIP: {document['clip']}, the same for every row and seed, as the papers share OpenAI's.",
        "- Teachers: " + _teachers(document["teacher_seed"]),
        f"- Time: {document['hours']:.2f} hours; stages that rows share are counted once, killed attempts are not "
        "counted.",
        f"- Machine: {'; '.join(document['devices']) or '-'}. Versions: {versions or '-'}.",
    ]


def _teachers(seed: int | None) -> str:
    return "trained for each seed." if seed is None else f"trained with seed {seed}, the same for every row and seed."


def _table(rows: Sequence[Mapping[str, Any]], metric: str) -> list[str]:
    """One metric by rows and subsets; without subsets and rows that nothing was measured of; [] if none was."""
    subsets = [subset for subset in SUBSETS if any(_measured(row, metric, subset) for row in rows)]
    rows = [row for row in rows if any(_measured(row, metric, subset) for subset in subsets)]
    if not rows:
        return []
    lines = [_line(["row", *subsets, "seeds"]), _line(["---"] * (len(subsets) + 2))]
    for row in rows:
        names = [f"{metric}_{subset}" for subset in subsets]
        cells = [_cell(row["mean"].get(name), row["deviation"].get(name)) for name in names]
        lines.append(_line([row["title"], *cells, str(len(row["seeds"]))]))
    return lines


def _measured(row: Mapping[str, Any], metric: str, subset: str) -> bool:
    return row["mean"].get(f"{metric}_{subset}") is not None


def _orderings(document: Mapping[str, Any]) -> list[str]:
    titles = {row["key"]: row["title"] for row in document["rows"]}
    lines = [_line(["ordering", "published", "here"]), _line(["---"] * 3)]
    lines += [_line([one["claim"], one["source"], one["verdict"]]) for one in document["orderings"]]
    lines += [
        "",
        "An ordering holds if each of its comparisons below does, and does not hold if one of them does not. Gap: mean",
        "over the seeds that both rows have of the difference between them, in brackets half the width of its 95 %",
        "interval (Student's t; the rows of a seed share its teacher). A comparison whose interval contains 0 is not",
        "settled by these seeds; nor is one of a single seed. [shapes_training.md](shapes_training.md) explains the",
        "orderings that do not hold.",
        "",
        _line(["rows", "metric", "values", "gap", "here", "seeds"]),
        _line(["---"] * 6),
    ]
    for one in (comparison for ordering in document["orderings"] for comparison in ordering["comparisons"]):
        rows = f"{titles.get(one['better'], one['better'])} > {titles.get(one['worse'], one['worse'])}"
        values = " / ".join(_format(value) for value in one["values"] or (None, None))
        gap = _cell(one["gap"], one["gap_interval"])
        lines.append(_line([rows, one["metric"].replace("_", " "), values, gap, one["verdict"], str(one["seeds"])]))
    return lines


def _verdict_by_metrics(ordering: Mapping[str, Any]) -> str:
    """The verdict; if the comparisons differ, also their metrics, or their numbers if they compare several rows."""
    comparisons = ordering["comparisons"]
    verdicts = [verdict for verdict in (HOLDS, FAILS, UNSETTLED) if verdict in {one["verdict"] for one in comparisons}]
    if ordering["verdict"] == UNKNOWN or len(verdicts) < 2:
        return ordering["verdict"]
    groups = {verdict: [one for one in comparisons if one["verdict"] == verdict] for verdict in verdicts}
    if len({(one["better"], one["worse"]) for one in comparisons}) > 1:
        counts = ", ".join(f"{verdict} in {len(some)}" for verdict, some in groups.items())
        return f"{ordering['verdict']} ({counts} of {len(comparisons)} comparisons)"
    return "; ".join(
        f"{verdict} by {', '.join(one['metric'].replace('_', ' ') for one in some)}" for verdict, some in groups.items()
    )


def _commands(document: Mapping[str, Any]) -> list[str]:
    first = document["seeds"][0]
    lines = [f"The command above runs for seed {first}; stages that rows share run once:", "", "```"]
    printed: set[str] = set()
    for row in document["rows"]:
        new = [command for command in row["commands"] if command not in printed]
        printed.update(new)
        lines += [f"# {row['title']}", *new]
    return [*lines, "```"]


def _values(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _format(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _cell(mean: float | None, deviation: float | None, digits: int = 2) -> str:
    return _format(mean, digits) + ("" if deviation is None else f" ({_format(deviation, digits)})")
