"""Mask embeddings pooled from the values of CLIP's last block: an alternative to mask class tokens, without training.

The values of the patches that a mask touches are averaged and pass the last block's output projection, without
residual connection and MLP, as in dense CLIP (Zhou et al., "Extract Free Dense Labels from CLIP", ECCV 2022); pooling
them by mask is the idea of TextRegion (Xiao et al., 2025) and CorrCLIP (Zhang et al., ICCV 2025).

Shape shorthand: B images, Q mask proposals, P patches, D width, N heads, d = D / N, E embedding, R input resolution.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ..clip.vision_tower import ProjectingBlock, VisionTower
from .attend_mask import touched_patches
from .mask_class_tokens import MaskEmbeddings


class ValuePoolingEncoder(nn.Module):
    """CLIP's vision tower with embeddings of masks from the last block's values. Masks are not refined.

    Args:
        visual: the tower; its last block is a `ProjectingBlock`.

    Raises:
        TypeError: the blocks have no `project_attended`.
    """

    def __init__(self, visual: VisionTower) -> None:
        super().__init__()
        if not hasattr(visual.blocks[-1], "project_attended"):
            raise TypeError(
                f"Value pooling needs the output projection of CLIP's last block: {type(visual.blocks[-1]).__name__} "
                "has no method project_attended(attended); add it, or use mask class tokens."
            )
        self.visual = visual

    def forward(self, image: Tensor, mask_logits: Tensor) -> MaskEmbeddings:
        """Embed every mask of every image; a mask that touches no patch is embedded from the class token's value.

        Args:
            image: (B, 3, R, R) float, normalized (`visual.preprocessing.image`).
            mask_logits: (B, Q, R, R) float at encoder resolution; Q may be 0. A pixel is inside from logit 0 on.
        """
        *blocks, last = self.visual.blocks
        last = cast(ProjectingBlock, last)
        tokens = self.visual.embed(image)
        for block in blocks:
            tokens = block.attend(tokens, block.attention_inputs(tokens))
        inputs = last.attention_inputs(tokens)
        touched = touched_patches(mask_logits, self.visual.patch_size)  # (B, Q, P)
        weights = torch.cat([~touched.any(dim=-1, keepdim=True), touched], dim=-1).to(inputs.value.dtype)
        weights = weights / weights.sum(dim=-1, keepdim=True)  # (B, Q, 1 + P)
        pooled = weights[:, None] @ inputs.value  # (B, N, Q, d)
        clip_tokens = last.attend(tokens, inputs)
        return MaskEmbeddings(
            mask_embeddings=self.visual.project(last.project_attended(pooled)),
            class_embedding=self.visual.project(clip_tokens[:, 0]),
            clip_tokens=clip_tokens,
        )
