"""The published values are complete and agree with docs/paper_rows.md; the row of a run is identified."""

import re
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog

from masqclip_d2.config import load_config
from masqclip_d2.config_files import shipped_configs
from masqclip_d2.evaluation.report.published_rows import published_value, published_values, row_of, tables
from masqclip_d2.evaluation.report.results import definition

ROWS = sorted({config for table in tables() for config, _ in table.rows.values() if config is not None})


def test_tables_are_complete_and_name_existing_configurations_and_datasets():
    assert len(tables()) == 9
    for table in tables():
        assert {config for config, _ in table.rows.values() if config} <= set(shipped_configs())
        for _, values in table.rows.values():
            assert len(values) == len(table.columns) and all(v is None or 0 < v < 100 for v in values)
        for column in table.columns:
            assert set(column.datasets) <= set(DatasetCatalog.list())
            assert definition(column.metric) and column.task in ("sem_seg", "segm", "panoptic_seg")


def test_values_agree_with_the_page_of_rows():
    """Every row of docs/paper_rows.md that is in the tables has values of them only."""
    page = (Path(__file__).resolve().parents[3] / "docs" / "paper_rows.md").read_text()
    checked = 0
    for line in re.findall(r"^\|(.*)\|$", page[page.index("## MaskCLIP") : page.index("## The same rows")], flags=re.M):
        configs = [name for name in re.findall(r"`([\w/]+)`", line) if name in ROWS]
        of_another_source = line.split("|")[0].strip().startswith(("rounds of", "without ", "keys or values"))
        if of_another_source or not configs:  # ablations of MasQCLIP, which its poster has not
            continue
        known = {f"{found.value:g}" for name in configs for found in all_values(name)}
        printed = {f"{float(value):g}" for value in re.findall(r"\b\d+\.\d+", line)}
        assert printed <= known, line
        checked += len(printed)
    assert checked > 50


def all_values(config):
    from masqclip_d2.evaluation.report.published_rows import Published, _values_of

    return [Published(v, t.paper, t.name, method, t.note) for t, method, _, v in _values_of(config)]


def test_the_more_precise_of_two_values_is_used():
    values = published_values("maskclip_r50")
    assert values["masqclip_ade20k_panoptic_val", "panoptic_seg", "PQ"].value == 15.121  # 15.1 in Table 7
    assert values["masqclip_ade20k_panoptic_val", "panoptic_seg", "PQ"].table == "Table 3"


def test_constrained_and_generalized_are_values_of_different_datasets():
    def ap50(subset, metric="AP50"):
        name = f"coco_instance_val_{subset}"  # an alias
        return published_value("base_novel/maskclip_r50", name, "segm", metric).value

    assert [ap50("base48"), ap50("novel17")] == [42.8, 23.2]
    assert [ap50("instances65", metric) for metric in ("AP50_base", "AP50_novel", "AP50")] == [42.6, 21.7, 37.2]
    assert published_value("base_novel/masqclip_r50", "coco_instance_val_base48", "segm", "AP50") is None


@pytest.mark.parametrize("config", ROWS)
def test_each_row_is_itself(config):
    assert row_of(load_config(config)) == (config, "")


@pytest.mark.parametrize(
    "config, opts, expected",
    [
        ("maskclip_r50", ["MODEL.MASQCLIP.RMA.REFINE_MASKS", "False"], "coco/maskclip_no_refinement_r50"),
        ("maskclip_r50", ["MODEL.MASQCLIP.CLIP.NAME", "/clips/ViT-L-14-336px.pt"], "maskclip_r50"),
        ("maskclip_r50", ["MODEL.WEIGHTS", "mine.pth", "DATASETS.TEST", "('masqclip_lvis_v1_val',)"], "maskclip_r50"),
        ("maskclip_r50", ["MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD", "0.3"], "maskclip_r50"),
        ("maskclip_r50", ["DATASETS.TRAIN", "('masqclip_ade20k_panoptic_train',)"], "differs in DATASETS.TRAIN"),
        ("masqclip_r50", ["MODEL.MASQCLIP.TEXT.TEMPLATES", "imagenet_80"], "differs in MODEL.MASQCLIP.TEXT.TEMPLATES"),
        ("maskclip_r50", ["INPUT.MIN_SIZE_TEST", "640"], "differs in INPUT.MIN_SIZE_TEST"),
        ("shapes/maskclip", [], "more keys"),
    ],
    ids=["override makes another row", "file of OpenAI", "weights and test set", "threshold", "training set",
         "templates", "image size", "Shapes"],
)  # fmt: skip
def test_a_row_is_identified_by_its_settings(config, opts, expected):
    row, difference = row_of(load_config(config, opts))
    assert row == expected or (row is None and expected in difference)
