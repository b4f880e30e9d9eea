"""Mean, deviation and verdicts by hand-computed cases; the page shows what is there and what is not."""

import math

import pytest

from projects.shapes_results.rows import ORDERINGS, ROWS, SHORT_METRICS, SHORT_ROWS, Comparison, Ordering
from projects.shapes_results.seed_table import METRICS, SUBSETS, compare, judge, over_seeds, page, read_metrics, summary

A_BEATS_B = Comparison("a", "b", "PQ_novel")


def test_metrics_are_read_by_metric_and_subset():
    tasks = {
        "panoptic_seg": {"PQ": 6.0, "PQ_base": 8.0, "PQ_novel": 3.0, "PQ_th": 1.0},
        "segm": {"AP": 2.0, "AP50_novel": 5.0},
        "bbox": {"AP": 99.0},
        "proposals": {"AR@100": 30.0, "AR@10_base": 4.0, "AR@100_novel": None},
    }
    metrics = read_metrics(tasks)
    assert len(metrics) == len(METRICS) * len(SUBSETS)
    assert (metrics["PQ_all"], metrics["PQ_base"], metrics["PQ_novel"]) == (6.0, 8.0, 3.0)
    assert metrics["AP_all"] == 2.0 and metrics["AP50_novel"] == 5.0 and metrics["AR@100_all"] == 30.0
    assert metrics["AR@10_base"] == 4.0
    assert metrics["AR@100_novel"] is None and metrics["mIoU_all"] is None


def test_mean_and_sample_deviation_over_seeds():
    found = over_seeds({0: {"PQ_all": 1.0, "SQ_all": 5.0}, 1: {"PQ_all": 2.0, "SQ_all": None}, 2: {"PQ_all": 6.0}})
    assert found["mean"] == {"PQ_all": 3.0, "SQ_all": 5.0}
    assert found["deviation"]["PQ_all"] == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert found["deviation"]["SQ_all"] is None  # one seed has no deviation
    assert over_seeds({}) == {"mean": {}, "deviation": {}}


def test_a_comparison_is_over_the_seeds_of_both_rows():
    rows = {
        "a": {0: {"PQ_novel": 10.0}, 1: {"PQ_novel": 14.0}, 2: {"PQ_novel": 99.0}},
        "b": {0: {"PQ_novel": 7.0}, 1: {"PQ_novel": 7.0}, 2: {"PQ_novel": None}},
    }
    found = compare(A_BEATS_B, rows)
    assert found["values"] == [12.0, 7.0] and found["gap"] == 5.0 and found["seeds"] == 2
    assert found["row_deviation"] == pytest.approx(2.0)  # variances 8 and 0
    assert found["gap_deviation"] == pytest.approx(math.sqrt(8))  # of 3 and 7
    assert found["verdict"] == "holds" and not found["settled"]
    reverse = compare(Comparison("b", "a", "PQ_novel"), rows)
    assert reverse["gap"] == -5.0 and reverse["verdict"] == "does not hold"


def test_one_seed_has_a_gap_but_no_deviation():
    found = compare(A_BEATS_B, {"a": {0: {"PQ_novel": 2.0}}, "b": {0: {"PQ_novel": 2.0}}})
    assert found["gap"] == 0.0 and found["verdict"] == "does not hold"
    assert found["gap_deviation"] is None and found["row_deviation"] is None
    assert found["settled"] is None


def test_a_gap_within_the_deviations_is_not_settled():
    rows = {
        "a": {0: {"PQ_novel": 10.0}, 1: {"PQ_novel": 14.0}},
        "b": {0: {"PQ_novel": 10.0}, 1: {"PQ_novel": 12.0}},
        "c": {0: {"PQ_novel": 30.0}, 1: {"PQ_novel": 31.0}},
        "d": {0: {"PQ_novel": 1.0}},
    }
    assert not compare(A_BEATS_B, rows)["settled"]

    def judged(*pairs):
        found = judge(Ordering("", "", tuple(Comparison(*pair, "PQ_novel") for pair in pairs)), rows)
        return found["verdict"], found["settled"]

    assert judged("ab") == ("holds", False)
    assert judged("ab", "cb") == ("holds", False)
    assert judged("ba", "cb") == ("does not hold", False)
    assert judged("ba", "bc") == ("does not hold", True)
    assert judged("cb", "ca") == ("holds", True)
    assert judged("cb", "cd") == ("holds", None)


@pytest.mark.parametrize(
    ("b", "c", "verdict"),
    [(1.0, 1.0, "holds"), (1.0, 3.0, "does not hold"), (1.0, None, "not measured"), (3.0, None, "does not hold")],
)
def test_an_ordering_holds_if_all_its_comparisons_do(b, c, verdict):
    rows = {"a": {0: {"PQ_all": 2.0}}, "b": {0: {"PQ_all": b}}, "c": {0: {"PQ_all": c}}}
    ordering = Ordering("a is best", "nowhere", (Comparison("a", "b", "PQ_all"), Comparison("a", "c", "PQ_all")))
    assert judge(ordering, rows)["verdict"] == verdict


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
        "data": {"world_version": 3, "spec": {"num_val": 300, "seed": 0}},
        "seeds": [0, 1],
        "clip": "masqclip://shapes_clip",
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
    text = page(document({"a": {0: {"PQ_novel": 10.0}, 1: {"PQ_novel": 14.0}}, "b": {}}))
    assert text.isascii()
    novel = text.split("## Novel categories")[1].split("##")[0]
    assert "| row | PQ | SQ | RQ | mIoU | AP | AR@10 | AR@100 | seeds |" in novel
    assert "| A | 12.00 (2.83) | - | - | - | - | - | - | 2 |" in novel
    assert "| B | - | - | - | - | - | - | - | 0 |" in novel
    assert (
        "| A first | Table 1 | not measured |" in text and "| A > B | PQ novel | - / - | - | - | not measured |" in text
    )
    assert "1.50 hours" in text and "300 images of `masqclip_shapes_val`" in text and "CPU, 2 cores" in text
    assert text.count("python train_net.py shared") == 1 and "# B\npython train_net.py b" in text
    near = page(
        document({"a": {0: {"PQ_novel": 1.0}, 1: {"PQ_novel": 3.0}}, "b": {0: {"PQ_novel": 1.0}, 1: {"PQ_novel": 2.0}}})
    )
    assert "| A first | Table 1 | holds, not settled |" in near
    held = page(document({"a": {0: {"PQ_novel": 10.0}}, "b": {0: {"PQ_novel": 7.5}}}))
    assert "| A first | Table 1 | holds |" in held
    assert "| A > B | PQ novel | 10.00 / 7.50 | 2.50 | - | holds | 1 |" in held


def test_the_summary_has_chosen_rows_and_every_verdict():
    metrics = {0: {"PQ_novel": 10.0, "SQ_all": 70.04}, 1: {"PQ_novel": 14.0, "SQ_all": None}}
    made = document({"maskclip": metrics, "a": metrics, "b": {}, "masqclip": {}})
    text = summary(made)
    assert text.splitlines()[2:4] == [
        "| MASKCLIP | - | 12.0 (2.8) | 70.0 | - | - | - |",
        "| MASQCLIP | - | - | - | - | - | - |",
    ]
    assert "- A first: not measured." in text
    assert text in page(made)


def test_the_summary_says_by_which_metrics_an_ordering_holds_in_part():
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
        == "- It: holds by PQ all, AP all; does not hold by PQ novel, not settled."
    )
    assert verdict_line("b a PQ_all", "a b AP_all") == "- It: does not hold (holds in 1 of 2 comparisons)."
    assert verdict_line("b a PQ_all", "b a AP_all") == "- It: does not hold."
