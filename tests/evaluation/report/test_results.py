import json
import math

import pytest

from masqclip_d2.config import load_config
from masqclip_d2.evaluation import Origin, comparison_text, report_results, results_table, row_of, write_results
from masqclip_d2.evaluation.report.results import definition

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
    write_results(path, RESULTS, Origin("A: 1", 3, "model.pth"))
    content = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not strict JSON"))
    assert content["results"]["set_one"]["panoptic_seg"] == {"PQ": 12.345, "PQ_base": None, "PQ-cat": 3.0}
    assert content["seed"] == 3 and content["weights"] == "model.pth"
    assert set(content["versions"]) == {"masqclip_d2", "detectron2", "torch", "python", "numpy", "pycocotools"}
    assert content["config"] == "A: 1" and content["published"] == {"row": None, "numbers": []}
    other = tmp_path / "other.json"
    write_results(other, RESULTS, Origin("A: 2"))
    assert json.loads(other.read_text())["config_sha256"] != content["config_sha256"]


def test_report_prints_the_table_and_writes_to_the_output_folder(tmp_path, caplog):
    cfg = load_config("shapes/maskclip", ["OUTPUT_DIR", str(tmp_path), "SEED", "5"])
    with caplog.at_level("INFO", logger="masqclip_d2"):
        report_results(RESULTS, cfg)
    assert "panoptic quality" in caplog.text and "ublished" not in caplog.text
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["seed"] == 5 and load_config("shapes/maskclip").load_cfg(content["config"]).SEED == 5


def test_evaluators_without_a_number_are_reported(tmp_path, caplog):
    cfg = load_config("shapes/maskclip", ["OUTPUT_DIR", str(tmp_path)])
    report_results({"set_one": {}, "set_two": {"sem_seg": {}}}, cfg)
    assert f"No evaluator gave a number; {tmp_path}" in caplog.text
    assert json.loads((tmp_path / "results.json").read_text())["results"] == {"set_one": {}, "set_two": {"sem_seg": {}}}


PAPER_RESULTS = {
    "ade20k_panoptic_val": {  # a customary name
        "sem_seg": {"mIoU": 20.5, "mIoU_gt_or_pred": 19.0},
        "panoptic_seg": {"PQ": 14.0, "PQ_th": 13.0, "PQ-bed": 1.0},
    },
    "masqclip_pascal_context_59_sem_seg_val": {"sem_seg": {"mIoU": 40.0}},
}


def cells(text, beginning):
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {beginning} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_published_numbers_of_the_row_stand_beside_ours():
    lines = [cells for line in results_table(PAPER_RESULTS, "maskclip_r50").splitlines() if (cells := line.split("|"))]
    published = {(c[1].strip(), c[3].strip()): c[5].strip() for c in lines[2:]}
    assert lines[0][5].strip() == "published"
    assert published == {
        ("ade20k_panoptic_val", "mIoU"): "23.70",
        ("ade20k_panoptic_val", "mIoU_gt_or_pred"): "23.70",
        ("ade20k_panoptic_val", "PQ"): "15.12",
        ("ade20k_panoptic_val", "PQ_th"): "13.54",
        ("masqclip_pascal_context_59_sem_seg_val", "mIoU"): "45.90",
    }
    assert "published" not in results_table(RESULTS, "maskclip_r50")


def test_the_run_is_a_row_of_the_papers_tables():
    text = comparison_text(PAPER_RESULTS, "maskclip_r50", "")
    table_2 = text[text.index("Table 2") : text.index("Table 3")]
    assert "Which of the two definitions of mIoU was used is not stated." in table_2
    assert cells(table_2, "method") == ["method", "A-150", "A-847", "P-459", "P-59"]
    assert cells(table_2, "MaskCLIP (published)") == ["MaskCLIP (published)", "23.7", "8.2", "10", "45.9"]
    assert cells(table_2, "this run, mIoU") == ["this run, mIoU", "20.50", "-", "-", "40.00"]
    assert cells(table_2, "this run, mIoU_gt_or_pred")[1:] == ["19.00", "-", "-", "-"]
    assert text.count("this run has the configuration of their row configs/maskclip_r50.yaml") == 1
    assert "Table 5" not in text and "Table 4" not in text  # nothing of them was measured, or it is another row


def test_a_configuration_that_is_no_row_is_told_what_differs():
    cfg = load_config("maskclip_r50", ["MODEL.MASQCLIP.CLIP.NAME", "open_clip:ViT-B-16/laion2b_s34b_b88k"])
    text = comparison_text(PAPER_RESULTS, *row_of(cfg))
    assert text == (
        "Published numbers are not shown: this configuration is no row of the papers' tables; the nearest, "
        "configs/maskclip_r50.yaml, differs in MODEL.MASQCLIP.CLIP.NAME."
    )
    assert comparison_text(RESULTS, *row_of(cfg)) == ""  # a dataset that no paper has


def test_json_has_the_published_numbers_with_their_places(tmp_path):
    write_results(tmp_path / "results.json", PAPER_RESULTS, row="maskclip_r50")
    published = json.loads((tmp_path / "results.json").read_text())["published"]
    assert published["row"] == "maskclip_r50" and len(published["numbers"]) == 5
    assert published["numbers"][2] == {
        "dataset": "ade20k_panoptic_val", "task": "panoptic_seg", "metric": "PQ", "value": 15.121,
        "paper": "MaskCLIP (Ding et al., ICML 2023)", "table": "Table 3", "method": "MaskCLIP", "note": "",
    }  # fmt: skip
