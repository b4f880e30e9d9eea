"""Metrics of several seeds: mean and deviation per row, verdicts on orderings, and the Markdown page with the tables.

Metrics are named METRIC_SUBSET, such as PQ_novel: those of `METRICS`, each for base, novel and all categories. They are
in percent; None if not measured or undefined.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from projects.shapes_results.rows import SHORT_METRICS, SHORT_ROWS, Comparison, Ordering

METRICS = {
    "PQ": ("panoptic_seg", "PQ"),
    "SQ": ("panoptic_seg", "SQ"),
    "RQ": ("panoptic_seg", "RQ"),
    "mIoU": ("sem_seg", "mIoU"),
    "AP": ("segm", "AP"),
    "AP50": ("segm", "AP50"),
    "AR@10": ("proposals", "AR@10"),
    "AR@100": ("proposals", "AR@100"),
}
"""Metric -> its task and key in the results of an evaluation; AR@n is that of the proposals, before classification."""

SUBSETS = {"base": "_base", "novel": "_novel", "all": ""}
"""Subset of categories -> suffix of its keys."""

HOLDS, FAILS, UNKNOWN = "holds", "does not hold", "not measured"
SETTLED_FROM = 2.0
"""A mean gap of at least so many standard deviations of the gaps of single seeds is taken as settled."""

Metrics = Mapping[str, float | None]


def read_metrics(tasks: Mapping[str, Metrics]) -> dict[str, float | None]:
    """Select the metrics of the table from the results of one dataset: task -> key -> value."""
    return {
        f"{metric}_{subset}": tasks.get(task, {}).get(key + suffix)
        for subset, suffix in SUBSETS.items()
        for metric, (task, key) in METRICS.items()
    }


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


def judge(ordering: Ordering, measured: Mapping[str, Mapping[int, Metrics]]) -> dict[str, Any]:
    """Check whether an ordering holds.

    Args:
        ordering: it holds if each of its comparisons does.
        measured: row -> seed -> metrics.

    Returns:
        claim, source, verdict ("holds", "does not hold", "not measured"), settled, and the comparisons, one result of
        `compare` each. An ordering that holds is settled if all of its comparisons are; one that does not hold, if one
        of its failing comparisons is. None if a deviation is unknown.
    """
    comparisons = [compare(comparison, measured) for comparison in ordering.comparisons]
    verdicts = {comparison["verdict"] for comparison in comparisons}
    verdict = next(verdict for verdict in (FAILS, UNKNOWN, HOLDS) if verdict in verdicts)
    decisive = [comparison["settled"] for comparison in comparisons if comparison["verdict"] == verdict]
    settled = None if None in decisive else (any if verdict == FAILS else all)(decisive)
    return {
        "claim": ordering.claim,
        "source": ordering.source,
        "verdict": verdict,
        "settled": settled,
        "comparisons": comparisons,
    }


def compare(comparison: Comparison, measured: Mapping[str, Mapping[int, Metrics]]) -> dict[str, Any]:
    """Compare two rows by one metric, over the seeds that both have.

    Returns:
        better, worse, metric, verdict; values (means of the two rows), gap (their difference), gap_deviation (sample
        standard deviation of the gaps of single seeds), row_deviation (root mean square of the deviations of the two
        rows), settled (whether the gap is at least `SETTLED_FROM` of its deviations); None if undefined.
    """
    rows = [measured.get(key, {}) for key in (comparison.better, comparison.worse)]
    better, worse = (
        {seed: value for seed, metrics in row.items() if (value := metrics.get(comparison.metric)) is not None}
        for row in rows
    )
    seeds = [seed for seed in better if seed in worse]
    summary = {"better": comparison.better, "worse": comparison.worse, "metric": comparison.metric, "seeds": len(seeds)}
    if not seeds:
        return summary | {
            "verdict": UNKNOWN, "settled": None, "values": None, "gap": None, "gap_deviation": None,
            "row_deviation": None,
        }  # fmt: skip
    common = [[row[seed] for seed in seeds] for row in (better, worse)]
    means = [statistics.fmean(row) for row in common]
    gap = means[0] - means[1]
    gap_deviation = row_deviation = None
    if len(seeds) > 1:
        gap_deviation = statistics.stdev(one - other for one, other in zip(*common, strict=True))
        row_deviation = math.sqrt(statistics.fmean(statistics.variance(row) for row in common))
    return summary | {
        "verdict": HOLDS if gap > 0 else FAILS,
        "settled": abs(gap) >= SETTLED_FROM * gap_deviation if gap_deviation is not None else None,
        "values": means,
        "gap": gap,
        "gap_deviation": gap_deviation,
        "row_deviation": row_deviation,
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
    for subset in SUBSETS:
        parts += ["", f"## {subset.capitalize()} categories", "", *_table(document["rows"], subset)]
    parts += ["", "## Orderings the papers report", "", *_orderings(document)]
    parts += ["", "## Commands", "", *_commands(document)]
    return "\n".join(parts) + "\n"


def summary(document: Mapping[str, Any]) -> str:
    """A short table of rows and metrics, and the orderings with their verdicts."""
    named = [row for row in document["rows"] if row["key"] in SHORT_ROWS]
    lines = [_line(["row", *(name.replace("_", " ") for name in SHORT_METRICS)])]
    lines.append(_line(["---"] * (len(SHORT_METRICS) + 1)))
    for row in named:
        cells = [_cell(row["mean"].get(name), row["deviation"].get(name), digits=1) for name in SHORT_METRICS]
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
        "- AR@10, AR@100: class-agnostic mask recall of the row's best 10 or 100 proposals, before classification.",
        f"- CLIP: {document['clip']}, the same for every row and seed, as the papers share OpenAI's.",
        f"- Time: {document['hours']:.2f} hours; stages that rows share are counted once, killed attempts are not "
        "counted.",
        f"- Machine: {'; '.join(document['devices']) or '-'}. Versions: {versions or '-'}.",
    ]


def _table(rows: Iterable[Mapping[str, Any]], subset: str) -> list[str]:
    shown = [metric for metric in METRICS if metric != "AP50"]
    lines = [_line(["row", *shown, "seeds"]), _line(["---"] * (len(shown) + 2))]
    for row in rows:
        names = [f"{metric}_{subset}" for metric in shown]
        cells = [_cell(row["mean"].get(name), row["deviation"].get(name)) for name in names]
        lines.append(_line([row["title"], *cells, str(len(row["seeds"]))]))
    return lines


def _orderings(document: Mapping[str, Any]) -> list[str]:
    titles = {row["key"]: row["title"] for row in document["rows"]}
    lines = [_line(["ordering", "published", "here"]), _line(["---"] * 3)]
    lines += [_line([one["claim"], one["source"], _verdict(one)]) for one in document["orderings"]]
    lines += [
        "",
        "An ordering holds if each of its comparisons below does. Gap: difference of the two rows' means over the",
        "seeds that both have, in brackets the standard deviation of the gaps of single seeds; rows' deviation: root",
        "mean square of the deviations of both rows, which is larger, since the rows of a seed share its teacher.",
        f"A gap of less than {SETTLED_FROM:g} of its deviations is not settled by these seeds.",
        "[shapes_training.md](shapes_training.md) explains those that do not hold.",
        "",
        _line(["rows", "metric", "values", "gap", "rows' deviation", "here", "seeds"]),
        _line(["---"] * 7),
    ]
    for one in (comparison for ordering in document["orderings"] for comparison in ordering["comparisons"]):
        rows = f"{titles[one['better']]} > {titles[one['worse']]}"
        values = " / ".join(_format(value) for value in one["values"] or (None, None))
        cells = [_cell(one["gap"], one["gap_deviation"]), _format(one["row_deviation"])]
        lines.append(_line([rows, one["metric"].replace("_", " "), values, *cells, _verdict(one), str(one["seeds"])]))
    return lines


def _verdict(judged: Mapping[str, Any]) -> str:
    return judged["verdict"] + _doubt(judged)


def _doubt(judged: Mapping[str, Any]) -> str:
    return ", not settled" if judged["settled"] is False else ""


def _verdict_by_metrics(ordering: Mapping[str, Any]) -> str:
    """The verdict; if only some comparisons hold, also their metrics, or their number if they compare several rows."""
    comparisons = ordering["comparisons"]
    holding = [one for one in comparisons if one["verdict"] == HOLDS]
    if ordering["verdict"] != FAILS or not holding:
        return _verdict(ordering)
    if len({(one["better"], one["worse"]) for one in comparisons}) > 1:
        return f"{_verdict(ordering)} ({HOLDS} in {len(holding)} of {len(comparisons)} comparisons)"
    others = [one for one in comparisons if one["verdict"] != HOLDS]
    by, not_by = (", ".join(one["metric"].replace("_", " ") for one in some) for some in (holding, others))
    return f"{HOLDS} by {by}; {FAILS} by {not_by}{_doubt(ordering)}"


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
