import math
from pathlib import Path

import pytest
import torch

from masqclip_d2.fusion import boxes_from_masks, instance_inference
from masqclip_d2.fusion.instance import _available_memory, _reordered

CONFIDENT, FAIR = 20.0, math.log(4)  # sigmoid: 1 and 0.8


def masks_of_two():
    mask_logits = torch.full((2, 4, 6), -20.0)
    mask_logits[0, 1:3, 2:5] = CONFIDENT
    mask_logits[1, 0, 0] = FAIR
    return mask_logits


def test_score_is_class_probability_times_mean_mask_probability():
    found = instance_inference(torch.tensor([[0.1, 0.6], [0.7, 0.2]]), masks_of_two(), topk=2)
    torch.testing.assert_close(found.scores, torch.tensor([0.6, 0.7 * 0.8]))
    assert found.classes.tolist() == [1, 0]
    assert found.masks.sum((1, 2)).tolist() == [6, 1]
    assert found.boxes_xyxy.tolist() == [[2, 1, 5, 3], [0, 0, 1, 1]]


def test_a_proposal_can_occur_with_several_categories():
    found = instance_inference(torch.tensor([[0.5, 0.4], [0.1, 0.05]]), masks_of_two(), topk=3)
    assert found.classes.tolist() == [0, 1, 0]
    assert torch.equal(found.masks[0], found.masks[1])


def test_things_are_chosen_after_the_topk():
    probs = torch.tensor([[0.5, 0.9], [0.4, 0.8]])
    found = instance_inference(probs, masks_of_two(), is_thing=[True, False], topk=3)
    assert found.classes.tolist() == [0]  # of the best three (0.9, 0.8, 0.5) one is a thing
    torch.testing.assert_close(found.scores, torch.tensor([0.5]))


def test_permuting_proposals_changes_nothing():
    probs, mask_logits = torch.rand(6, 4), torch.randn(6, 5, 5)
    order = torch.randperm(6)
    found, permuted = (
        instance_inference(p, m, topk=10) for p, m in ((probs, mask_logits), (probs[order], mask_logits[order]))
    )
    assert torch.equal(found.classes, permuted.classes)
    assert torch.equal(found.masks, permuted.masks)
    torch.testing.assert_close(found.scores, permuted.scores)


def boxes_of(*columns):
    """Masks of 4 x 20 pixels that cover these ranges of columns."""
    mask_logits = torch.full((len(columns), 4, 20), -CONFIDENT)
    for mask, (first, stop) in zip(mask_logits, columns, strict=True):
        mask[:, first:stop] = CONFIDENT
    return mask_logits


def test_of_duplicates_the_best_is_kept():
    """The second mask is 9/10 of the first, the third half of it."""
    masks = boxes_of((0, 10), (0, 9), (0, 5), (0, 8))
    probs = torch.tensor([[0.3, 0.6], [0.7, 0.2], [0.5, 0.1], [0.1, 0.4]])
    # IoU of masks 1 and 2: 0.9, of 2 and 4: 0.89, of 1 and 4: 0.8
    kept = instance_inference(probs, masks, duplicate_iou=0.85)
    assert kept.classes.tolist() == [0, 0] and kept.masks.sum((1, 2)).tolist() == [36, 20]
    torch.testing.assert_close(kept.scores, torch.tensor([0.7, 0.5]))
    best_of_each = instance_inference(probs, masks, duplicate_iou=0.95)
    assert best_of_each.classes.tolist() == [0, 1, 0, 1]  # a proposal occurs once, with its best category
    assert len(instance_inference(probs, masks)) == 8
    things = instance_inference(probs, masks, [False, True], duplicate_iou=0.95)
    assert things.classes.tolist() == [1, 1, 1, 1]
    torch.testing.assert_close(things.scores, torch.tensor([0.6, 0.4, 0.2, 0.1]))
    assert len(instance_inference(probs, masks, [False, False], duplicate_iou=0.95)) == 0


def test_duplicates_of_random_masks_are_those_of_every_pair():
    torch.manual_seed(3)
    masks = torch.randn(5, 1, 9, 11).add(torch.randn(5, 4, 9, 11) * 0.3).flatten(0, 1)  # five groups of similar masks
    probs = torch.rand(20, 3)
    found = instance_inference(probs, masks, duplicate_iou=0.6)
    inside = found.masks.flatten(1).float()
    overlap = inside @ inside.T
    areas = inside.sum(1)
    iou = overlap / (areas[:, None] + areas - overlap)
    assert 5 <= len(found) < 20 and (iou - torch.eye(len(found))).max() <= 0.6
    every = instance_inference(probs, masks, duplicate_iou=0.999)
    assert len(every) == 20 and set(found.scores.tolist()) <= set(every.scores.tolist())


@pytest.mark.parametrize("num_queries, num_categories", [(0, 3), (0, 1), (4, 1)])
def test_no_proposals_and_one_category(num_queries, num_categories):
    probs, mask_logits = torch.rand(num_queries, num_categories), torch.randn(num_queries, 3, 5)
    for is_thing in (None, [True] * num_categories):
        found = instance_inference(probs, mask_logits, is_thing, topk=100)
        assert len(found) == num_queries
        assert len(instance_inference(probs, mask_logits, is_thing, duplicate_iou=0.999)) == num_queries
        assert found.masks.shape == (num_queries, 3, 5) and found.masks.dtype == torch.bool
        assert found.boxes_xyxy.shape == (num_queries, 4)


def test_boxes_of_empty_full_and_single_pixel_masks():
    masks = torch.zeros(3, 4, 7, dtype=torch.bool)
    masks[1] = True
    masks[2, 3, 6] = True
    assert boxes_from_masks(masks).tolist() == [[0, 0, 0, 0], [0, 0, 7, 4], [6, 3, 7, 4]]
    assert boxes_from_masks(masks[:0]).shape == (0, 4)


def test_refuses():
    with pytest.raises(ValueError, match="is_thing has 2 entries"):
        instance_inference(torch.rand(2, 3), torch.rand(2, 4, 4), [True, False])
    with pytest.raises(ValueError, match="topk"):
        instance_inference(torch.rand(2, 3), torch.rand(2, 4, 4), topk=0)


def test_masks_that_do_not_fit_into_memory_are_refused_before_they_are_made(monkeypatch):
    monkeypatch.setattr("masqclip_d2.fusion.instance._available_memory", lambda: 3 * 4 * 6)
    assert len(instance_inference(torch.rand(2, 3), masks_of_two(), topk=2)) == 2
    with pytest.raises(MemoryError, match=r"the instances need up to 0\.0 GB, but 0\.0 GB are available"):
        instance_inference(torch.rand(2, 3), masks_of_two(), topk=3)
    monkeypatch.setattr("masqclip_d2.fusion.instance._available_memory", lambda: None)
    assert len(instance_inference(torch.rand(2, 3), masks_of_two(), topk=3)) == 3


@pytest.mark.parametrize("count", range(7))
def test_masks_are_reordered_in_their_own_memory(count):
    masks = torch.rand(6, 3, 4) > 0.5
    order = torch.randperm(6)[:count]
    expected, address = masks[order], masks.data_ptr()
    found = _reordered(masks, order)
    assert torch.equal(found, expected)
    assert (found.data_ptr() == address) == (count > 3)


def test_available_memory_is_plausible(monkeypatch):
    available = _available_memory()
    assert available is None or 1 << 20 < available < 1 << 50
    monkeypatch.setattr(Path, "read_text", _not_there)
    assert _available_memory() is None


def _not_there(_path):
    raise FileNotFoundError


def test_overlaps_under_autocast_are_exact():
    logits = torch.full((2, 200, 203), -5.0)
    logits[0, :, :150] = logits[1, :, :148] = 5.0  # IoU 148 / 150 = 0.98667
    class_probs = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    with torch.autocast("cpu", torch.bfloat16):
        found = [len(instance_inference(class_probs, logits, duplicate_iou=iou)) for iou in (0.986, 0.987)]
    assert found == [1, 2]
