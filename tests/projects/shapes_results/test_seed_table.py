"""Mean, deviation and verdicts by hand-computed cases; the page shows what is there and what is not."""

import math

import pytest

from projects.shapes_results.rows import ORDERINGS, ROWS, SHORT_METRICS, SHORT_ROWS, Comparison, Ordering
from projects.shapes_results.seed_table import (
    METRICS,
    SUBSETS,
    compare,
    interval,
    judge,
    over_seeds,
    page,
    read_metrics,
    summary,
)

A_BEATS_B = Comparison("a", "b", "PQ_novel")


def test_metrics_are_read_by_metric_and_subset():
    tasks = {
        "panoptic_seg": {"PQ": 6.0, "PQ_base": 8.0, "PQ_novel": 3.0, "PQ_th": 1.0, "PQ_st": 9.0},
        "segm": {"AP": 2.0, "AP50_novel": 5.0},
        "bbox": {"AP": 99.0},
        "proposals": {"AR@100": 30.0, "AR@10_base": 4.0, "AR@100_novel": None},
        "mask_classification": {"top1": 50.0, "top1_things": 40.0, "top1_stuff": 70.0},
    }
    metrics = read_metrics(tasks)
    assert len(metrics) == len(METRICS) * len(SUBSETS)
    assert (metrics["PQ_all"], metrics["PQ_base"], metrics["PQ_novel"]) == (6.0, 8.0, 3.0)
    assert (metrics["PQ_things"], metrics["PQ_stuff"]) == (1.0, 9.0)
    assert (metrics["top1_things"], metrics["top1_stuff"], metrics["top1_all"]) == (40.0, 70.0, 50.0)
    assert metrics["AP_all"] == 2.0 and metrics["AP50_novel"] == 5.0 and metrics["AR@100_all"] == 30.0
    assert (metrics["AP_things"], metrics["AP_stuff"]) == (2.0, None)  # instances are things
    assert metrics["AR@10_base"] == 4.0
    assert metrics["AR@100_novel"] is None and metrics["mIoU_all"] is None


def test_mean_and_sample_deviation_over_seeds():
    found = over_seeds({0: {"PQ_all": 1.0, "SQ_all": 5.0}, 1: {"PQ_all": 2.0, "SQ_all": None}, 2: {"PQ_all": 6.0}})
    assert found["mean"] == {"PQ_all": 3.0, "SQ_all": 5.0}
    assert found["deviation"]["PQ_all"] == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert found["deviation"]["SQ_all"] is None  # one seed has no deviation
    assert over_seeds({}) == {"mean": {}, "deviation": {}}


def test_the_interval_is_that_of_students_t():
    assert interval([1.0, 2.0, 6.0]) == pytest.approx(4.302653 * math.sqrt(7) / math.sqrt(3))
    assert interval([3.0]) is None and interval([2.0, 2.0]) == 0


def test_a_comparison_is_over_the_seeds_of_both_rows():
    rows = {
        "a": {0: {"PQ_novel": 10.0}, 1: {"PQ_novel": 14.0}, 2: {"PQ_novel": 99.0}},
        "b": {0: {"PQ_novel": 7.0}, 1: {"PQ_novel": 7.0}, 2: {"PQ_novel": None}},
    }
    found = compare(A_BEATS_B, rows)
    assert found["values"] == [12.0, 7.0] and found["gap"] == 5.0 and found["seeds"] == 2
    assert found["gap_interval"] == pytest.approx(12.7062 * 2, rel=1e-4)  # of 3 and 7
    assert found["verdict"] == "not settled"
    assert compare(Comparison("b", "a", "PQ_novel"), rows)["gap"] == -5.0


def test_one_seed_has_a_gap_but_settles_nothing():
    found = compare(A_BEATS_B, {"a": {0: {"PQ_novel": 9.0}}, "b": {0: {"PQ_novel": 2.0}}})
    assert found["gap"] == 7.0 and found["gap_interval"] is None and found["verdict"] == "not settled"


def test_a_gap_counts_if_its_interval_is_on_one_side_of_0():
    rows = {
        "a": {0: {"PQ_novel": 10.0}, 1: {"PQ_novel": 14.0}},
        "b": {0: {"PQ_novel": 10.0}, 1: {"PQ_novel": 12.0}},
        "c": {0: {"PQ_novel": 30.0}, 1: {"PQ_novel": 32.1}},
        "d": {},
    }

    def judged(*pairs):
        return judge(Ordering("", "", tuple(Comparison(*pair, "PQ_novel") for pair in pairs)), rows)["verdict"]

    assert judged("ab") == "not settled" and judged("cb") == "holds" and judged("bc") == "does not hold"
    assert judged("ab", "cb") == "not settled"
    assert judged("ba", "bc") == judged("bd", "bc") == "does not hold"
    assert judged("cb", "cd") == "not measured"


def test_rows_that_were_never_run_are_not_measured():
    assert {judge(ordering, {})["verdict"] for ordering in ORDERINGS} == {"not measured"}


def test_every_ordering_is_about_rows_and_metrics_that_exist():
    keys = [row.key for row in ROWS]
    assert len(set(keys)) == len(keys)
    metrics = set(read_metrics({}))
    assert set(SHORT_ROWS) <= set(keys) and set(SHORT_METRICS) <= metrics
    for ordering in ORDERINGS:
        for one in ordering.comparisons:
            assert {one.better, one.worse} <= set(keys) and one.metric in metrics, one


def document(by_row):
    return {
        "command": "python -m projects.shapes_results --seeds 0 1",
        "dataset": "masqclip_shapes_val",
        "num_images": 300,
        "data": {"world_version": 4, "spec": {"num_val": 300, "seed": 0}},
        "seeds": [0, 1],
        "clip": "masqclip://shapes_clip",
        "teacher_seed": 0,
        "versions": [{"torch": "2.9"}],
        "devices": ["CPU, 2 cores"],
        "hours": 1.5,
        "rows": [
            {
                "key": key,
                "title": key.upper(),
                **over_seeds(by_seed),
                "seeds": by_seed,
                "commands": ["python train_net.py shared", f"python train_net.py {key}"],
            }
            for key, by_seed in by_row.items()
        ],
        "orderings": [judge(Ordering("A first", "Table 1", (A_BEATS_B,)), by_row)],
    }


def test_the_page_has_tables_orderings_and_commands():
    measured = {0: {"PQ_novel": 10.0, "PQ_things": 3.0}, 1: {"PQ_novel": 14.0, "PQ_things": 3.0}}
    text = page(document({"a": measured, "b": {}}))
    assert text.isascii()
    table = text.split("## PQ")[1].split("##")[0]
    assert "| row | things | novel | seeds |" in table  # without subsets that were never measured
    assert "| A | 3.00 (0.00) | 12.00 (2.83) | 2 |" in table and "| B |" not in table
    assert "## AP" not in text and "## mIoU" not in text
    assert "| A first | Table 1 | not measured |" in text
    assert "| A > B | PQ novel | - / - | - | not measured | 0 |" in text
    assert "1.50 hours" in text and "300 images of `masqclip_shapes_val`" in text and "CPU, 2 cores" in text
    assert text.count("python train_net.py shared") == 1 and "# B\npython train_net.py b" in text
    near = page(
        document({"a": {0: {"PQ_novel": 1.0}, 1: {"PQ_novel": 3.0}}, "b": {0: {"PQ_novel": 1.0}, 1: {"PQ_novel": 2.0}}})
    )
    assert "| A first | Table 1 | not settled |" in near and "| PQ novel | 2.00 / 1.50 | 0.50 (6.35) |" in near
    larger, smaller = ({seed: {"PQ_novel": value} for seed in (0, 1)} for value in (10.0, 7.5))
    held = page(document({"a": larger, "b": smaller}))
    assert "| A first | Table 1 | holds |" in held
    assert "| A > B | PQ novel | 10.00 / 7.50 | 2.50 (0.00) | holds | 2 |" in held


def test_the_summary_has_chosen_rows_measured_metrics_and_every_verdict():
    metrics = {0: {"PQ_novel": 10.0, "mIoU_all": 70.04}, 1: {"PQ_novel": 14.0, "mIoU_all": None}}
    made = document({"maskclip": metrics, "a": metrics, "b": {}, "masqclip": {}})
    text = summary(made)
    assert text.splitlines()[0] == "| row | PQ novel | mIoU all |"
    assert text.splitlines()[2:4] == ["| MASKCLIP | 12.0 (2.8) | 70.0 |", "| MASQCLIP | - | - |"]
    assert "- A first: not measured." in text
    assert text in page(made)


def test_the_summary_names_the_metrics_of_different_verdicts():
    rows = {
        "a": {0: {"PQ_all": 5.0, "PQ_novel": 1.0, "AP_all": 3.0}, 1: {"PQ_all": 6.0, "PQ_novel": 3.0, "AP_all": 3.0}},
        "b": {0: {"PQ_all": 1.0, "PQ_novel": 2.0, "AP_all": 2.0}, 1: {"PQ_all": 2.0, "PQ_novel": 2.5, "AP_all": 2.0}},
    }

    def verdict_line(*comparisons):
        ordering = judge(Ordering("It", "", tuple(Comparison(*words.split()) for words in comparisons)), rows)
        return summary({"rows": [], "orderings": [ordering]}).splitlines()[-1]

    assert verdict_line("a b PQ_all", "a b AP_all") == "- It: holds."
    assert (
        verdict_line("a b PQ_all", "a b PQ_novel", "a b AP_all")
        == "- It: holds by PQ all, AP all; not settled by PQ novel."
    )
    in_part = "- It: does not hold (holds in 1, does not hold in 1 of 2 comparisons)."
    assert verdict_line("b a PQ_all", "a b AP_all") == in_part
    assert verdict_line("b a PQ_all", "b a AP_all") == "- It: does not hold."


def test_made_up_results_of_every_row_judge_every_ordering():
    """All rows with three seeds: better rows get larger metrics in the order of the published claims."""
    keys = [row.key for row in ROWS]
    gaps = {key: float(index) for index, key in enumerate(keys)}
    measured = {
        key: {seed: {name: 10 + gaps[key] + 0.01 * seed for name in read_metrics({})} for seed in range(3)}
        for key in keys
    }
    for ordering in ORDERINGS:
        expected = {gaps[one.better] > gaps[one.worse] for one in ordering.comparisons}
        assert judge(ordering, measured)["verdict"] == ("holds" if expected == {True} else "does not hold")
    text = page({**document(measured), "orderings": [judge(ordering, measured) for ordering in ORDERINGS]})
    assert "| row | things | stuff | base | novel | all | seeds |" in text and "not measured |" not in text
