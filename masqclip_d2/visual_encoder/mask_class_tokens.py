"""Mask class tokens: one image and Q masks -> Q embeddings in a single pass through a frozen CLIP (MaskCLIP, Sec. 3.2).

Class token and patches attend to each other exactly as in CLIP and never see a mask class token. A mask class token
attends to the class token and to the patches of its mask, not to other mask class tokens. So keys and values of a block
are computed once, from the CLIP tokens, and shared by all masks.

Shape shorthand: B images, Q mask proposals, P patches, D width, N heads, d = D / N, E embedding, R input resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..clip.vision_transformer import AttentionInputs, ClipAttention, ClipVisionTransformer
from ..ops.masked_attention import masked_attention
from .attend_mask import attend_mask


@dataclass(frozen=True)
class MaskEmbeddings:
    """What the encoder says about a batch; embeddings are not unit length."""

    mask_embeddings: Tensor  # (B, Q, E)
    class_embedding: Tensor  # (B, E), plain CLIP's embedding of the whole image
    clip_tokens: Tensor  # (B, 1 + P, D), class token and patches after the last block, as in plain CLIP
    # (B, Q, R, R) each, after every block that refines masks; only the last ones where no gradients are recorded, since
    # training alone needs the earlier ones and they are large.
    refined_mask_logits: tuple[Tensor, ...] = ()


class MaskClassAttention(nn.Module):
    """How the mask class tokens of one block attend: with CLIP's own query projection (MaskCLIP without RMA).

    Each block has one such module, so that a block can have another kind of attention, with parameters of its own.
    """

    def forward(
        self,
        clip_attention: ClipAttention,
        normed_mask_class_tokens: Tensor,
        clip_inputs: AttentionInputs,
        may_attend: Tensor,
        mask_logits: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Gather from the CLIP tokens.

        Args:
            clip_attention: CLIP's attention of this block.
            normed_mask_class_tokens: (B, Q, D) after the block's `ln_1`.
            clip_inputs: normalised tokens, queries, keys and values of the class token and the patches.
            may_attend: (B, Q, 1 + P) bool, from `mask_logits`.
            mask_logits: (B, Q, R, R), the masks as they are before this block.

        Returns:
            What each head gathered, (B, N, Q, d), and the mask logits that hold from the next block on (the same tensor
            if this attention does not refine masks).
        """
        query = clip_attention.query(normed_mask_class_tokens)
        return masked_attention(query, clip_inputs.key, clip_inputs.value, may_attend), mask_logits


class MaskClassTokenEncoder(nn.Module):
    """CLIP's visual tower carrying mask class tokens.

    Args:
        visual: the tower; its parameters are used as they are.
        mask_attentions: one module per block with the interface of `MaskClassAttention`; None: that class itself.
        zero_is_inside: whether a pixel with logit exactly 0 belongs to a mask (see `touched_patches`).
        own_position: mask class tokens get a position embedding of their own, `mask_embeddings`, in place of the class
            token's, which it starts as (MasQCLIP). It does not learn (our choice; published code trains it).

    Raises:
        ValueError: the number of `mask_attentions` is not that of blocks.
    """

    def __init__(
        self,
        visual: ClipVisionTransformer,
        mask_attentions: Sequence[nn.Module] | None = None,
        zero_is_inside: bool = True,
        own_position: bool = False,
    ) -> None:
        super().__init__()
        if mask_attentions is None:
            mask_attentions = [MaskClassAttention() for _ in range(visual.layers)]
        if len(mask_attentions) != visual.layers:
            raise ValueError(f"{visual.layers} blocks need {visual.layers} attentions, got {len(mask_attentions)}.")
        self.visual = visual
        self.mask_attentions = nn.ModuleList(mask_attentions)
        self.zero_is_inside = zero_is_inside
        self.mask_embeddings = None
        if own_position:
            self.mask_embeddings = nn.Parameter(visual.positional_embedding[0].detach().clone(), requires_grad=False)

    def forward(self, image: Tensor, mask_logits: Tensor) -> MaskEmbeddings:
        """Embed every mask of every image.

        Args:
            image: (B, 3, R, R) float, CLIP-normalised (`clip_image`).
            mask_logits: (B, Q, R, R) float at encoder resolution (`masks_to_encoder`); Q may be 0. Not changed.
                `MaskProposals` refuses NaN. Here, a patch with a NaN lies outside its mask, whose refined logits keep
                the NaN; other masks do not notice.

        Raises:
            ValueError: a shape does not fit the tower.
        """
        expected = (len(image), self.visual.input_resolution, self.visual.input_resolution)
        if mask_logits.dim() != 4 or (len(mask_logits), *mask_logits.shape[-2:]) != expected:
            raise ValueError(
                f"mask_logits must have shape (B, Q, R, R) with B = {expected[0]} and R = {expected[1]}, got "
                f"{tuple(mask_logits.shape)}; resize them with masks_to_encoder."
            )
        clip_tokens = self.visual.embed(image)
        mask_class_tokens = self._start(clip_tokens, mask_logits.shape[1])
        may_attend = self._may_attend(mask_logits)
        refined: tuple[Tensor, ...] = ()
        for block, mask_attention in zip(self.visual.transformer.resblocks, self.mask_attentions, strict=True):
            clip_inputs = block.attention_inputs(clip_tokens)
            attended, new_mask_logits = mask_attention(
                block.attn, block.ln_1(mask_class_tokens), clip_inputs, may_attend, mask_logits
            )
            mask_class_tokens = block.finish(mask_class_tokens, attended)
            clip_tokens = block.attend(clip_tokens, clip_inputs)
            if new_mask_logits is not mask_logits:
                mask_logits, may_attend = new_mask_logits, self._may_attend(new_mask_logits)
                refined = (*refined, mask_logits) if torch.is_grad_enabled() else (mask_logits,)
        return MaskEmbeddings(
            mask_embeddings=self.visual.project(mask_class_tokens),
            class_embedding=self.visual.project(clip_tokens[:, 0]),
            clip_tokens=clip_tokens,
            refined_mask_logits=refined,
        )

    def _start(self, clip_tokens: Tensor, num_masks: int) -> Tensor:
        """Mask class tokens as they enter the first block: the class token, after its position and `ln_pre`."""
        if self.mask_embeddings is None:
            return clip_tokens[:, :1].expand(-1, num_masks, -1)  # (B, Q, D)
        token = self.visual.ln_pre(self.visual.class_embedding + self.mask_embeddings)
        return token.to(clip_tokens.dtype).expand(len(clip_tokens), num_masks, -1)

    def _may_attend(self, mask_logits: Tensor) -> Tensor:
        return attend_mask(mask_logits.detach(), self.visual.patch_size, self.zero_is_inside)
