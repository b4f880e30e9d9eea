"""The CLIP baseline: one masked image and one CLIP pass per proposal (MaskCLIP, appendix A). Slow, and the yardstick.

Shape shorthand: B images, Q mask proposals, E embedding, R input resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..clip.preprocessing import normalize_rgb
from ..clip.vision_transformer import ClipVisionTransformer


def clip_baseline_embeddings(
    visual: ClipVisionTransformer, image: Tensor, mask_logits: Tensor, batch_size: int
) -> Tensor:
    """CLIP embedding of the image under each mask.

    R_i = M_i * I with a binary mask M_i, element by element (appendix A, Algorithm 1). The product is that of the RGB
    image, so pixels outside become black (0, 0, 0) before CLIP's normalisation, not the mean colour. A pixel is inside
    from logit 0 on, as for mask class tokens.

    Args:
        visual: CLIP's visual tower.
        image: (3, R, R) float, CLIP-normalised (`clip_image`).
        mask_logits: (Q, R, R) float at encoder resolution (`masks_to_encoder`); Q may be 0.
        batch_size: masked images per CLIP pass; bounds memory.

    Returns:
        (Q, E) float, not unit length.
    """
    black = normalize_rgb(image.new_zeros(3, 1, 1))
    embeddings = [image.new_zeros(0, visual.output_dim)]
    for masks in mask_logits.split(batch_size):
        embeddings.append(visual(torch.where(masks[:, None] >= 0, image, black)))
    return torch.cat(embeddings)


@dataclass(frozen=True)
class BaselineEmbeddings:
    """What the baseline says about a batch; embeddings are not unit length."""

    mask_embeddings: Tensor  # (B, Q, E)
    refined_mask_logits: tuple[Tensor, ...] = ()  # the baseline does not refine masks


class ClipBaselineEncoder(nn.Module):
    """The baseline with the interface of `MaskClassTokenEncoder`.

    Args:
        visual: CLIP's visual tower.
        batch_size: masked images per CLIP pass.
    """

    def __init__(self, visual: ClipVisionTransformer, batch_size: int) -> None:
        super().__init__()
        self.visual = visual
        self.batch_size = batch_size

    def forward(self, image: Tensor, mask_logits: Tensor) -> BaselineEmbeddings:
        """Embed every mask of every image.

        Args:
            image: (B, 3, R, R) float, CLIP-normalised.
            mask_logits: (B, Q, R, R) float at encoder resolution.
        """
        embeddings = [
            clip_baseline_embeddings(self.visual, one_image, masks, self.batch_size)
            for one_image, masks in zip(image, mask_logits, strict=True)
        ]
        return BaselineEmbeddings(torch.stack(embeddings))
