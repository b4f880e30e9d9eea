"""MasQ-Tuning (MasQCLIP, stage 2): category labels of proposals, and the loss.

Shape shorthand: B images, Q mask proposals, K categories, T ground-truth masks of an image, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .dice import pairwise_dice

IGNORED = -100  # label of padding, in images with fewer proposals than the largest of the batch


@torch.no_grad()
def assign_labels(
    mask_logits: Tensor, target_masks: Tensor, target_classes: Tensor, num_classes: int, dice_threshold: float = 0.6
) -> Tensor:
    """Label each proposal with the category of the ground-truth mask of highest dice, if above a threshold.

    Several proposals may get the label of the same mask; there is no bipartite matching.

    Differs from the published code, where an empty proposal matches an empty mask (an object that vanished when masks
    were downsampled), since their smoothed dice is 1: here it gets no label.

    Args:
        mask_logits: (Q, H, W) float; a pixel is inside if its logit is positive.
        target_masks: (T, H, W) bool or 0/1 at the same resolution; T may be 0.
        target_classes: (T,) int64 in [0, K).
        num_classes: K, also the label of "no object".
        dice_threshold: in [0, 1].

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
        num_proposals: of each image; masks after them are padding.
        targets: per image "masks" (T, H, W) and "labels" (T,).
        num_classes, dice_threshold: see `assign_labels`.

    Returns:
        (B, Q) int64; `IGNORED` for padding.
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
        labels: (...) int64 in [0, K]; K: the extra class. `IGNORED`: padding.
        no_object_weight: weight of proposals with label K; all others: 1.

    Returns:
        () float32; zero if no proposal has a weight.
    """
    class_logits, labels = class_logits.float().flatten(0, -2), labels.flatten()
    weight = torch.ones(class_logits.shape[-1], device=class_logits.device)
    weight[-1] = no_object_weight
    total = weight[labels.clamp(min=0)][labels != IGNORED].sum()
    loss = F.cross_entropy(class_logits, labels, weight, ignore_index=IGNORED, reduction="sum")
    return loss / total.clamp(min=torch.finfo(total.dtype).tiny)
