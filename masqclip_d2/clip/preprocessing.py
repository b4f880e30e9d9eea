"""Image and masks -> what enters CLIP: square, at the encoder's resolution, CLIP-normalised.

Shape shorthand: B images, Q mask proposals, H, W pixels, R encoder resolution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Mean and standard deviation of R, G, B in [0, 1] over CLIP's training images (OpenAI's preprocessing).
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def clip_image(image: Tensor, resolution: int, antialias: bool = False) -> Tensor:
    """Resize an image to CLIP's square input, ignoring its aspect ratio, and normalise it.

    The order is that of the published methods: divide by 255, bicubic resize without clipping, normalise.

    Args:
        image: (3, H, W) uint8 or float, RGB in 0..255.
        resolution: R in pixels.
        antialias: filter when shrinking. The published RMA and f'_Q weights were trained without.

    Returns:
        (3, R, R) float32, or float64 if the image is.

    Raises:
        ValueError: the image is not (3, H, W).
    """
    if image.dim() != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise ValueError(f"An image is (3, H, W) RGB with values 0..255, got shape {tuple(image.shape)}.")
    image = image.to(torch.promote_types(image.dtype, torch.float32)) / 255
    size = (resolution, resolution)
    image = F.interpolate(image[None], size, mode="bicubic", align_corners=False, antialias=antialias)[0]
    return normalize_rgb(image)


def normalize_rgb(image: Tensor) -> Tensor:
    """CLIP normalisation of (..., 3, H, W) RGB in 0..1."""
    mean, std = (image.new_tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    return (image - mean) / std


def masks_to_encoder(mask_logits: Tensor, resolution: int) -> Tensor:
    """Bilinear resize of mask logits (B, Q, H, W), or (Q, H, W), to (..., R, R); Q may be 0."""
    flat = mask_logits.reshape(-1, 1, *mask_logits.shape[-2:])
    resized = F.interpolate(flat, (resolution, resolution), mode="bilinear", align_corners=False)
    return resized.reshape(*mask_logits.shape[:-2], resolution, resolution)
