"""Ground truth in the frame of the visual encoder's masks (stages `rma` and `masq_tuning`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..structures import annotated_masks, padded_masks


def encoder_targets(
    batched_inputs: Sequence[dict], frame_hw: Sequence[tuple[int, int]], hw: tuple[int, int] | None, device
) -> list[dict[str, Tensor]]:
    """Annotated masks and classes of each image.

    Args:
        batched_inputs: per image "image" (3, H, W) and "instances" with gt_masks, gt_classes.
        frame_hw: (height, width) in pixels of each encoder input: of the image, or of the padded batch.
        hw: size to which all masks are resized, nearest neighbor; None: the largest frame.
        device: of the result.

    Returns:
        Per image "labels" (N,) int64 and "masks" (N, h, w) bool; N may be 0.
    """
    hw = hw or tuple(max(sides) for sides in zip(*frame_hw, strict=True))
    targets = []
    for record, frame in zip(batched_inputs, frame_hw, strict=True):
        if "instances" not in record:
            raise ValueError(
                f"Training needs annotations; the record of {record.get('file_name', 'an image')} has no 'instances'."
            )
        instances = record["instances"]
        masks = annotated_masks(instances, record["image"].shape[-2:]).to(device)
        masks = padded_masks(masks, frame)
        if tuple(frame) != tuple(hw):
            masks = F.interpolate(masks[:, None].float(), hw, mode="nearest")[:, 0].bool()
        labels = instances.gt_classes if instances.has("gt_classes") else torch.zeros(0, dtype=torch.int64)
        targets.append({"labels": labels.to(device), "masks": masks})
    return targets
