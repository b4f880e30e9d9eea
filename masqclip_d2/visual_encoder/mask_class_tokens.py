"""Mask class tokens: one image and Q masks -> Q embeddings in a single pass through a frozen CLIP (MaskCLIP, Sec. 3.2).

Class token and patches attend to each other exactly as in CLIP, never to a mask class token. A mask class token
attends to the class token and to the patches of its mask, not to other mask class tokens. Keys and values of a block
are therefore computed once, from the CLIP tokens, and shared by all masks.

Shape shorthand: B images, Q mask proposals, P patches, D width, N heads, d = D / N, E embedding, R input resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..clip.vision_tower import AttentionInputs, VisionBlock, VisionTower
from ..ops.mask_refinement import patch_maxima
from ..ops.masked_attention import AttendBits, masked_attention, pack_attend_mask
from .attend_mask import attend_mask


@dataclass(frozen=True)
class MaskEmbeddings:
    """Output of the encoder for a batch; embeddings are not unit length."""

    mask_embeddings: Tensor  # (B, Q, E)
    class_embedding: Tensor  # (B, E), plain CLIP's embedding of the whole image
    clip_tokens: Tensor  # (B, 1 + P, D), class token and patches after the last block, as in plain CLIP
    # (B, Q, R, R) each, after every block that refines masks. Without gradients only the last: the earlier ones are
    # large and only training needs them.
    refined_mask_logits: tuple[Tensor, ...] = ()


class RefinedMasks(NamedTuple):
    """Masks that an attention has refined."""

    mask_logits: Tensor  # (B, Q, R, R)
    maxima: Tensor | None = None  # (B, Q, P), their `patch_maxima`; None: the encoder computes them


class MaskClassAttention(nn.Module):
    """Attention of mask class tokens in one block, with CLIP's own query projection (MaskCLIP without RMA).

    The encoder has one such module per block, so that blocks can differ in attention and parameters.
    """

    def forward(
        self,
        block: VisionBlock,
        normed_mask_class_tokens: Tensor,
        clip_inputs: AttentionInputs,
        may_attend: Tensor | AttendBits,
        mask_logits: Tensor,
    ) -> tuple[Tensor, RefinedMasks | None]:
        """Attend to the CLIP tokens.

        Args:
            block: CLIP's block.
            normed_mask_class_tokens: (B, Q, D) after `block.norm`.
            clip_inputs: normed tokens, queries, keys and values of the class token and the patches.
            may_attend: (B, Q, 1 + P) bool, from `mask_logits`, or its bits.
            mask_logits: (B, Q, R, R), the masks before this block.

        Returns:
            Attention output of each head, (B, N, Q, d), and the masks for the following blocks; None if this attention
            does not refine masks.
        """
        query = block.query(normed_mask_class_tokens)
        return masked_attention(query, clip_inputs.key, clip_inputs.value, may_attend), None


class MaskClassTokenEncoder(nn.Module):
    """CLIP's vision tower with mask class tokens.

    Args:
        visual: the tower, an `nn.Module`; its parameters are not changed.
        mask_attentions: one module per block with the interface of `MaskClassAttention`; None: that class for all.
        zero_is_inside: whether a pixel with logit exactly 0 belongs to a mask (see `touched_patches`).
        own_position: mask class tokens have their own position embedding, `mask_embeddings`, initialized from the class
            token's (MasQCLIP). Frozen by default; the published code trains it.

    Raises:
        ValueError: the number of `mask_attentions` is not the number of blocks.
    """

    def __init__(
        self,
        visual: VisionTower,
        mask_attentions: Sequence[nn.Module] | None = None,
        zero_is_inside: bool = True,
        own_position: bool = False,
    ) -> None:
        super().__init__()
        num_blocks = len(visual.blocks)
        if mask_attentions is None:
            mask_attentions = [MaskClassAttention() for _ in range(num_blocks)]
        if len(mask_attentions) != num_blocks:
            raise ValueError(f"{num_blocks} blocks need {num_blocks} attentions, got {len(mask_attentions)}.")
        self.visual = visual
        self.mask_attentions = nn.ModuleList(mask_attentions)
        self.zero_is_inside = zero_is_inside
        self.mask_embeddings = None
        if own_position:
            self.mask_embeddings = nn.Parameter(visual.class_position.detach().clone(), requires_grad=False)

    def forward(self, image: Tensor, mask_logits: Tensor) -> MaskEmbeddings:
        """Embed every mask of every image.

        Args:
            image: (B, 3, R, R) float, normalized (`visual.preprocessing.image`).
            mask_logits: (B, Q, R, R) float at encoder resolution (`MaskProposals.resized`); Q may be 0. Not changed.
                `MaskProposals` refuses NaN. Here a patch with a NaN is outside its mask and the mask's refined logits
                keep the NaN; other masks are unaffected.

        Raises:
            ValueError: a shape does not fit the tower, or a shape of the tower its `VisionTower` properties.
        """
        expected = (len(image), self.visual.input_resolution, self.visual.input_resolution)
        if mask_logits.dim() != 4 or (len(mask_logits), *mask_logits.shape[-2:]) != expected:
            raise ValueError(
                f"mask_logits must have shape (B, Q, R, R) with B = {expected[0]} and R = {expected[1]}, got "
                f"{tuple(mask_logits.shape)}; resize them with MaskProposals.resized."
            )
        clip_tokens = self.visual.embed(image)
        num_patches = (self.visual.input_resolution // self.visual.patch_size) ** 2
        _check_tower("embed", clip_tokens, (len(image), 1 + num_patches, self.visual.width))
        mask_class_tokens = self.visual.mask_class_tokens(clip_tokens, mask_logits.shape[1], self.mask_embeddings)
        may_attend = self._may_attend(RefinedMasks(mask_logits))
        refined: tuple[Tensor, ...] = ()
        for block, mask_attention in zip(self.visual.blocks, self.mask_attentions, strict=True):
            clip_inputs = block.attention_inputs(clip_tokens)
            attended, new_masks = mask_attention(
                block, block.norm(mask_class_tokens), clip_inputs, may_attend, mask_logits
            )
            mask_class_tokens = block.finish(mask_class_tokens, attended)
            clip_tokens = block.attend(clip_tokens, clip_inputs)
            if new_masks is not None:
                mask_logits, may_attend = new_masks.mask_logits, self._may_attend(new_masks)
                refined = (*refined, mask_logits) if torch.is_grad_enabled() else (mask_logits,)
        mask_embeddings = self.visual.project(mask_class_tokens)
        _check_tower("project", mask_embeddings, (*mask_logits.shape[:2], self.visual.output_dim))
        return MaskEmbeddings(
            mask_embeddings=mask_embeddings,
            class_embedding=self.visual.project(clip_tokens[:, 0]),
            clip_tokens=clip_tokens,
            refined_mask_logits=refined,
        )

    def _may_attend(self, masks: RefinedMasks) -> Tensor | AttendBits:
        maxima = masks.maxima
        if maxima is None:
            maxima = patch_maxima(masks.mask_logits.detach(), self.visual.patch_size)
        return pack_attend_mask(attend_mask(maxima, self.zero_is_inside))


def _check_tower(method: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(
            f"{method} of the vision tower returned shape {tuple(tensor.shape)}, but its resolution, patch size, width "
            f"and output_dim mean {shape}; see clip.VisionTower."
        )
