import json
import math

import pytest

from masqclip_d2.config import load_config
from masqclip_d2.evaluation import Origin, comparison_text, report_results, results_table, row_of, write_results
from masqclip_d2.evaluation.report.results import definition, split_metric

RESULTS = {
    "set_one": {"panoptic_seg": {"PQ": 12.345, "PQ_base": math.nan, "PQ-cat": 3.0}, "sem_seg": {"mIoU": 50.0}},
    "set_two": {"sem_seg": {"mIoU_gt_or_pred": 25.0}},
}


def table_cells(text, dataset):
    """{(task, metric): {column: cell}} of the table of a dataset."""
    lines = text[text.index(f"{dataset}:\n") :].split("\n\n")[0].splitlines()[1:]
    header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {tuple(row[:2]): dict(zip(header[2:], row[2:], strict=True)) for row in rows}


def test_each_dataset_has_a_table_of_metrics_and_subsets_without_single_categories():
    text = results_table(RESULTS)
    assert table_cells(text, "set_one") == {
        ("panoptic_seg", "PQ"): {"all": "12.35", "base": "nan"},
        ("sem_seg", "mIoU"): {"all": "50.00", "base": "-"},
    }
    assert table_cells(text, "set_two") == {("sem_seg", "mIoU_gt_or_pred"): {"all": "25.00"}}
    assert "cat" not in text.split("Percent")[0]


def test_each_definition_is_printed_once():
    results = {**RESULTS, "set_three": RESULTS["set_one"]}
    text = results_table(results)
    assert text.count("panoptic quality") == text.count("since July 2022") == text.count("v0.6") == 1
    assert len(text.splitlines()) == 3 * 3 + 5 + 3 + 1 + 3  # headings, rows, gaps, unit, definitions


def test_an_unknown_metric_is_a_row_without_definition():
    text = results_table({"set": {"other": {"speed_fast": 3.0}}})
    assert table_cells(text, "set") == {("other", "speed_fast"): {"all": "3.00"}}


@pytest.mark.parametrize(
    "metric, expected",
    [
        ("SQ_th", ("SQ", "th")),
        ("mIoU_gt_or_pred", ("mIoU_gt_or_pred", "")),
        ("mIoU_base", ("mIoU", "base")),
        ("AP50_novel", ("AP50", "novel")),
        ("AP50r", ("AP50r", "")),
        ("AR@100_base", ("AR@100", "base")),
        ("top1_things", ("top1", "th")),
        ("top1_per_category", ("top1_per_category", "")),
        ("top1_24to48", ("top1_24to48", "")),
        ("AP_seen_often", ("AP", "seen_often")),
    ],
)
def test_subsets_of_metrics(metric, expected):
    assert split_metric(metric) == expected


@pytest.mark.parametrize(
    "metric, text",
    [
        ("SQ_th", "matched segments"),
        ("AP50_novel", "IoU 0.5"),
        ("AP", "0.5:0.95"),
        ("APs", "small"),
        ("AR@100_base", "class-agnostic"),
        ("ARs@100", "small"),
        ("top1_24to48", "longer side"),
        ("top1_ge24", "longer side"),
        ("top1_novel", "is the best"),
    ],
)
def test_definitions(metric, text):
    assert text in definition(metric)


def test_every_metric_of_our_evaluators_has_a_definition(tiny_dataset):
    from masqclip_d2.evaluation import evaluators_for

    results = tiny_dataset.evaluate(
        evaluators_for(
            tiny_dataset.name, None, ["panoptic", "semantic", "instance", "proposals", "mask_classification"]
        )
    )
    metrics = {metric for by_metric in results.values() for metric in by_metric if "-" not in metric}
    assert len(metrics) > 50
    assert [metric for metric in metrics if not definition(metric)] == []


def test_json_is_strict_and_has_the_provenance(tmp_path):
    path = tmp_path / "new" / "results.json"
    write_results(path, RESULTS, Origin("A: 1", 3, "model.pth"))
    content = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not strict JSON"))
    assert content["results"]["set_one"]["panoptic_seg"] == {"PQ": 12.345, "PQ_base": None, "PQ-cat": 3.0}
    assert content["seed"] == 3 and content["weights"] == "model.pth"
    assert set(content["versions"]) == {"masqclip_d2", "detectron2", "torch", "python", "numpy", "pycocotools"}
    assert content["config"] == "A: 1" and content["published"] == {"row": None, "values": []}
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


def test_evaluators_without_metrics_are_reported(tmp_path, caplog):
    cfg = load_config("shapes/maskclip", ["OUTPUT_DIR", str(tmp_path)])
    report_results({"set_one": {}, "set_two": {"sem_seg": {}}}, cfg)
    assert f"The evaluators returned no metrics; {tmp_path}" in caplog.text
    assert json.loads((tmp_path / "results.json").read_text())["results"] == {"set_one": {}, "set_two": {"sem_seg": {}}}


PAPER_RESULTS = {
    "ade20k_panoptic_val": {  # an alias
        "sem_seg": {"mIoU": 20.5, "mIoU_gt_or_pred": 19.0},
        "panoptic_seg": {"PQ": 14.0, "PQ_th": 13.0, "PQ-bed": 1.0},
    },
    "masqclip_pascal_context_59_sem_seg_val": {"sem_seg": {"mIoU": 40.0}},
}


def cells(text, beginning):
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {beginning} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_published_values_of_the_row_are_added_in_brackets():
    text = results_table(PAPER_RESULTS, "maskclip_r50")
    assert table_cells(text, "ade20k_panoptic_val") == {
        ("sem_seg", "mIoU"): {"all": "20.50 [23.7]", "things": "-"},
        ("sem_seg", "mIoU_gt_or_pred"): {"all": "19.00 [23.7]", "things": "-"},
        ("panoptic_seg", "PQ"): {"all": "14.00 [15.121]", "things": "13.00 [13.536]"},
    }
    assert "In square brackets: published values." in text
    assert table_cells(text, "masqclip_pascal_context_59_sem_seg_val")["sem_seg", "mIoU"] == {"all": "40.00 [45.9]"}
    assert "ublished" not in results_table(RESULTS, "maskclip_r50")


def test_the_run_is_a_row_of_the_papers_tables():
    text = comparison_text(PAPER_RESULTS, "maskclip_r50", "")
    table_2 = text[text.index("Table 2") : text.index("Table 3")]
    assert "Which of the two definitions of mIoU was used is not stated." in table_2
    assert cells(table_2, "method") == ["method", "A-150", "A-847", "P-459", "P-59"]
    assert cells(table_2, "MaskCLIP (published)") == ["MaskCLIP (published)", "23.7", "8.2", "10", "45.9"]
    assert cells(table_2, "this run, mIoU") == ["this run, mIoU", "20.50", "-", "-", "40.00"]
    assert cells(table_2, "this run, mIoU_gt_or_pred")[1:] == ["19.00", "-", "-", "-"]
    assert text.count("this run has the configuration of their row configs/maskclip_r50.yaml") == 1
    assert "Table 5" not in text and "Table 4" not in text  # not measured, or another row


def test_a_configuration_that_is_no_row_is_reported_with_its_differences():
    cfg = load_config("maskclip_r50", ["MODEL.MASQCLIP.CLIP.NAME", "open_clip:ViT-B-16/laion2b_s34b_b88k"])
    text = comparison_text(PAPER_RESULTS, *row_of(cfg))
    assert text == (
        "Published values are not shown: this configuration is no row of the papers' tables; the nearest, "
        "configs/maskclip_r50.yaml, differs in MODEL.MASQCLIP.CLIP.NAME."
    )
    assert comparison_text(RESULTS, *row_of(cfg)) == ""  # a dataset that no paper has


def test_json_has_the_published_values_with_their_tables(tmp_path):
    write_results(tmp_path / "results.json", PAPER_RESULTS, row="maskclip_r50")
    published = json.loads((tmp_path / "results.json").read_text())["published"]
    assert published["row"] == "maskclip_r50" and len(published["values"]) == 5
    assert published["values"][2] == {
        "dataset": "ade20k_panoptic_val", "task": "panoptic_seg", "metric": "PQ", "value": 15.121,
        "paper": "MaskCLIP (Ding et al., ICML 2023)", "table": "Table 3", "method": "MaskCLIP", "note": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    "metrics, remark",
    [
        (
            {"mIoU": 100.0, "ACC-a": 100.0, "ACC-b": math.nan},
            "only category in the ground truth is 'a', of 2: mIoU of one",
        ),
        ({"mIoU": math.nan, "ACC-a": math.nan, "ACC-b": math.nan}, "no pixel of the ground truth has one of the 2"),
        ({"mIoU": 50.0, "ACC-a": 50.0, "ACC-b": 3.0, "ACC-c": math.nan}, "2 of 3 categories occur in the ground truth"),
        ({"PQ": math.nan, "PQ_th": math.nan}, "no metric is defined, since the ground truth has no object that counts"),
        ({"mIoU": 50.0, "ACC-a": 50.0, "ACC-b": 3.0}, ""),
    ],
)
def test_numbers_that_need_a_remark_have_it_below_the_table(metrics, remark):
    lines = results_table({"set": {"task": metrics}}).split("\n\n")[0].splitlines()[4:]
    assert len(lines) == bool(remark)
    assert all(line.startswith("task: ") and remark in line for line in lines)
