"""MasQ-Tuning attention of one block: a new query projection f'_Q for mask class tokens (MasQCLIP, stage 2).

Keys, values, output projection and MLP stay CLIP's, so embeddings stay in CLIP's space. Only the projections defined
here are trained in stage `masq_tuning`.

Shape shorthand: B images, Q mask proposals, P patches, D width, N heads, d = D / N.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from ..clip.vision_tower import AttentionInputs, RotaryBlock, VisionBlock
from ..ops.masked_attention import AttendBits, masked_attention
from .mask_class_tokens import MaskClassAttention, MaskClassTokenEncoder, MaskEmbeddings, RefinedMasks

PROJECTIONS = ("query", "key", "value")  # in the order of `VisionBlock.input_projections`


class MasqAttention(nn.Module):
    """Attention of mask class tokens with projections of their own; interface of `MaskClassAttention`.

    Args:
        width: D of CLIP.
        tuned: which of `PROJECTIONS` are new. The method tunes queries; keys and values are the ablation on the poster;
            none is MasQCLIP without MasQ-Tuning. Only mask class tokens use the new projections; CLIP's own tokens
            attend as in plain CLIP.

    Raises:
        ValueError: `tuned` has an unknown name.
    """

    def __init__(self, width: int, tuned: Sequence[str] = ("query",)) -> None:
        super().__init__()
        if not set(tuned) <= set(PROJECTIONS):
            raise ValueError(f"tuned may name {', '.join(PROJECTIONS)}, got {tuple(tuned)}.")
        new = {name: nn.Linear(width, width) if name in tuned else None for name in PROJECTIONS}
        self.mask_query_proj, self.mask_key_proj, self.mask_value_proj = (new[name] for name in PROJECTIONS)

    @torch.no_grad()
    def start_as(self, block: VisionBlock) -> None:
        """Copy the projections of CLIP's block; the results are then those without tuning."""
        weights, biases = block.input_projections()
        for proj, weight, bias in zip(self._projections(), weights, biases, strict=True):
            if proj is not None:
                proj.weight.copy_(weight)
                proj.bias.copy_(bias)

    def forward(
        self,
        block: VisionBlock,
        normed_mask_class_tokens: Tensor,
        clip_inputs: AttentionInputs,
        may_attend: Tensor | AttendBits,
        mask_logits: Tensor,
    ) -> tuple[Tensor, RefinedMasks | None]:
        """See `MaskClassAttention.forward`."""
        query_proj, key_proj, value_proj = self._projections()
        num_heads = clip_inputs.key.shape[1]

        def heads(tokens: Tensor) -> Tensor:
            return tokens.unflatten(-1, (num_heads, -1)).transpose(1, 2)  # (B, N, L, d)

        tokens = normed_mask_class_tokens
        query = block.query(tokens) if query_proj is None else heads(query_proj(tokens))
        if key_proj is None:
            key = clip_inputs.key
        else:
            key = heads(key_proj(clip_inputs.normed_tokens))
            key = cast(RotaryBlock, block).rotate(key) if hasattr(block, "rotate") else key
        value = clip_inputs.value if value_proj is None else heads(value_proj(clip_inputs.normed_tokens))
        return masked_attention(query, key, value, may_attend), None

    def _projections(self) -> tuple[nn.Linear | None, ...]:
        return self.mask_query_proj, self.mask_key_proj, self.mask_value_proj


class TunedAndUntunedAttention(MasqAttention):
    """MasQ attention for the first half of the mask class tokens, CLIP's own for the second half."""

    def forward(
        self,
        block: VisionBlock,
        normed_mask_class_tokens: Tensor,
        clip_inputs: AttentionInputs,
        may_attend: Tensor | AttendBits,
        mask_logits: Tensor,
    ) -> tuple[Tensor, RefinedMasks | None]:
        """See `MaskClassAttention.forward`; all arguments have 2 Q mask class tokens."""
        tokens, attend = normed_mask_class_tokens.chunk(2, dim=1), may_attend.chunk(2, dim=1)
        tuned, _ = super().forward(block, tokens[0], clip_inputs, attend[0], mask_logits)
        untuned, _ = MaskClassAttention()(block, tokens[1], clip_inputs, attend[1], mask_logits)
        return torch.cat([tuned, untuned], dim=2), None  # (B, N, 2 Q, d)


class TunedAndUntunedEncoder(MaskClassTokenEncoder):
    """Two embeddings per mask in one pass through CLIP: tuned, and untuned. Parameters as with MasQ attention alone.

    Args:
        visual, mask_attentions: see `MaskClassTokenEncoder`; the attentions are `TunedAndUntunedAttention`.
    """

    def forward(self, image: Tensor, mask_logits: Tensor) -> MaskEmbeddings:
        """As `MaskClassTokenEncoder.forward`, but `mask_embeddings` is (B, Q, 2, E): tuned, untuned."""
        encoded = super().forward(image, torch.cat([mask_logits, mask_logits], dim=1))
        return replace(encoded, mask_embeddings=torch.stack(encoded.mask_embeddings.chunk(2, dim=1), dim=2))
