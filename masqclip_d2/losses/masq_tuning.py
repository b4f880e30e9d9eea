"""MasQ-Tuning (MasQCLIP, stage 2): which category each proposal learns, and the loss.

Shape shorthand: B images, Q mask proposals, K categories, T ground-truth masks of an image, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .dice import pairwise_dice

IGNORED = -100  # label of what fills up images with fewer proposals than others of the batch


@torch.no_grad()
def assign_labels(
    mask_logits: Tensor, target_masks: Tensor, target_classes: Tensor, num_classes: int, dice_threshold: float = 0.6
) -> Tensor:
    """Give each proposal the category of the ground-truth mask that it overlaps most, if it does enough.

    Many proposals may take the same mask, and many take none; there is no bipartite matching.

    Differs from the published code, where an empty proposal takes an empty mask (an object that vanished when masks
    were made smaller), since their smoothed dice is 1: here it takes none.

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
    inside = (mask_logits > 0).flatten(1)
    dice = pairwise_dice(inside.float(), target_masks.flatten(1).float())  # (Q, T)
    best, target = dice.max(dim=1)
    return torch.where((best > dice_threshold) & inside.any(dim=1), target_classes[target], labels)


def assign_batch_labels(
    mask_logits: Tensor,
    num_proposals: Sequence[int],
    targets: Sequence[dict[str, Tensor]],
    num_classes: int,
    dice_threshold: float = 0.6,
) -> Tensor:
    """`assign_labels` for each image of a batch.

    Args:
        mask_logits: (B, Q, H, W) float.
        num_proposals: of each image; masks after them only fill up the batch.
        targets: per image "masks" (T, H, W) and "labels" (T,).
        num_classes, dice_threshold: see `assign_labels`.

    Returns:
        (B, Q) int64; `IGNORED` for masks that only fill up the batch.
    """
    labels = [
        assign_labels(masks[:count], target["masks"], target["labels"], num_classes, dice_threshold)
        for masks, count, target in zip(mask_logits, num_proposals, targets, strict=True)
    ]
    return pad_sequence(labels, batch_first=True, padding_value=IGNORED)


def masq_tuning_loss(class_logits: Tensor, labels: Tensor, no_object_weight: float = 0.1) -> Tensor:
    """Weighted mean cross-entropy of all proposals of the batch.

    Args:
        class_logits: (..., K + 1) float, the last column that of the extra class "background".
        labels: (...) int64 in [0, K]; K: the extra class. `IGNORED`: no proposal, only filling up.
        no_object_weight: weight of proposals with label K, others have 1.

    Returns:
        () float32; zero where no proposal has a weight.
    """
    class_logits, labels = class_logits.float().flatten(0, -2), labels.flatten()
    weight = torch.ones(class_logits.shape[-1], device=class_logits.device)
    weight[-1] = no_object_weight
    total = weight[labels.clamp(min=0)][labels != IGNORED].sum()
    loss = F.cross_entropy(class_logits, labels, weight, ignore_index=IGNORED, reduction="sum")
    return loss / total.clamp(min=torch.finfo(total.dtype).tiny)
