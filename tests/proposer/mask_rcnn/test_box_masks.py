"""Pasting of box masks inverts torchvision's cropping of training targets."""

import pytest
import torch

from masqclip_d2.fusion import boxes_from_masks
from masqclip_d2.proposer.mask_rcnn.box_masks import paste_box_masks
from masqclip_d2.structures import CERTAIN_LOGIT


def test_hand_computed():
    """A 2 x 2 mask, left half inside, in a box of 4 x 4 pixels: two columns inside, one undecided, one outside."""
    mask = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    logits = paste_box_masks(mask, torch.tensor([[1.0, 2.0, 5.0, 6.0]]), (8, 7))
    expected = torch.full((8, 7), -CERTAIN_LOGIT)
    expected[2:6, 1:5] = torch.tensor([CERTAIN_LOGIT, CERTAIN_LOGIT, 0.0, -CERTAIN_LOGIT])
    torch.testing.assert_close(logits[0], expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("radius", [4, 8, 20, 60])
def test_pasting_a_training_target_restores_its_mask(radius):
    from torchvision.models.detection.roi_heads import project_masks_on_boxes

    y, x = torch.meshgrid(torch.arange(150) + 0.5, torch.arange(130) + 0.5, indexing="ij")
    centers = torch.rand(8, 2) * 10 + 60
    y, x = y - centers[:, :1, None], x - centers[:, 1:, None]
    masks = torch.cat([y**2 + x**2 < radius**2, (y.abs() < radius) & (x.abs() < radius / 2)])
    masks = torch.cat([masks, masks[:8] & (y + x < radius / 2)])
    boxes = boxes_from_masks(masks)
    targets = project_masks_on_boxes(masks.to(torch.uint8), boxes, torch.arange(len(masks)), 28)
    pasted = paste_box_masks(targets, boxes, (150, 130)) > 0
    iou = (pasted & masks).sum((1, 2)) / (pasted | masks).sum((1, 2))
    assert iou.min() > 0.97


def test_pixels_with_their_center_in_the_box_belong_to_it():
    boxes = torch.tensor([[0.0, 0.0, 3.0, 2.0], [1.4, 0.6, 3.6, 2.4], [4.6, 1.0, 5.4, 9.0], [5.0, 1.0, 6.0, 2.0]])
    inside = paste_box_masks(torch.ones(4, 28, 28), boxes, (6, 6)) > 0
    expected = torch.zeros(4, 6, 6, dtype=torch.bool)
    expected[0, 0:2, 0:3] = expected[1, 1:2, 1:4] = expected[3, 1, 5] = True
    assert torch.equal(inside, expected)  # the third box holds no center


def test_logits_are_bounded_and_positive_inside():
    probs = torch.tensor([0.0, 0.3, 0.5001, 1.0]).view(4, 1, 1).expand(4, 7, 7)
    logits = paste_box_masks(probs, torch.tensor([[0.0, 0.0, 5.0, 5.0]]).expand(4, 4), (5, 5))
    assert torch.isfinite(logits).all() and logits.abs().max() < CERTAIN_LOGIT + 0.01
    assert (logits > 0).flatten(1).all(1).tolist() == [False, False, True, True]
    torch.testing.assert_close(logits[1], torch.tensor(0.3).logit().expand(5, 5))


def test_no_masks():
    assert paste_box_masks(torch.zeros(0, 28, 28), torch.zeros(0, 4), (5, 6)).shape == (0, 5, 6)


def test_autocast_does_not_affect_the_geometry():
    probs, boxes = torch.rand(3, 28, 28), torch.tensor([[3.3, 4.7, 90.1, 77.7]]).expand(3, 4)
    expected = paste_box_masks(probs, boxes, (96, 96))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(paste_box_masks(probs, boxes, (96, 96)), expected)
