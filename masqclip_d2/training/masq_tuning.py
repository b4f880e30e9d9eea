"""MasQ-Tuning (MasQCLIP, stage 2): which category each proposal learns, and the loss.

Shape shorthand: B images, Q mask proposals, K categories, T ground-truth masks of an image, H, W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..proposer.dice import pairwise_dice


@torch.no_grad()
def assign_labels(
    mask_logits: Tensor, target_masks: Tensor, target_classes: Tensor, num_classes: int, dice_threshold: float = 0.6
) -> Tensor:
    """Give each proposal the category of the ground-truth mask that it overlaps most, if it does enough.

    Many proposals may take the same mask, and many take none; there is no bipartite matching.

    Args:
        mask_logits: (Q, H, W) float; inside where positive.
        target_masks: (T, H, W) bool or 0/1 at the same resolution; T may be 0.
        target_classes: (T,) int64 in [0, K).
        num_classes: K, which stands for no object.
        dice_threshold: smoothed dice that must be exceeded, in [0, 1].

    Returns:
        (Q,) int64 in [0, K].
    """
    labels = target_classes.new_full((len(mask_logits),), num_classes)
    if not len(target_masks):
        return labels
    dice = pairwise_dice((mask_logits > 0).flatten(1).float(), target_masks.flatten(1).float())  # (Q, T)
    best, target = dice.max(dim=1)
    return torch.where(best > dice_threshold, target_classes[target], labels)


def masq_tuning_loss(class_logits: Tensor, labels: Tensor, no_object_weight: float = 0.1) -> Tensor:
    """Weighted mean cross-entropy of all proposals of the batch.

    Args:
        class_logits: (..., K + 1) float, the last column that of the extra class "background".
        labels: (...) int64 in [0, K]; K: the extra class.
        no_object_weight: weight of proposals with label K, others have 1.

    Returns:
        () float32.
    """
    class_logits = class_logits.float().flatten(0, -2)
    weight = torch.ones(class_logits.shape[-1], device=class_logits.device)
    weight[-1] = no_object_weight
    return F.cross_entropy(class_logits, labels.flatten(), weight)
