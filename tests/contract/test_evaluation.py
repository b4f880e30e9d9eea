"""Evaluators: the loop, merging, COCO average precision on the six images, the printed lines."""

from __future__ import annotations

import json
import logging
import math

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.evaluation import (
    COCOEvaluator,
    DatasetEvaluator,
    DatasetEvaluators,
    inference_on_dataset,
    print_csv_format,
    verify_results,
)
from detectron2.evaluation.coco_evaluation import _evaluate_predictions_on_coco, instances_to_coco_json
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.structures import Boxes, Instances
from torch import nn

METRICS = {"AP", "AP50", "AP75", "APs", "APm", "APl"}
PER_CLASS = {"AP-person", "AP-plane"}


@pytest.fixture
def coco_name(synthetic_coco, dataset_name):
    register_coco_instances(dataset_name, {}, synthetic_coco.instances_json, synthetic_coco.image_root)
    MetadataCatalog.get(dataset_name).set(
        thing_classes=["person", "plane"], thing_dataset_id_to_contiguous_id={1: 0, 5: 1}
    )
    return dataset_name


def perfect_instances(image, with_masks: bool = True) -> Instances:
    objects = [obj for obj in image.objects if not obj.iscrowd]
    instances = Instances((image.height, image.width))
    boxes = torch.tensor([obj.box_xywh for obj in objects], dtype=torch.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    instances.pred_boxes = Boxes(boxes)
    instances.scores = torch.linspace(0.9, 0.5, len(objects))
    instances.pred_classes = torch.tensor([0 if obj.category == 1 else 1 for obj in objects], dtype=torch.int64)
    if with_masks:
        masks = [obj.mask(image.height, image.width) for obj in objects]
        instances.pred_masks = torch.from_numpy(
            np.stack(masks) if masks else np.zeros((0, image.height, image.width), bool)
        )
    return instances


def evaluate(evaluator, images, predict) -> dict:
    evaluator.reset()
    for image in images:
        evaluator.process([{"image_id": image.id}], [{"instances": predict(image)}])
    return evaluator.evaluate()


def test_perfect_predictions(coco_name, synthetic_coco, tmp_path):
    evaluator = COCOEvaluator(coco_name, output_dir=str(tmp_path))
    results = evaluate(evaluator, synthetic_coco.images, perfect_instances)
    assert set(results) == {"bbox", "segm"}
    for task in results.values():
        assert set(task) == METRICS | PER_CLASS
        for name in ("AP", "AP50", "AP75", "APs", "AP-person", "AP-plane"):
            assert task[name] == pytest.approx(100)
            assert type(task[name]) is float
        assert math.isnan(task["APl"])  # no object of 96 x 96 pixels and more
    written = json.loads((tmp_path / "coco_instances_results.json").read_text())
    assert {entry["category_id"] for entry in written} == {1, 5}  # category ids of the file, not contiguous ones
    assert len(torch.load(tmp_path / "instances_predictions.pth", weights_only=True)) == len(synthetic_coco.images)


def test_a_missed_class_and_wrong_boxes(coco_name, synthetic_coco):
    def only_persons(image):
        instances = perfect_instances(image, with_masks=False)
        return instances[instances.pred_classes == 0]

    results = evaluate(COCOEvaluator(coco_name), synthetic_coco.images, only_persons)
    assert set(results) == {"bbox"}
    assert results["bbox"]["AP-person"] == pytest.approx(100) and results["bbox"]["AP-plane"] == 0
    assert results["bbox"]["AP"] == pytest.approx(50)


def test_without_instances_all_is_nan_and_without_predictions_nothing(coco_name, synthetic_coco):
    evaluator = COCOEvaluator(coco_name)
    results = evaluate(evaluator, synthetic_coco.images, lambda image: perfect_instances(image)[:0])
    assert set(results) == {"bbox"} and set(results["bbox"]) == METRICS
    assert all(math.isnan(value) for value in results["bbox"].values())
    evaluator.reset()
    assert evaluator.evaluate() == {}


def test_given_tasks_and_image_ids(coco_name, synthetic_coco):
    evaluator = COCOEvaluator(coco_name, tasks=("segm",))
    results = evaluate(evaluator, synthetic_coco.images[:1], perfect_instances)
    # One of two persons and one of three planes: precision 1 up to these recalls, of 101 recall thresholds.
    assert set(results) == {"segm"}
    assert results["segm"]["AP-person"] == pytest.approx(100 * 51 / 101)
    assert results["segm"]["AP-plane"] == pytest.approx(100 * 34 / 101)
    evaluator.reset()
    evaluator.process([{"image_id": 3}], [{"instances": perfect_instances(synthetic_coco.images[0])}])
    assert evaluator.evaluate(img_ids=[3])["segm"]["AP"] == pytest.approx(100)  # only this image is evaluated


@pytest.mark.parametrize(("limit", "is_seen"), [(12, True), (11, False), (200, True), (None, True)])
def test_max_dets_per_image(coco_name, synthetic_coco, limit, is_seen):
    def last_of_twelve(image):
        """The correct box of a plane has a lower score than eleven wrong ones."""
        good = perfect_instances(image, with_masks=False)
        planes = good[good.pred_classes == 1]
        if len(planes) == 0:
            return good
        bad = Instances.cat([planes] * 11)
        bad.pred_boxes = Boxes(torch.tensor([[0.0, 0.0, 2.0, 2.0]]).expand(len(bad), 4))
        bad.scores = bad.scores * 0 + 0.95
        return Instances.cat([good, bad])

    results = evaluate(COCOEvaluator(coco_name, max_dets_per_image=limit), synthetic_coco.images, last_of_twelve)
    assert results["bbox"]["AP-person"] == pytest.approx(100)
    # 3 correct planes after 33 wrong ones: precision 3 / 36 at full recall.
    plane = 100 * 3 / 36 if is_seen else 0.0
    assert results["bbox"]["AP-plane"] == pytest.approx(plane, abs=0.01)
    assert results["bbox"]["AP"] == pytest.approx((100 + plane) / 2, abs=0.01)


def test_classes_out_of_range(coco_name, synthetic_coco):
    def wrong_class(image):
        instances = perfect_instances(image)
        instances.pred_classes += 2
        return instances

    with pytest.raises(AssertionError):
        evaluate(COCOEvaluator(coco_name), synthetic_coco.images, wrong_class)


def test_instances_to_coco_json(synthetic_coco):
    from pycocotools import mask as mask_util

    image = synthetic_coco.images[0]
    results = instances_to_coco_json(perfect_instances(image), 3)
    assert [result["bbox"] for result in results] == [[10, 5, 10, 20], [30, 10, 20, 10]]
    assert [result["category_id"] for result in results] == [0, 1]
    assert results[0]["image_id"] == 3 and results[0]["score"] == pytest.approx(0.9)
    json.dumps(results)
    mask = mask_util.decode(results[1]["segmentation"])
    assert np.array_equal(mask, image.objects[1].mask(image.height, image.width))
    assert instances_to_coco_json(perfect_instances(image)[:0], 3) == []


def test_evaluate_predictions_on_coco_returns_a_summarized_evaluation(synthetic_coco):
    from pycocotools.coco import COCO

    image = synthetic_coco.images[0]
    results = instances_to_coco_json(perfect_instances(image), image.id)
    for result in results:
        result["category_id"] = {0: 1, 1: 5}[result["category_id"]]
    evaluation = _evaluate_predictions_on_coco(COCO(synthetic_coco.instances_json), results, "segm", img_ids=[image.id])
    assert evaluation.stats[0] == pytest.approx(1) and len(evaluation.stats) == 12
    assert all("bbox" in result for result in results)  # the caller's results are unchanged


class Recording(DatasetEvaluator):
    def __init__(self, results):
        self.results, self.batches = results, []

    def reset(self):
        self.batches = []

    def process(self, inputs, outputs):
        self.batches.append((inputs, outputs))

    def evaluate(self):
        return self.results


def test_inference_on_dataset():
    class Model(nn.Module):
        def forward(self, inputs):
            assert not self.training and not torch.is_grad_enabled()
            return [value * 2 for value in inputs]

    model = Model()
    model.train()
    evaluator = Recording({"task": {"AP": 1.0}})
    calls = []
    callbacks = {
        name: lambda name=name: calls.append(name)
        for name in ("on_start", "before_inference", "after_inference", "on_end")
    }
    assert inference_on_dataset(model, [[1], [2]], evaluator, callbacks) == {"task": {"AP": 1.0}}
    assert evaluator.batches == [([1], [2]), ([2], [4])]
    assert calls == ["on_start", *["before_inference", "after_inference"] * 2, "on_end"]
    assert model.training and torch.is_grad_enabled()
    assert inference_on_dataset(model, [[1]], None) == {}
    assert inference_on_dataset(model, [[1]], [Recording(None), Recording({"a": {}})]) == {"a": {}}


def test_dataset_evaluators_merge():
    merged = DatasetEvaluators([Recording({"a": {"x": 1}}), Recording(None), Recording({"b": {"y": 2}})])
    assert merged.evaluate() == {"a": {"x": 1}, "b": {"y": 2}}
    with pytest.raises(AssertionError):
        DatasetEvaluators([Recording({"a": {}}), Recording({"a": {}})]).evaluate()


def test_print_csv_format(caplog):
    logger = logging.getLogger("detectron2.evaluation.testing")
    logger.addHandler(caplog.handler)
    logger.setLevel(logging.INFO)
    try:
        print_csv_format({"segm": {"AP": 12.34567, "AP50": 50.0, "AP-cat": 1.0}})
    finally:
        logger.removeHandler(caplog.handler)
        logger.setLevel(logging.NOTSET)
    messages = list(dict.fromkeys(record.getMessage() for record in caplog.records))
    assert messages == ["copypaste: Task: segm", "copypaste: AP,AP50", "copypaste: 12.3457,50.0000"]


@pytest.mark.parametrize(
    ("expected", "passes"),
    [
        ([], True),
        ([["bbox", "AP", 40.0, 1.0]], True),
        ([["bbox", "AP", 40.0, 0.1]], False),  # outside of the tolerance
        ([["bbox", "AP9", 40.0, 1.0]], False),  # no such metric
        ([["bbox", "APl", 40.0, 100.0]], False),  # not a number
    ],
)
def test_verify_results(expected, passes):
    cfg = get_cfg()
    cfg.TEST.EXPECTED_RESULTS = expected
    results = {"bbox": {"AP": 40.5, "APl": float("nan")}}
    if passes:
        assert verify_results(cfg, results) is True
    else:
        with pytest.raises(SystemExit) as caught:
            verify_results(cfg, results)
        assert caught.value.code == 1


def test_flatten_results_dict():
    assert flatten_results_dict({"a": {"b": {"c": 1}, "d": 2}, "e": 3}) == {"a/b/c": 1, "a/d": 2, "e": 3}
