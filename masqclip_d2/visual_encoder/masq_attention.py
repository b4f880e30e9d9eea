"""MasQ-Tuning's attention: mask class tokens ask with a new query projection f'_Q, CLIP answers (MasQCLIP, stage 2).

Of one block. Keys, values, output projection and MLP stay CLIP's, so results stay in CLIP's space; only what is here
learns in stage `masq_tuning`.

Shape shorthand: B images, Q mask proposals, P patches, D width, N heads, d = D / N.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..clip.vision_transformer import AttentionInputs, ClipAttention
from ..ops.masked_attention import masked_attention

PROJECTIONS = ("query", "key", "value")  # in the order of CLIP's packed input projection


class MasqAttention(nn.Module):
    """The attention of mask class tokens with projections of their own; interface of `MaskClassAttention`.

    Args:
        width: D of CLIP.
        tuned: which projections are new, of `PROJECTIONS`. The method tunes queries; keys and values are the ablation
            of the poster; none is MasQCLIP without MasQ-Tuning. The new ones serve mask class tokens only: CLIP's own
            tokens attend as ever.

    Raises:
        ValueError: `tuned` holds an unknown name.
    """

    def __init__(self, width: int, tuned: Sequence[str] = ("query",)) -> None:
        super().__init__()
        if not set(tuned) <= set(PROJECTIONS):
            raise ValueError(f"tuned may name {', '.join(PROJECTIONS)}, got {tuple(tuned)}.")
        new = {name: nn.Linear(width, width) if name in tuned else None for name in PROJECTIONS}
        self.mask_query_proj, self.mask_key_proj, self.mask_value_proj = (new[name] for name in PROJECTIONS)

    @torch.no_grad()
    def start_as(self, clip_attention: ClipAttention) -> None:
        """Begin with CLIP's own projections, with which mask class tokens work as without tuning."""
        weights = clip_attention.in_proj_weight.chunk(3)
        biases = clip_attention.in_proj_bias.chunk(3)
        for proj, weight, bias in zip(self._projections(), weights, biases, strict=True):
            if proj is not None:
                proj.weight.copy_(weight)
                proj.bias.copy_(bias)

    def forward(
        self,
        clip_attention: ClipAttention,
        normed_mask_class_tokens: Tensor,
        clip_inputs: AttentionInputs,
        may_attend: Tensor,
        mask_logits: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """See `MaskClassAttention.forward`."""
        query_proj, key_proj, value_proj = self._projections()

        def heads(tokens: Tensor) -> Tensor:
            return tokens.unflatten(-1, (clip_attention.heads, -1)).transpose(1, 2)  # (B, N, L, d)

        tokens = normed_mask_class_tokens
        query = clip_attention.query(tokens) if query_proj is None else heads(query_proj(tokens))
        key = clip_inputs.key if key_proj is None else heads(key_proj(clip_inputs.normed_tokens))
        value = clip_inputs.value if value_proj is None else heads(value_proj(clip_inputs.normed_tokens))
        return masked_attention(query, key, value, may_attend), mask_logits

    def _projections(self) -> tuple[nn.Linear | None, ...]:
        return self.mask_query_proj, self.mask_key_proj, self.mask_value_proj
