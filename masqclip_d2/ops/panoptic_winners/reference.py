"""Reference of panoptic_winners: the formula in float32, and the only definition of correct.

Stores all masks at output size, (Q, H, W).

Shape shorthand: Q masks, H x W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..output_masks import OutputMasks
from ..resize import masks_to_output


def panoptic_winners_reference(probs: Tensor, masks: OutputMasks) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See `panoptic_winners`."""
    logits = masks_to_output(masks.mask_logits, masks.padded_hw, masks.image_hw, masks.output_hw)
    mask_probs, taking_part = logits.sigmoid(), (probs >= 0)[:, None, None]
    products = (probs[:, None, None] * mask_probs).where(taking_part, -1.0)
    index = torch.arange(len(masks), device=masks.device)[:, None, None]
    best = products.argmax(dim=0) if len(masks) else torch.zeros(masks.output_hw, device=masks.device)
    wins = (index == best) & taking_part  # (Q, H, W)
    covers = (mask_probs >= 0.5) & taking_part
    winners = torch.where((wins & covers).any(dim=0), best, len(masks)).int()
    won, covered, of_masks = (each.flatten(1).sum(1) for each in (wins, wins & covers, covers))
    return winners, won, covered, of_masks
