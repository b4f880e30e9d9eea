import math

import pytest
import torch

from masqclip_d2.training.masq_tuning import assign_labels, masq_tuning_loss


def test_labels_go_to_every_proposal_that_overlaps_enough():
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


def test_image_without_ground_truth_teaches_no_object():
    labels = assign_labels(torch.ones(3, 4, 4), torch.zeros(0, 4, 4), torch.zeros(0, dtype=torch.int64), 6)
    assert labels.tolist() == [6, 6, 6]


def test_loss_by_hand():
    logits = torch.tensor([[[math.log(3.0), 0.0], [0.0, 0.0]]])  # B = 1, Q = 2, K = 1
    labels = torch.tensor([[0, 1]])
    expected = (1.0 * -math.log(3 / 4) + 0.1 * math.log(2)) / 1.1
    assert masq_tuning_loss(logits, labels).item() == pytest.approx(expected, rel=1e-6)
