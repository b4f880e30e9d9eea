"""Values of other methods: complete, with sources, beside a run."""

import logging
import re

from detectron2.data import DatasetCatalog

from masqclip_d2.config import load_config
from masqclip_d2.evaluation.report.other_methods import other_methods, other_methods_text
from masqclip_d2.evaluation.report.results import definition, report_results


def test_every_row_is_complete_and_names_its_source():
    found = other_methods()
    assert [column.name for column in found.columns] == ["A-150", "PQ", "AP", "A-847", "P-59", "P-459"]
    for column in found.columns:
        assert set(column.datasets) <= set(DatasetCatalog.list()) and definition(column.metric)
    assert len({row.method for row in found.rows}) == len(found.rows)
    for row in found.rows:
        assert len(row.values) == len(found.columns) and any(row.values)
        assert all(value is None or 0 < value < 100 for value in row.values)
        assert re.search(r"\w+/\w+.*commit [0-9a-f]{7}$|arXiv \d{4}\.\d{5}\), Table \d", row.source), row.method


def test_training_free_methods_are_marked():
    found = other_methods().rows
    families = {row.method.split(",")[0] for row in found}
    assert families == {"FC-CLIP", "ODISE", "SAN", "MAFT+", "MaskCLIP++", "CorrCLIP", "CorrCLIPv2"}
    assert {row.method.split(",")[0] for row in found if row.training_free} == {"CorrCLIP", "CorrCLIPv2"}


def test_a_run_stands_beside_the_methods_that_have_its_metrics():
    results = {
        "ade20k_panoptic_val": {  # an alias
            "panoptic_seg": {"PQ": 11.5},
            "sem_seg": {"mIoU": 20.0, "mIoU_gt_or_pred": 19.0},
        }
    }
    text = other_methods_text(results)
    header, _, *lines = re.findall(r"^\|.*\|$", text, flags=re.M)
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines}
    assert [cell.strip() for cell in header.split("|")[1:-1]] == ["method", "trained on", "A-150", "PQ", "source"]
    assert cells["FC-CLIP, ConvNeXt-L"] == ["COCO panoptic", "34.1", "26.8", "[1]"]
    assert cells["CorrCLIP, ViT-L/14, masks of EntitySeg"][:3] == ["training-free", "32.9", "-"]
    assert cells["MAFT+, panoptic"][1:3] == ["-", "27.1"]
    assert cells["this run, mIoU"] == ["", "20.00", "11.50", ""]
    assert cells["this run, mIoU_gt_or_pred"] == ["", "19.00", "11.50", ""]
    assert "[1] README of bytedance/fc-clip" in text and "not reproduced here" in text


def test_methods_without_a_value_of_the_run_are_left_out():
    text = other_methods_text({"masqclip_ade20k_panoptic_val": {"segm": {"AP": 5.0}}})
    assert "FC-CLIP, RN50 " in text and "CorrCLIP, ViT" not in text and "| this run " in text
    assert other_methods_text({"masqclip_shapes_val": {"panoptic_seg": {"PQ": 50.0}}}) == ""


def test_the_report_of_a_configuration_that_is_no_row_has_them(tmp_path, caplog):
    cfg = load_config("photos/photos", ["OUTPUT_DIR", str(tmp_path)])
    with caplog.at_level(logging.INFO):
        report_results({"masqclip_pascal_context_59_sem_seg_val": {"sem_seg": {"mIoU": 30.0}}}, cfg)
    assert "CorrCLIP, ViT-L/14, masks of EoMT-L" in caplog.text and "this run, mIoU " in caplog.text
