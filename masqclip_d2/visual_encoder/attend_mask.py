"""Attention mask of mask class tokens, from mask logits (MaskCLIP, Sec. 3.2, Eq. 1-2).

Polarity: True = may attend, as in torch's scaled_dot_product_attention; in MaskCLIP's Eq. 2 True means "masked out".

Shape shorthand: B images, Q mask proposals, P = h * w patches (row by row), p patch side, R encoder resolution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def touched_patches(mask_logits: Tensor, patch_size: int, zero_is_inside: bool = True) -> Tensor:
    """Patches that contain at least one pixel of the mask.

    Args:
        mask_logits: (B, Q, R, R) float at encoder resolution; Q may be 0. A patch with a NaN is not touched.
        patch_size: p in pixels.
        zero_is_inside: True: a pixel is inside from logit 0 on, sigmoid >= 0.5 (MaskCLIP); False: inside above 0 only
            (MasQCLIP).

    Returns:
        (B, Q, P) bool, True = touched.
    """
    batch, num_masks = mask_logits.shape[:2]
    # Max-pooling accepts an empty batch but not empty channels, so masks are the batch dimension.
    largest = F.max_pool2d(mask_logits.flatten(0, 1)[:, None], patch_size)  # (B * Q, 1, h, w)
    largest = largest.reshape(batch, num_masks, largest.shape[-2] * largest.shape[-1])  # (B, Q, P)
    return largest >= 0 if zero_is_inside else largest > 0


def attend_mask(mask_logits: Tensor, patch_size: int, zero_is_inside: bool = True) -> Tensor:
    """Tokens that each mask class token may attend to: the class token always, and the patches its mask touches.

    Arguments as in `touched_patches`.

    Returns:
        (B, Q, 1 + P) bool, True = may attend, the class token at index 0.
    """
    touched = touched_patches(mask_logits, patch_size, zero_is_inside)
    return torch.cat([touched.new_ones(*touched.shape[:2], 1), touched], dim=-1)
