import contextlib
import io
import math

import numpy as np
import pytest
import torch
from detectron2.structures import Instances

from masqclip_d2.evaluation import ProposalRecallEvaluator
from masqclip_d2.evaluation.proposal_recall import IOU_THRESHOLDS, count_found, mask_iou


def test_iou_of_masks_by_hand_and_of_empty_ones():
    masks = torch.tensor([[[1, 1, 0, 0]], [[0, 0, 0, 0]]], dtype=torch.bool)
    others = torch.tensor([[[0, 1, 1, 0]], [[1, 1, 0, 0]], [[0, 0, 0, 0]]], dtype=torch.bool)
    torch.testing.assert_close(mask_iou(masks, others), torch.tensor([[1 / 3, 1, 0], [0, 0, 0]], dtype=torch.float64))
    assert mask_iou(masks[:0], others).shape == (0, 3)
    assert mask_iou(masks, others[:0]).shape == (2, 0)


def test_each_proposal_takes_the_best_free_object():
    # Proposal 0 takes object 1 (0.9). Proposal 1 also overlaps it most, but only object 0 (0.6) is free.
    iou = np.array([[0.7, 0.9], [0.6, 0.8]])
    found = count_found(iou, np.array([0.5, 0.65, 0.95]), (1, 2))
    assert found.tolist() == [[1, 1, 0], [2, 1, 0]]


def test_an_iou_equal_to_the_threshold_is_enough():
    assert count_found(np.array([[0.5]]), np.array([0.5, 0.55]), (1,)).tolist() == [[1, 0]]


def test_no_objects_and_no_proposals():
    assert count_found(np.zeros((0, 3)), IOU_THRESHOLDS, (1, 10)).sum() == 0
    assert count_found(np.zeros((3, 0)), IOU_THRESHOLDS, (1, 10)).sum() == 0


def test_ground_truth_as_proposals(tiny_dataset):
    metrics = tiny_dataset.evaluate(ProposalRecallEvaluator(tiny_dataset.name))["proposals"]
    # Three objects in two images: the best proposal of each image finds two of them.
    assert metrics["AR@1"] == pytest.approx(200 / 3)
    assert {key: metrics[key] for key in ("AR@10", "AR@100", "ARs@100", "AR@100_base", "AR@100_novel")} == {
        key: 100.0 for key in ("AR@10", "AR@100", "ARs@100", "AR@100_base", "AR@100_novel")
    }
    assert math.isnan(metrics["ARm@100"]) and math.isnan(metrics["ARl@100"])


def noisy(record, output):
    """Shifted, grown and random masks with random scores; the same on every call."""
    generator = torch.Generator().manual_seed(record["image_id"])
    truth = output["proposals"].pred_masks
    masks = [mask.roll(shift, 1) for mask in truth for shift in (0, 1, 2)]
    masks += [truth.any(0), torch.rand(24, 32, generator=generator) > 0.5]
    masks = torch.stack(masks)[torch.randperm(len(masks), generator=generator)]
    scores = torch.rand(len(masks), generator=generator)
    output["proposals"] = Instances((24, 32), pred_masks=masks, scores=scores)


@pytest.mark.parametrize("group", [None, "base", "novel"])
def test_equals_pycocotools_without_categories(tiny_dataset, group):
    """pycocotools with useCats = 0; objects outside the group are marked as to be ignored."""
    from pycocotools import mask as coco_mask
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    tiny_dataset.metadata.area_limits = (20, 80)
    limits = (1, 2, 100)
    metrics = tiny_dataset.evaluate(ProposalRecallEvaluator(tiny_dataset.name, limits), noisy)["proposals"]

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(tiny_dataset.metadata.json_file)
        kept = {None: {1, 5}, "base": {1}, "novel": {5}}[group]
        results = []
        for record in tiny_dataset.records:
            output = tiny_dataset.perfect(record)
            noisy(record, output)
            proposals = output["proposals"]
            for mask, score in zip(proposals.pred_masks.numpy(), proposals.scores.tolist(), strict=True):
                rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
                result = {"image_id": record["image_id"], "category_id": 1, "segmentation": rle, "score": score}
                results.append(result)
        evaluation = COCOeval(coco, coco.loadRes(results), "segm")
        for annotation in coco.anns.values():
            annotation["iscrowd"] = int(annotation["iscrowd"] or annotation["category_id"] not in kept)
        evaluation.params.useCats = 0
        evaluation.params.maxDets = list(limits)
        evaluation.params.areaRng = [[0, 1e10], [0, 20], [20, 80], [80, 1e10], [20, 1e10]]
        evaluation.params.areaRngLbl = ["all", "small", "medium", "large", "medium or large"]
        evaluation.evaluate()
        evaluation.accumulate()
    recall = evaluation.eval["recall"][:, 0]  # (IoU thresholds, areas, limits)
    recall = 100 * np.where(recall < 0, np.nan, recall)
    at_50, at_80 = recall[0, :, -1], recall[6, :, -1]
    recall = recall.mean(0)
    if group is None:
        ours = [metrics[f"AR@{limit}"] for limit in limits] + [metrics[f"AR{size}@100"] for size in "sml"]
        ours += [metrics[key] for key in ("R50@100", "R80@100", "R50ml@100", "R80ml@100")]
        expected = [*recall[0], *recall[1:4, -1], at_50[0], at_80[0], at_50[4], at_80[4]]
        assert 0 < ours[0] < ours[1] < ours[2] < 101
    else:
        ours, expected = [metrics[f"AR@{limit}_{group}"] for limit in limits], [*recall[0]]
    assert ours == pytest.approx(expected, nan_ok=True)


def test_two_processes_are_one(tiny_dataset, two_processes):
    whole = tiny_dataset.evaluate(ProposalRecallEvaluator(tiny_dataset.name), noisy)["proposals"]
    evaluators = [ProposalRecallEvaluator(tiny_dataset.name) for _ in range(2)]
    for index, record in enumerate(tiny_dataset.records):
        output = tiny_dataset.perfect(record)
        noisy(record, output)
        evaluators[index % 2].process([record], [output])
    assert two_processes(*evaluators)["proposals"] == pytest.approx(whole, nan_ok=True)


def test_no_proposals_find_nothing(tiny_dataset):
    def nothing(record, output):
        output["proposals"] = output["proposals"][torch.zeros(len(output["proposals"]), dtype=torch.bool)]

    metrics = tiny_dataset.evaluate(ProposalRecallEvaluator(tiny_dataset.name), nothing)["proposals"]
    assert metrics["AR@100"] == 0 and metrics["AR@100_novel"] == 0


def test_bad_input_is_named(tiny_dataset):
    with pytest.raises(ValueError, match="increasing"):
        ProposalRecallEvaluator(tiny_dataset.name, limits=(10, 1))
    evaluator = ProposalRecallEvaluator(tiny_dataset.name)
    record = tiny_dataset.records[0]
    with pytest.raises(ValueError, match="image 99"):
        evaluator.process([{"image_id": 99}], [tiny_dataset.perfect(record)])
    wrong = Instances((12, 16), pred_masks=torch.zeros(1, 12, 16, dtype=torch.bool), scores=torch.ones(1))
    with pytest.raises(ValueError, match=r"image 7: proposals have \(12, 16\) pixels, the ground truth \(24, 32\)"):
        evaluator.process([record], [{"proposals": wrong}])
    tiny_dataset.metadata.area_limits = (50, 20)
    with pytest.raises(ValueError, match="area_limits"):
        ProposalRecallEvaluator(tiny_dataset.name)
