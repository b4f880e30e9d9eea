"""Predictions of other programs have the metrics that the same predictions of this package have."""

import json
import shutil
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog

from masqclip_d2.evaluation import Origin, evaluate_saved, evaluators_for
from masqclip_d2.evaluation.report.foreign_predictions import _label_maps, with_dataset_ids
from masqclip_d2.evaluation.report.saved_predictions import Predictions
from masqclip_d2.evaluation.report.saved_runs import evaluate_predictions


@pytest.fixture
def saved(tiny_dataset, tmp_path):
    """Folder of perfect predictions of all tasks, without the manifest, and their metrics."""
    folder = tmp_path / "saved"
    evaluators = evaluators_for(tiny_dataset.name, folder, ("panoptic", "semantic", "instance"), Origin())
    evaluators.reset()
    expected = tiny_dataset.evaluate(evaluators, lambda record, output: None)
    (folder / "masqclip_predictions.json").unlink()
    return folder, expected


def strict(results):
    return json.dumps(results, sort_keys=True)  # nan equals nan


def without_masks(results):
    return [{key: value for key, value in result.items() if key != "segmentation"} for result in results]


def test_a_file_of_results(tiny_dataset, saved, tmp_path):
    folder, expected = saved
    results, predictions = evaluate_saved(folder / "coco_instances_results.json", tiny_dataset.name)
    assert strict(results) == strict({task: expected[task] for task in ("bbox", "segm")})
    assert results["segm"]["AP"] == pytest.approx(100) and predictions.tasks == ("instance",)
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps(without_masks(json.loads((folder / "coco_instances_results.json").read_text()))))
    assert list(evaluate_saved(boxes, tiny_dataset.name)[0]) == ["bbox"]


def test_images_without_results_have_no_detections(tiny_dataset, saved, tmp_path):
    rows = json.loads((saved[0] / "coco_instances_results.json").read_text())
    path = tmp_path / "results.json"
    path.write_text(json.dumps([row for row in rows if row["image_id"] == rows[0]["image_id"]]))
    assert 0 < evaluate_saved(path, tiny_dataset.name)[0]["segm"]["AP"] < 100


def test_a_panoptic_file_with_pngs_beside_it(tiny_dataset, saved, tmp_path):
    folder, expected = saved
    shutil.copytree(folder / "panoptic_png", tmp_path / "other" / "theirs")
    path = shutil.copy(folder / "predictions.json", tmp_path / "other" / "theirs.json")
    text = evaluate_predictions([path], tmp_path / "out", tiny_dataset.name)
    assert "PQ" in text and expected["panoptic_seg"]["PQ"] == pytest.approx(100)
    written = json.loads((tmp_path / "out" / "results.json").read_text())["results"]
    assert written[tiny_dataset.name]["panoptic_seg"]["PQ"] == pytest.approx(100)
    shutil.rmtree(tmp_path / "other" / "theirs")
    with pytest.raises(FileNotFoundError, match=r"names the png .*\.png, which is in none of"):
        evaluate_saved(path, tiny_dataset.name)


def test_a_folder_of_label_maps(tiny_dataset, saved, tmp_path):
    folder, expected = saved
    shutil.copytree(folder / "sem_seg_png", labels := tmp_path / "labels" / "any")
    results, _ = evaluate_saved(labels.parent, tiny_dataset.name)
    assert strict(results) == strict({"sem_seg": expected["sem_seg"]})
    first = next(labels.iterdir())
    (again := labels.parent / "again").mkdir()
    shutil.copy(first, again)
    with pytest.raises(ValueError, match="has several label maps for"):
        evaluate_saved(labels.parent, tiny_dataset.name)
    (again / first.name).unlink()
    first.unlink()
    with pytest.raises(ValueError, match=r"has no label maps for 1 of \d images, such as"):
        evaluate_saved(labels.parent, tiny_dataset.name)


@pytest.mark.parametrize("name", ["a_leftImg8bit", "a", "a_labelIds", "city%2Fa"])
def test_names_of_label_maps(tmp_path, name):
    record = {
        "image_id": "city/a",
        "file_name": "images/city/a_leftImg8bit.png",
        "sem_seg_file_name": "labels/city/a_labelIds.png",
    }
    (tmp_path / f"{name}.png").touch()
    assert _label_maps(tmp_path, [record]) == [f"{name}.png"]


def test_what_is_no_predictions_is_one_sentence(tiny_dataset, saved, tmp_path):
    results = saved[0] / "coco_instances_results.json"
    with pytest.raises(ValueError, match="is a file of predictions; pass --dataset NAME"):
        evaluate_predictions([results])
    with pytest.raises(FileNotFoundError, match="For predictions of another program pass --dataset NAME"):
        evaluate_predictions([saved[0]])
    with pytest.raises(ValueError, match="of dataset 'other', which is not registered; pass --import FILE"):
        evaluate_saved(results, "other")
    (path := tmp_path / "gt.json").write_text(json.dumps({"annotations": json.loads(results.read_text())}))
    with pytest.raises(ValueError, match="neither a list of COCO's results nor .* write the list 'annotations' alone"):
        evaluate_saved(path, tiny_dataset.name)


@pytest.mark.parametrize("name_of", [lambda path: path.stem, lambda path: path.name, lambda path: f"x/../{path.name}"])
def test_image_ids_may_be_names_of_files(tiny_dataset, saved, tmp_path, name_of):
    folder, expected = saved
    names = {record["image_id"]: name_of(Path(record["file_name"])) for record in DatasetCatalog.get(tiny_dataset.name)}
    rows = json.loads((folder / "coco_instances_results.json").read_text())
    (path := tmp_path / "results.json").write_text(
        json.dumps([{**row, "image_id": names[row["image_id"]]} for row in rows])
    )
    if "/" in next(iter(names.values())):
        with pytest.raises(ValueError, match="is of an image that dataset .* does not have"):
            evaluate_saved(path, tiny_dataset.name)
        return
    assert strict(evaluate_saved(path, tiny_dataset.name)[0]["segm"]) == strict(expected["segm"])
    content = json.loads((folder / "predictions.json").read_text())
    for annotation in content["annotations"]:
        annotation["image_id"] = names[annotation["image_id"]]
    (folder / "named.json").write_text(json.dumps(content))
    assert evaluate_saved(folder / "named.json", tiny_dataset.name)[0]["panoptic_seg"]["PQ"] == pytest.approx(100)


def test_names_of_several_files_are_refused():
    images = ({"image_id": 1, "file_name": "p/a/1.png"}, {"image_id": 2, "file_name": "p/b/1.jpg"})
    predictions = Predictions(Path("f"), "d", ("instance",), (), images, Origin())
    for name, image_id in (("a/1", 1), ("b/1.jpg", 2), ("1.png", 1), ("other", "other"), (2, 2), (None, None)):
        assert with_dataset_ids([{"image_id": name}], predictions, "f")[0]["image_id"] == image_id
    with pytest.raises(
        ValueError, match="f: the image_id '1' is the name of 2 files of dataset 'd' .*; write the image"
    ):
        with_dataset_ids([{"image_id": "1"}], predictions, "f")
