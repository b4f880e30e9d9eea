"""Hungarian matching of queries and targets."""

import pytest
import torch

from masqclip_d2.losses.matcher import FlatTargets, HungarianMatcher, draw_uniform_points


def _squares(*corners, size=16, side=6):
    masks = torch.zeros(len(corners), size, size, dtype=torch.bool)
    for mask, (top, left) in zip(masks, corners, strict=True):
        mask[top : top + side, left : left + side] = True
    return masks


def _target(*corners, label=0):
    return {"labels": torch.full((len(corners),), label), "masks": _squares(*corners)}


def _matcher(**weights):
    return HungarianMatcher(**{"class_weight": 2.0, "mask_weight": 5.0, "dice_weight": 5.0, **weights}, num_points=200)


def test_each_target_is_matched_to_the_query_with_its_mask():
    targets = [_target((0, 0), (9, 9)), _target(), _target((0, 9))]
    visible = [[(9, 9), (0, 9), (0, 0)], [(0, 0), (0, 9), (9, 9)], [(0, 0), (9, 9), (0, 9)]]
    pred_masks = torch.stack([_squares(*corners) for corners in visible]).float() * 20 - 10
    flat = FlatTargets.from_list(targets, num_classes=1)
    matches = _matcher()(torch.zeros(3, 3, 2), pred_masks, flat, draw_uniform_points)
    assert [(query.tolist(), target.tolist()) for query, target in matches] == [
        ([0, 2], [1, 0]),
        ([], []),
        ([2], [0]),
    ]


def test_class_decides_between_equal_masks():
    targets = [{"labels": torch.tensor([1]), "masks": _squares((0, 0))}]
    pred_logits = torch.tensor([[[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]]])
    flat = FlatTargets.from_list(targets, num_classes=2)
    [(query, _)] = _matcher()(pred_logits, torch.zeros(1, 3, 16, 16), flat, draw_uniform_points)
    assert query.tolist() == [1]


def test_costs_equal_their_formulas():
    # Points at centers of pixels; the target covers the left of two pixels.
    flat = FlatTargets.from_list([{"labels": torch.tensor([0]), "masks": torch.tensor([[[1, 0]]])}], num_classes=1)
    points = torch.tensor([[[0.25, 0.5], [0.75, 0.5]]])
    x = torch.tensor([[[[1.0, -2.0]]]])  # (B, Q, h, w)
    matcher = HungarianMatcher(class_weight=2.0, mask_weight=3.0, dice_weight=5.0, num_points=2)
    [cost] = matcher.costs(torch.tensor([[[0.0, 1.0]]]), x, flat, points)
    cross_entropy = (torch.tensor(1.0).neg().exp().log1p() + torch.tensor(-2.0).exp().log1p()) / 2
    p = torch.tensor([1.0, -2.0]).sigmoid()
    dice = (2 * p[0] + 1) / (p.sum() + 1 + 1)
    object_probability = 1 / (1 + torch.tensor(1.0).exp())
    expected = 3 * cross_entropy + 5 * (1 - dice) - 2 * object_probability
    torch.testing.assert_close(cost, expected.view(1, 1))


def test_more_targets_than_queries():
    flat = FlatTargets.from_list([_target((0, 0), (0, 9), (9, 0))], num_classes=1)
    [(query, target)] = _matcher()(None, torch.randn(1, 2, 8, 8), flat, draw_uniform_points)
    assert query.tolist() == [0, 1]
    assert len(set(target.tolist())) == 2


def test_a_batch_without_targets():
    flat = FlatTargets.from_list([_target(), _target()], num_classes=1)
    matches = _matcher()(torch.zeros(2, 3, 2), torch.zeros(2, 3, 8, 8), flat, draw_uniform_points)
    assert [(len(query), len(target)) for query, target in matches] == [(0, 0), (0, 0)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_predictions_that_are_not_finite_are_an_error_with_a_hint(value):
    flat = FlatTargets.from_list([_target(), _target((0, 0))], num_classes=1)
    pred_masks = torch.zeros(2, 3, 8, 8)
    pred_masks[1, 2] = value
    with pytest.raises(FloatingPointError, match="image 1 .*BASE_LR"):
        _matcher()(torch.zeros(2, 3, 2), pred_masks, flat, draw_uniform_points)


def test_targets_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="image 0: expected masks .* for 1 labels"):
        FlatTargets.from_list([{"labels": torch.zeros(1), "masks": torch.zeros(2, 4, 4)}], num_classes=1)
    with pytest.raises(ValueError, match="differ in size: .*padded batch"):
        FlatTargets.from_list(
            [_target((0, 0)), {"labels": torch.zeros(1), "masks": torch.zeros(1, 4, 4)}], num_classes=1
        )
    with pytest.raises(ValueError, match="lie in 3..3, but there are 1 classes"):
        FlatTargets.from_list([_target((0, 0), label=3)], num_classes=1)


def test_size_of_an_image_without_targets_does_not_matter():
    empty = {"labels": torch.zeros(0), "masks": torch.zeros(0, 4, 4)}
    flat = FlatTargets.from_list([empty, _target((0, 0), (1, 1))], num_classes=1)
    assert flat.counts == (0, 2)
    assert flat.image_index().tolist() == [1, 1]
