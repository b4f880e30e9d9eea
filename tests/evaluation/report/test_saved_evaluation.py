"""Metrics of saved predictions equal those of the outputs, bit for bit."""

import json

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image

from masqclip_d2.evaluation import Origin, evaluate_saved, evaluators_for, prediction_folders, read_predictions
from masqclip_d2.fusion import boxes_from_masks

TASKS = ("panoptic", "semantic", "instance")


def half_right(record, output):
    """Moved segments, a class map shifted to "no category", and instances of many scores; the same on every call."""
    generator = torch.Generator().manual_seed(record["image_id"])
    segment_ids, segments = output["panoptic_seg"]
    moved = segment_ids.roll(2, 1)
    output["panoptic_seg"] = (moved, [s for s in segments if (moved == s["id"]).any()])
    labels = output["sem_seg_labels"].roll(3, 0).clone()
    labels[torch.rand(labels.shape, generator=generator) > 0.9] = 255
    output["sem_seg_labels"] = labels
    truth = output["instances"]
    masks = torch.cat([truth.pred_masks.roll(shift, 2) for shift in (0, 1, 2)])
    masks = torch.cat([masks, torch.rand(3, 24, 32, generator=generator) > 0.7])
    found = Instances((24, 32), pred_masks=masks, scores=torch.rand(len(masks), generator=generator))
    found.pred_classes = torch.randint(0, 2, (len(masks),), generator=generator)
    found.pred_classes[: len(truth)] = truth.pred_classes
    found.pred_boxes = Boxes(boxes_from_masks(masks))
    output["instances"] = found


def save(dataset, folder, change=half_right, tasks=TASKS):
    evaluators = evaluators_for(dataset.name, folder, tasks, Origin("A: 1", 3, "w.pth"))
    evaluators.reset()
    return dataset.evaluate(evaluators, change)


def strict(results):
    return json.dumps(results, sort_keys=True)  # nan equals nan, and every bit counts


def test_every_metric_is_the_same(tiny_dataset, tmp_path):
    expected = save(tiny_dataset, tmp_path / "out")
    results, predictions = evaluate_saved(tmp_path / "out")
    assert strict(results) == strict(expected)
    for task, metric in (("panoptic_seg", "PQ"), ("sem_seg", "mIoU"), ("segm", "AP"), ("bbox", "AP")):
        assert 0 < results[task][metric] < 100
    assert predictions.origin == Origin("A: 1", 3, "w.pth") and predictions.tasks == TASKS


@pytest.mark.parametrize("task", TASKS)
def test_each_task_alone(tiny_dataset, tmp_path, task):
    expected = save(tiny_dataset, tmp_path / "out", tasks=[task])
    assert strict(evaluate_saved(tmp_path / "out")[0]) == strict(expected)


def test_no_segments_and_no_instances(tiny_dataset, tmp_path):
    def nothing(record, output):
        output["panoptic_seg"] = (torch.zeros(24, 32, dtype=torch.int32), [])
        output["sem_seg_labels"] = torch.full((24, 32), 255)
        output["instances"] = output["instances"][torch.zeros(len(output["instances"]), dtype=torch.bool)]

    expected = save(tiny_dataset, tmp_path / "out", nothing)
    assert expected["segm"]["AP"] == expected["panoptic_seg"]["PQ"] == expected["sem_seg"]["mIoU"] == 0
    assert strict(evaluate_saved(tmp_path / "out")[0]) == strict(expected)


def test_class_scores_are_saved_as_labels(tiny_dataset, tmp_path):
    def scores(record, output):
        labels = output.pop("sem_seg_labels")
        output["sem_seg"] = torch.nn.functional.one_hot(labels % 4, 4).permute(2, 0, 1).float()

    expected = save(tiny_dataset, tmp_path / "out", scores, ["semantic"])
    assert strict(evaluate_saved(tmp_path / "out")[0]) == strict(expected)
    with Image.open(tmp_path / "out" / "sem_seg_png" / "7.png") as image:
        assert image.mode == "L" and np.asarray(image).max() == 3


def test_many_categories_take_16_bits(tiny_dataset, tmp_path):
    metadata = tiny_dataset.metadata
    del metadata.ignore_label
    metadata.ignore_label = 65535
    for record in tiny_dataset.records:
        path = record["sem_seg_file_name"]
        labels = np.asarray(Image.open(path)).astype(np.uint16)
        Image.fromarray(np.where(labels == 255, 65535, labels).astype(np.uint16)).save(path)

    def no_category(record, output):
        labels = output["sem_seg_labels"]
        output["sem_seg_labels"] = torch.where(labels == 255, 65535, labels).roll(1, 0)

    expected = save(tiny_dataset, tmp_path / "out", no_category, ["semantic"])
    assert strict(evaluate_saved(tmp_path / "out")[0]) == strict(expected)
    with Image.open(tmp_path / "out" / "sem_seg_png" / "7.png") as image:
        assert image.mode.startswith("I") and np.asarray(image).max() == 65535


def test_a_new_evaluation_removes_the_old_manifest(tiny_dataset, tmp_path):
    save(tiny_dataset, tmp_path)
    assert prediction_folders(tmp_path) == [tmp_path]
    evaluators_for(tiny_dataset.name, tmp_path, TASKS, Origin()).reset()  # and is interrupted
    with pytest.raises(FileNotFoundError, match="so its predictions are incomplete"):
        read_predictions(tmp_path)
    with pytest.raises(FileNotFoundError, match="has no complete predictions"):
        prediction_folders(tmp_path)


def test_names_of_images_may_hold_anything(tiny_dataset, tmp_path):
    for record in tiny_dataset.records:
        record["image_id"] = f"street/../{record['image_id']} %"

    evaluators = evaluators_for(tiny_dataset.name, tmp_path / "out", ["semantic"], Origin())
    evaluators.reset()
    for record, (segment_map, segments) in zip(tiny_dataset.records, tiny_dataset.maps.values(), strict=True):
        labels = np.array([255] + [category for category, _ in segments])[segment_map]
        evaluators.process([record], [{"sem_seg_labels": torch.from_numpy(labels)}])
    expected = evaluators.evaluate()
    assert expected["sem_seg"]["mIoU"] == 100
    assert strict(evaluate_saved(tmp_path / "out")[0]) == strict(expected)
    assert {path.parent for path in tmp_path.rglob("*%25.png")} == {tmp_path / "out" / "sem_seg_png"}


def test_two_processes_write_one_folder(tiny_dataset, tmp_path, two_processes, monkeypatch):
    expected = save(tiny_dataset, tmp_path / "one")
    parts = [evaluators_for(tiny_dataset.name, tmp_path / "two", TASKS, Origin("A: 1", 3, "w.pth")) for _ in range(2)]
    for index, record in enumerate(tiny_dataset.records):
        output = tiny_dataset.perfect(record)
        half_right(record, output)
        parts[index % 2].process([record], [output])
    for first, second in zip(parts[0]._evaluators, parts[1]._evaluators, strict=True):
        two_processes(first, second)
    monkeypatch.undo()  # evaluated by one process
    results, _ = evaluate_saved(tmp_path / "two")
    for task, metrics in expected.items():
        assert results[task] == pytest.approx(metrics, nan_ok=True)


def test_a_folder_to_save_in_is_needed(tiny_dataset):
    with pytest.raises(ValueError, match="there is no output_dir|needs an output_dir"):
        evaluators_for(tiny_dataset.name, None, ["semantic"], Origin())


@pytest.fixture
def edited(tiny_dataset, tmp_path):
    """Evaluate saved predictions after `change(content)` of one of their files."""

    def edited(name, change, tasks=TASKS):
        save(tiny_dataset, tmp_path / "out", tasks=tasks)
        path = tmp_path / "out" / name
        content = json.loads(path.read_text())
        path.write_text(json.dumps(change(content) or content))
        return evaluate_saved(tmp_path / "out")[0]

    return edited


def without(key):
    return lambda rows: [{k: v for k, v in row.items() if k != key} for row in rows]


def with_value(key, value):
    return lambda rows: [{**rows[0], key: value}, *rows[1:]]


@pytest.mark.parametrize(
    "change, message",
    [
        (without("score"), r"result 0 \(image 7\) has no score; results have image_id, category_id, score, bbox and"),
        (without("segmentation"), "has no segmentation"),
        (without("image_id"), "result 0 has no image_id or category_id"),
        (with_value("score", float("nan")), "has the score nan; expected a finite number"),
        (with_value("score", None), "has the score None"),
        (with_value("bbox", [0, 0, 3]), r"has the bbox \[0, 0, 3\]; expected \[x, y, width, height\]"),
        (with_value("bbox", [0, 0, -3, 1]), "expected .x, y, width"),
        (with_value("bbox", ["a", 0, 3, 1]), "expected .x, y, width"),
        (with_value("segmentation", {"size": [24, 33], "counts": "0"}), "that is no mask: 33x24 pixels, but the image"),
        (with_value("segmentation", []), "that is no mask: no mask"),
        (with_value("category_id", 0), "has the category id 0, which is none of the 2 thing .* not positions"),
        (with_value("category_id", [1]), r"has the category id \[1\]"),
        (with_value("image_id", 99), "is of an image that dataset .* does not have"),
        (lambda rows: rows + [3], "has no image_id or category_id: 3"),
        (lambda rows: {"annotations": rows}, "expected a list of results in COCO's format"),
    ],
)
def test_an_edited_file_of_instances_is_one_sentence(edited, change, message):
    with pytest.raises(ValueError, match=f"coco_instances_results.json.*{message}"):
        edited("coco_instances_results.json", change, ["instance"])


def test_results_without_boxes_have_those_of_their_masks(edited):
    expected = edited("coco_instances_results.json", lambda rows: rows, ["instance"])
    assert strict(edited("coco_instances_results.json", without("bbox"), ["instance"])) == strict(expected)


def test_polygons_are_evaluated(edited):
    rectangle = [4.0, 4.0, 9.0, 4.0, 9.0, 9.0, 4.0, 9.0]
    polygons = edited("coco_instances_results.json", lambda rows: [{**r, "segmentation": [rectangle]} for r in rows])
    assert polygons["segm"]["AP"] < 100 and polygons["bbox"]["AP"] > 0


def test_segments_with_isthing_have_the_ids_of_the_dataset_too(edited):
    def of_another_tool(content):
        for segment in (each for row in content["annotations"] for each in row["segments_info"]):
            segment["isthing"] = True

    plain = edited("predictions.json", lambda content: None, ["panoptic"])
    assert strict(edited("predictions.json", of_another_tool, ["panoptic"])) == strict(plain)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: {**c, "annotations": 3}, "has no list 'annotations'"),
        (lambda c: {"annotations": [3]}, "annotation 0 has no file_name"),
        (lambda c: {"annotations": without("file_name")(c["annotations"])}, "annotation 0 has no file_name"),
        (lambda c: {"annotations": without("segments_info")(c["annotations"])}, "has no list segments_info"),
        (
            lambda c: {"annotations": with_value("image_id", 5)(c["annotations"])},
            "has the image_id 5, which the",
        ),
        (lambda c: {"annotations": with_value("image_id", [])(c["annotations"])}, r"has the image_id \[\]"),
        (
            lambda c: {"annotations": with_value("segments_info", [{"id": "1"}])(c["annotations"])},
            "has a segment {'id': '1'} without integer id or category_id",
        ),
        (lambda c: {"annotations": with_value("segments_info", [])(c["annotations"])}, "are not in segments_info"),
    ],
)
def test_an_edited_file_of_segments_is_one_sentence(edited, change, message):
    with pytest.raises(ValueError, match=f"predictions.json.*{message}"):
        edited("predictions.json", change, ["panoptic"])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: {k: v for k, v in c.items() if k != "tasks"}, "it has no 'tasks'"),
        (lambda c: {**c, "tasks": ["boxes"]}, "'tasks' must be some of panoptic, semantic, instance"),
        (lambda c: {**c, "tasks": 5}, "is damaged"),
        (lambda c: {**c, "images": [3]}, "an entry of 'images' has no image_id"),
        (lambda c: {**c, "images": c["images"] * 2}, "'images' has an image twice"),
        (lambda c: {**c, "dataset": None}, "'dataset' is no name"),
        (lambda c: {**c, "origin": {"who": 1}}, "is damaged"),
        (lambda c: [c], "is damaged"),
    ],
)
def test_an_edited_manifest_is_one_sentence(edited, change, message):
    with pytest.raises(ValueError, match=f"masqclip_predictions.json.*{message}"):
        edited("masqclip_predictions.json", change)
