import contextlib
import io
import json
import math

import numpy as np
import pytest
import torch
from detectron2.evaluation import COCOEvaluator, DatasetEvaluators
from detectron2.structures import Boxes, Instances

from masqclip_d2.evaluation import InstanceEvaluator, PanopticEvaluator, SemanticEvaluator
from masqclip_d2.fusion import boxes_from_masks


def noisy(record, output):
    """Shifted copies of the truth, most with its class, and random masks; the same on every call."""
    generator = torch.Generator().manual_seed(record["image_id"])
    truth = output["instances"]
    masks = [mask.roll(shift, 1) for mask in truth.pred_masks for shift in (1, 2, 3)]
    masks += [torch.rand(24, 32, generator=generator) > 0.7 for _ in range(3)]
    masks = torch.stack(masks)
    found = Instances((24, 32), pred_masks=masks, scores=torch.rand(len(masks), generator=generator))
    wrong = torch.randint(0, 2, (len(masks) - 2 * len(truth),), generator=generator)
    found.pred_classes = torch.cat([truth.pred_classes.repeat_interleave(3)[: 2 * len(truth)], wrong])
    found.pred_boxes = Boxes(boxes_from_masks(masks))
    output["instances"] = found
    del output["proposals"]  # Detectron2's evaluator would take them for box proposals


def test_ground_truth_as_prediction_gives_100(tiny_dataset):
    results = tiny_dataset.evaluate(InstanceEvaluator(tiny_dataset.name))
    assert set(results) == {"bbox", "segm"}
    for metrics in results.values():
        expected = {"AP", "AP50", "AP75", "APs", "AP_base", "AP50_base", "AP_novel", "AP50_novel", "AP-cat", "AP-dog"}
        assert {key for key, value in metrics.items() if value == pytest.approx(100)} == expected
        assert math.isnan(metrics["APm"]) and math.isnan(metrics["APl"])  # no such object


def test_equals_the_evaluator_of_detectron2(tiny_dataset):
    ours = tiny_dataset.evaluate(InstanceEvaluator(tiny_dataset.name), noisy)
    detectron2s = COCOEvaluator(tiny_dataset.name, tasks=("bbox", "segm"), distributed=False)
    detectron2s.reset()
    with contextlib.redirect_stdout(io.StringIO()):
        expected = tiny_dataset.evaluate(detectron2s, noisy)
    for task in ("bbox", "segm"):
        assert 0 < expected[task]["AP"] < 100
        common = {key: ours[task][key] for key in expected[task]}
        assert common == pytest.approx(expected[task], nan_ok=True)


def test_groups_are_means_over_their_categories(tiny_dataset):
    metrics = tiny_dataset.evaluate(InstanceEvaluator(tiny_dataset.name), noisy)["segm"]
    assert len({metrics[key] for key in ("AP", "AP50", "AP75")}) == 3  # they are distinguishable
    assert metrics["AP_base"] == pytest.approx(metrics["AP-cat"])
    assert metrics["AP_novel"] == pytest.approx(metrics["AP-dog"])
    assert metrics["AP"] == pytest.approx((metrics["AP-cat"] + metrics["AP-dog"]) / 2)
    assert metrics["AP50"] == pytest.approx((metrics["AP50_base"] + metrics["AP50_novel"]) / 2)


def test_no_detections_score_zero(tiny_dataset):
    def nothing(record, output):
        output["instances"] = output["instances"][torch.zeros(len(output["instances"]), dtype=torch.bool)]

    metrics = tiny_dataset.evaluate(InstanceEvaluator(tiny_dataset.name), nothing)["segm"]
    assert metrics["AP"] == 0 and metrics["AP_novel"] == 0 and math.isnan(metrics["APl"])


def test_predicted_stuff_is_left_out_and_unknown_categories_are_named(tiny_dataset):
    def all_sky(record, output):
        output["instances"].pred_classes[:] = 3

    assert tiny_dataset.evaluate(InstanceEvaluator(tiny_dataset.name), all_sky)["segm"]["AP"] == 0

    def unknown(record, output):
        output["instances"].pred_classes[:] = 4

    with pytest.raises(ValueError, match="image 7 has the category 4"):
        tiny_dataset.evaluate(InstanceEvaluator(tiny_dataset.name), unknown)


def test_things_may_have_any_contiguous_ids(tiny_dataset):
    metadata = tiny_dataset.metadata
    for key in ("thing_dataset_id_to_contiguous_id", "stuff_dataset_id_to_contiguous_id", "vocabulary"):
        delattr(metadata, key)
    # Stuff first; Detectron2's evaluator refuses this.
    metadata.thing_dataset_id_to_contiguous_id = {1: 2, 5: 3}
    metadata.stuff_dataset_id_to_contiguous_id = {92: 0, 200: 1, 1: 2, 5: 3}
    metadata.vocabulary = {
        "names": ["grass", "sky", "cat", "dog"],
        "is_thing": [False, False, True, True],
        "groups": {"base": [0, 1, 2], "novel": [3]},
    }

    def renumber(record, output):
        noisy(record, output)
        output["instances"].pred_classes += 2

    metrics = tiny_dataset.evaluate(InstanceEvaluator(tiny_dataset.name), renumber)["segm"]
    assert metrics["AP_novel"] == pytest.approx(metrics["AP-dog"]) and 0 < metrics["AP"] < 100


def test_metrics_do_not_depend_on_the_other_tasks(tiny_dataset):
    alone = tiny_dataset.evaluate(InstanceEvaluator(tiny_dataset.name), noisy)
    evaluators = [kind(tiny_dataset.name) for kind in (PanopticEvaluator, SemanticEvaluator, InstanceEvaluator)]
    together = tiny_dataset.evaluate(DatasetEvaluators(evaluators), noisy)
    assert set(together) == {"panoptic_seg", "sem_seg", "bbox", "segm"}
    for task, metrics in alone.items():
        assert together[task] == pytest.approx(metrics, nan_ok=True)


def test_two_processes_are_one(tiny_dataset, two_processes):
    whole = tiny_dataset.evaluate(InstanceEvaluator(tiny_dataset.name), noisy)
    evaluators = [InstanceEvaluator(tiny_dataset.name) for _ in range(2)]
    for index, record in enumerate(tiny_dataset.records):
        output = tiny_dataset.perfect(record)
        noisy(record, output)
        evaluators[index % 2].process([record], [output])
    merged = two_processes(*evaluators)
    for task in whole:
        assert merged[task] == pytest.approx(whole[task], nan_ok=True)


def test_area_limits_come_from_the_metadata(tiny_dataset):
    tiny_dataset.metadata.area_limits = (20, 60)  # cats of 64 and 16 pixels, a dog of 100
    metrics = tiny_dataset.evaluate(InstanceEvaluator(tiny_dataset.name))["segm"]
    assert [metrics[key] for key in ("APs", "APl")] == pytest.approx([100, 100])
    assert math.isnan(metrics["APm"])


def test_unpredicted_images_are_logged_and_unknown_ones_refused(tiny_dataset, caplog):
    evaluator = InstanceEvaluator(tiny_dataset.name)
    record = tiny_dataset.records[0]
    evaluator.process([record], [tiny_dataset.perfect(record)])
    assert evaluator.evaluate()["segm"]["AP-cat"] < 100
    assert "2 of 3 images" in caplog.text
    with pytest.raises(ValueError, match="image 99 .*not in its instance ground truth"):
        evaluator.process([{"image_id": 99}], [tiny_dataset.perfect(record)])


def test_results_are_written_with_the_datasets_ids(tiny_dataset, tmp_path):
    tiny_dataset.evaluate(InstanceEvaluator(tiny_dataset.name, str(tmp_path / "out"), tasks=("segm",)))
    written = json.loads((tmp_path / "out" / "coco_instances_results.json").read_text())
    assert sorted(result["category_id"] for result in written) == [1, 1, 5]
    assert np.isfinite([result["score"] for result in written]).all()


def test_missing_ground_truth_and_unknown_tasks_are_named(tiny_dataset):
    with pytest.raises(ValueError, match="keypoints"):
        InstanceEvaluator(tiny_dataset.name, tasks=("keypoints",))
    (tiny_dataset.folder / "instances.json").unlink()
    with pytest.raises(FileNotFoundError, match="instances.json"):
        InstanceEvaluator(tiny_dataset.name)
    del tiny_dataset.metadata.json_file
    with pytest.raises(ValueError, match="no metadata 'json_file'"):
        InstanceEvaluator(tiny_dataset.name)
