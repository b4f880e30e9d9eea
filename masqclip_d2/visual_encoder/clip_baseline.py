"""CLIP baseline: one masked image and one CLIP pass per proposal (MaskCLIP, appendix A). Slow; for comparison.

Shape shorthand: B images, Q mask proposals, E embedding, R input resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..clip.vision_tower import VisionTower


def clip_baseline_embeddings(visual: VisionTower, image: Tensor, mask_logits: Tensor, batch_size: int) -> Tensor:
    """CLIP embedding of the image under each mask.

    R_i = M_i * I with a binary mask M_i, element by element (appendix A, Algorithm 1). I is the RGB image, so pixels
    outside the mask become black (0, 0, 0) before CLIP's normalization, not the mean color. A pixel is inside if its
    logit is >= 0, as for mask class tokens.

    Args:
        visual: CLIP's vision tower.
        image: (3, R, R) float, normalized (`visual.preprocessing.image`).
        mask_logits: (Q, R, R) float at encoder resolution (`MaskProposals.resized`); Q may be 0.
        batch_size: masked images per CLIP pass; bounds memory.

    Returns:
        (Q, E) float, not unit length.
    """
    black = visual.preprocessing.normalize(image.new_zeros(3, 1, 1))
    embeddings = [image.new_zeros(0, visual.output_dim)]
    for masks in mask_logits.split(batch_size):
        embeddings.append(visual(torch.where(masks[:, None] >= 0, image, black)))
    return torch.cat(embeddings)


@dataclass(frozen=True)
class BaselineEmbeddings:
    """Output of the baseline for a batch; embeddings are not unit length."""

    mask_embeddings: Tensor  # (B, Q, E)
    refined_mask_logits: tuple[Tensor, ...] = ()  # the baseline does not refine masks


class ClipBaselineEncoder(nn.Module):
    """The CLIP baseline with the interface of `MaskClassTokenEncoder`.

    Args:
        visual: CLIP's vision tower, an `nn.Module`.
        batch_size: masked images per CLIP pass.
    """

    def __init__(self, visual: VisionTower, batch_size: int) -> None:
        super().__init__()
        self.visual = visual
        self.batch_size = batch_size

    def forward(self, image: Tensor, mask_logits: Tensor) -> BaselineEmbeddings:
        """Embed every mask of every image.

        Args:
            image: (B, 3, R, R) float, normalized.
            mask_logits: (B, Q, R, R) float at encoder resolution.
        """
        embeddings = [
            clip_baseline_embeddings(self.visual, one_image, masks, self.batch_size)
            for one_image, masks in zip(image, mask_logits, strict=True)
        ]
        return BaselineEmbeddings(torch.stack(embeddings))
