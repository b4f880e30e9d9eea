import json
import math
from types import SimpleNamespace

import pytest

from masqclip_d2.evaluation import report_results, results_table, write_results
from masqclip_d2.evaluation.results import definition

RESULTS = {
    "set_one": {"panoptic_seg": {"PQ": 12.345, "PQ_base": math.nan, "PQ-cat": 3.0}, "sem_seg": {"mIoU": 50.0}},
    "set_two": {"sem_seg": {"mIoU_gt_or_pred": 25.0}},
}


def test_table_has_a_row_per_number_with_its_definition_and_no_single_categories():
    lines = results_table(RESULTS).splitlines()
    assert len(lines) == 2 + 4
    pq = next(line for line in lines if "| PQ " in line)
    assert "12.35" in pq or "12.34" in pq
    assert "panoptic quality" in pq and "set_one" in pq
    assert "nan" in next(line for line in lines if "PQ_base" in line)
    assert "since July 2022" in next(line for line in lines if "| mIoU " in line)
    assert "v0.6" in next(line for line in lines if "mIoU_gt_or_pred" in line)


@pytest.mark.parametrize(
    "metric, words",
    [
        ("SQ_th", "matched segments"),
        ("AP50_novel", "IoU 0.5"),
        ("AP", "0.5:0.95"),
        ("APs", "small"),
        ("AR@100_base", "class-agnostic"),
        ("ARs@100", "small"),
        ("top1_24to48", "in this range"),
        ("top1_ge24", "at least"),
        ("top1_novel", "right word"),
    ],
)
def test_definitions(metric, words):
    assert words in definition(metric)


def test_every_number_of_our_evaluators_has_a_definition(tiny_dataset):
    from masqclip_d2.evaluation import evaluators_for

    results = tiny_dataset.evaluate(
        evaluators_for(
            tiny_dataset.name, None, ["panoptic", "semantic", "instance", "proposals", "mask_classification"]
        )
    )
    metrics = {metric for numbers in results.values() for metric in numbers if "-" not in metric}
    assert len(metrics) > 50
    assert [metric for metric in metrics if not definition(metric)] == []


def test_json_is_strict_and_tells_where_the_numbers_come_from(tmp_path):
    path = tmp_path / "new" / "results.json"
    write_results(path, RESULTS, config_text="A: 1", seed=3, weights="model.pth")
    content = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not strict JSON"))
    assert content["results"]["set_one"]["panoptic_seg"] == {"PQ": 12.345, "PQ_base": None, "PQ-cat": 3.0}
    assert content["seed"] == 3 and content["weights"] == "model.pth"
    assert set(content["versions"]) == {"masqclip_d2", "detectron2", "torch", "python"}
    other = tmp_path / "other.json"
    write_results(other, RESULTS, config_text="A: 2")
    assert json.loads(other.read_text())["config_sha256"] != content["config_sha256"]


def test_report_prints_the_table_and_writes_to_the_output_folder(tmp_path, caplog):
    cfg = SimpleNamespace(
        OUTPUT_DIR=str(tmp_path), SEED=5, MODEL=SimpleNamespace(WEIGHTS="w.pth"), dump=lambda: "config text"
    )
    with caplog.at_level("INFO", logger="masqclip_d2"):
        report_results(RESULTS, cfg)
    assert "panoptic quality" in caplog.text
    assert json.loads((tmp_path / "results.json").read_text())["seed"] == 5
