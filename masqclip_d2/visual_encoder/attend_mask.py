"""Attention mask of mask class tokens, from mask logits (MaskCLIP, Sec. 3.2, Eq. 1-2).

Polarity: True = may attend, as in torch's scaled_dot_product_attention; in MaskCLIP's Eq. 2 True means "masked out".

Shape shorthand: B images, Q mask proposals, P = h * w patches (row by row), p patch side, R encoder resolution.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..ops.mask_refinement import patch_maxima


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
    return _is_touched(patch_maxima(mask_logits, patch_size), zero_is_inside)


def attend_mask(maxima: Tensor, zero_is_inside: bool = True) -> Tensor:
    """Tokens that each mask class token may attend to: the class token always, and the patches its mask touches.

    Args:
        maxima: (B, Q, P), `patch_maxima` of the masks.
        zero_is_inside: see `touched_patches`.

    Returns:
        (B, Q, 1 + P) bool, True = may attend, the class token at index 0.
    """
    touched = _is_touched(maxima, zero_is_inside)
    return torch.cat([touched.new_ones(*touched.shape[:2], 1), touched], dim=-1)


def _is_touched(maxima: Tensor, zero_is_inside: bool) -> Tensor:
    return maxima >= 0 if zero_is_inside else maxima > 0
