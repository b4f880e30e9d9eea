"""Resizing of predictions to the requested size."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def sem_seg_postprocess(result: Tensor, img_size: tuple[int, int], output_height: int, output_width: int) -> Tensor:
    """Remove the padding and resize to the output size.

    Args:
        result: (C, H, W) logits or probabilities of the padded image.
        img_size: (height, width) of the image without padding, at the top left of `result`.

    Returns:
        (C, output_height, output_width), bilinear, corners not aligned.
    """
    height, width = img_size
    unpadded = result[None, :, :height, :width]
    return F.interpolate(unpadded, size=(output_height, output_width), mode="bilinear", align_corners=False)[0]
