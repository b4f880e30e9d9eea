"""Labels of proposals by dice, and the class loss of MasQ-Tuning."""

import math

import pytest
import torch

from masqclip_d2.losses.masq_tuning import IGNORED, assign_labels, masq_tuning_loss


def test_every_proposal_above_the_dice_threshold_gets_a_label():
    target = torch.zeros(2, 4, 10)
    target[0, :, :4] = 1
    target[1, :, 6:] = 1
    logits = torch.full((4, 4, 10), -1.0)
    logits[0, :, :4] = 1  # target 0
    logits[1, :, :5] = 1  # target 0 and a column more: dice (2 * 16 + 1) / 37 = 0.89
    logits[2, :, 3:7] = 1  # a column of each: dice 9 / 33
    logits[3, :, 6:] = 0  # exactly 0 is outside
    labels = assign_labels(logits, target, torch.tensor([5, 7]), num_classes=9)
    assert labels.tolist() == [5, 5, 9, 9]
    assert assign_labels(logits, target, torch.tensor([5, 7]), num_classes=9, dice_threshold=0.9).tolist() == [
        5,
        9,
        9,
        9,
    ]


def test_without_ground_truth_all_labels_are_no_object():
    labels = assign_labels(torch.ones(3, 4, 4), torch.zeros(0, 4, 4), torch.zeros(0, dtype=torch.int64), 6)
    assert labels.tolist() == [6, 6, 6]


def test_an_empty_proposal_does_not_match_an_empty_mask():
    logits = torch.full((2, 4, 4), -1.0)
    logits[1, 0, 0] = 1.0
    target = torch.zeros(1, 4, 4)  # dice with the first proposal: (0 + 1) / (0 + 0 + 1) = 1
    assert assign_labels(logits, target, torch.tensor([5]), num_classes=9).tolist() == [9, 9]


def test_loss_equals_its_formula():
    logits = torch.tensor([[[math.log(3.0), 0.0], [0.0, 0.0]]])  # B = 1, Q = 2, K = 1
    labels = torch.tensor([[0, 1]])
    expected = (1.0 * -math.log(3 / 4) + 0.1 * math.log(2)) / 1.1
    assert masq_tuning_loss(logits, labels).item() == pytest.approx(expected, rel=1e-6)
    filled_up = torch.cat([logits, torch.tensor([[[7.0, -7.0]]])], dim=1)
    assert masq_tuning_loss(filled_up, torch.tensor([[0, 1, IGNORED]])).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("labels", [[], [IGNORED, IGNORED]], ids=["no proposals", "padding only"])
def test_loss_without_proposals_is_zero_and_differentiable(labels):
    logits = torch.randn(1, len(labels), 3, requires_grad=True)
    loss = masq_tuning_loss(logits, torch.tensor([labels], dtype=torch.int64))
    loss.backward()
    assert loss == 0 and (logits.grad == 0).all()
