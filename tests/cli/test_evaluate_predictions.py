"""Predictions that a model left behind give its numbers again; what is wrong with them is one sentence."""

import json
import re
import shutil
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from masqclip_d2.cli.evaluate_predictions import main
from masqclip_d2.engine.trainer import Trainer
from masqclip_d2.evaluation.prediction_recorder import MANIFEST
from masqclip_d2.evaluation.report.saved_runs import evaluate_predictions
from masqclip_d2.shapes.registration import register_shapes
from tests.helpers import tiny_config

SETS = ("mini_shapes_val", "mini_shapes_val_instances")


@pytest.fixture(scope="module")
def run(tmp_path_factory, mini_shapes):
    """Output folder of an evaluation of two sets, whose numbers are in results.json."""
    folder = tmp_path_factory.mktemp("run")
    cfg = tiny_config(
        folder, "MaskCLIP", "DATASETS.TEST", str(SETS), "DATALOADER.NUM_WORKERS", "0", "TEST.SAVE_PREDICTIONS", "True",
        "MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD", "0.0", "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD", "0.0",
    )  # fmt: skip
    Trainer.evaluate_weights(cfg)
    return Path(cfg.OUTPUT_DIR)


@pytest.fixture
def copy(run, tmp_path):
    """A copy of the predictions of the panoptic set, to spoil."""
    return Path(shutil.copytree(run / "inference" / SETS[0], tmp_path / "copy"))


def read(path):
    return json.loads(path.read_text())


def test_numbers_are_exactly_those_of_the_run(run, tmp_path, capsys):
    main([str(run), "--output", str(tmp_path / "again")])
    before, after = read(run / "results.json"), read(tmp_path / "again" / "results.json")
    assert set(before["results"][SETS[0]]) == {"panoptic_seg", "sem_seg", "bbox", "segm"}
    assert after == before  # the metrics, and configuration, seed, weights and versions with them
    assert "mIoU_gt_or_pred" in capsys.readouterr().out


def test_one_folder_is_one_dataset(run, tmp_path):
    folder = run / "inference" / SETS[1]
    text = evaluate_predictions([folder], tmp_path)
    assert SETS[1] in text and f"| {SETS[0]} " not in text
    assert list(read(tmp_path / "results.json")["results"]) == [SETS[1]]


def test_what_lies_in_a_folder(run):
    folder = run / "inference" / SETS[0]
    assert {path.name for path in folder.iterdir()} == {
        MANIFEST, "coco_instances_results.json", "predictions.json", "panoptic_png", "sem_seg_png",
    }  # fmt: skip
    manifest = read(folder / MANIFEST)
    assert manifest["tasks"] == ["panoptic", "semantic", "instance"] and len(manifest["images"]) == 6
    results = read(folder / "coco_instances_results.json")
    assert {"image_id", "category_id", "bbox", "score", "segmentation"} == set(results[0])


def test_nothing_is_saved_unless_asked_for(tmp_path, mini_shapes):
    cfg = tiny_config(tmp_path, "MaskCLIP", "DATASETS.TEST", "('mini_shapes_val',)", "DATALOADER.NUM_WORKERS", "0")
    Trainer.evaluate_weights(cfg)
    assert not list(Path(cfg.OUTPUT_DIR).rglob(MANIFEST)) and not list(Path(cfg.OUTPUT_DIR).rglob("*_png"))


def test_proposals_are_not_saved_and_it_is_said(tmp_path, mini_shapes, caplog):
    cfg = tiny_config(
        tmp_path, "MaskProposer", "DATASETS.TEST", "('mini_shapes_val',)", "DATALOADER.NUM_WORKERS", "0",
        "TEST.SAVE_PREDICTIONS", "True",
    )  # fmt: skip
    Trainer.evaluate_weights(cfg)
    assert "predictions of proposals are not saved" in caplog.text


# --- Bad input ---


def fails(capsys, *words):
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert stopped.value.code == 1 and line.startswith("error: ")
    return line


def test_no_folder_and_no_predictions(capsys, tmp_path):
    assert f"There is no folder {tmp_path / 'none'}" in fails(capsys, tmp_path / "none")
    assert "has no complete predictions" in fails(capsys, tmp_path)


def test_an_interrupted_run(capsys, copy):
    (copy / MANIFEST).unlink()
    assert "interrupted; evaluate the model again with TEST.SAVE_PREDICTIONS True" in fails(capsys, copy)


@pytest.mark.parametrize(
    "name", ["predictions.json", "coco_instances_results.json", "sem_seg_png/1.png", "panoptic_png/000000000002.png"]
)
def test_half_a_folder(capsys, copy, name):
    (copy / name).unlink()
    assert Path(name).name in (error := fails(capsys, copy)) and re.search("missing|does not exist", error)


def test_damaged_files(capsys, copy):
    (copy / "predictions.json").write_text("{")
    assert "predictions.json is damaged" in fails(capsys, copy)
    (copy / MANIFEST).write_text('{"dataset": "a"}')
    assert f"{MANIFEST} is damaged" in fails(capsys, copy)


def change(copy, **values):
    (copy / MANIFEST).write_text(json.dumps({**read(copy / MANIFEST), **values}))


def test_predictions_of_some_images_only(capsys, copy):
    change(copy, images=read(copy / MANIFEST)["images"][:4])
    assert "lack 2 of the 6 images of dataset 'mini_shapes_val', 5 among them" in fails(capsys, copy)


def test_predictions_of_another_dataset(capsys, copy):
    assert "of dataset 'mini_shapes_val', not of 'masqclip_shapes_val'" in fails(
        capsys, copy, "--dataset", "masqclip_shapes_val"
    )
    change(copy, dataset="mini_shapes_train_all")  # eight images of its own
    assert "lack 2 of the 8 images of dataset 'mini_shapes_train_all'" in fails(capsys, copy)
    change(copy, dataset="yours")
    assert "of dataset 'yours', which is not registered; pass --import FILE" in fails(capsys, copy)


def test_predictions_of_unknown_images(capsys, copy):
    images = read(copy / MANIFEST)["images"]
    change(copy, images=[*images, {**images[0], "image_id": 99}])
    assert "are of 1 images that dataset 'mini_shapes_val' does not have, 99 among them" in fails(capsys, copy)


def test_predictions_of_other_categories(capsys, copy, shapes_root):
    register_shapes(shapes_root, prefix="reworded_")
    metadata = MetadataCatalog.get("reworded_shapes_val")
    names = [*metadata.vocabulary["names"][:-1], "lava"]
    vocabulary = {"names": names, "is_thing": metadata.vocabulary["is_thing"]}
    del metadata.vocabulary
    metadata.vocabulary = vocabulary
    change(copy, dataset="reworded_shapes_val")
    assert "made with other categories than dataset 'reworded_shapes_val' has" in fails(capsys, copy)
    for name in [name for name in DatasetCatalog.list() if name.startswith("reworded_")]:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_an_unknown_category_in_the_results(capsys, copy):
    results = read(copy / "coco_instances_results.json")
    results[0]["category_id"] = 4321
    (copy / "coco_instances_results.json").write_text(json.dumps(results))
    assert "has the category id 4321, which is none of the" in fails(capsys, copy)


def test_folders_of_different_runs_and_twice_the_same(capsys, run, copy):
    assert "is the second folder with predictions of dataset 'mini_shapes_val'" in fails(capsys, run, copy)
    other = run / "inference" / SETS[1]
    change(copy, origin={"config": "", "seed": 1, "weights": "others.pth"})
    assert "differ in configuration, seed or weights" in fails(capsys, other, copy)
