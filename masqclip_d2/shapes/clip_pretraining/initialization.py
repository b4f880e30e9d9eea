"""Mimetic initialization of a vision tower that is trained from scratch on little data.

In trained vision transformers W_Q W_K^T is near a multiple of the identity and W_V W_out near a negative multiple.
Starting there, with sinusoidal positions, needs fewer images (Trockman and Kolter, "Mimetic Initialization of
Self-Attention Layers", ICML 2023).

Shape shorthand: D width, N heads, d = D / N, P = h * w patches.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...clip.vision_transformer import ClipVisionTransformer

# Weights of noise and identity in W_Q W_K^T and in W_V W_out; values of the paper for small images.
_QUERY_KEY = (0.7, 0.7)
_VALUE_OUTPUT = (0.4, -0.4)
_POSITION_SCALE = 0.3  # our choice: amplitude of the position embeddings; patch embeddings are of order 1
_LONGEST_WAVE = 10_000.0  # as in the sinusoidal positions of transformers


def init_for_training(visual: ClipVisionTransformer) -> None:
    """Initialize attention and position embeddings of a tower in place. Takes minutes at the width of a ViT-L."""
    init_positions(visual.positional_embedding, visual.input_resolution // visual.patch_size)
    for block in visual.blocks:
        init_attention(block.attn.in_proj_weight, block.attn.out_proj.weight, visual.heads)


@torch.no_grad()
def init_attention(in_proj_weight: Tensor, out_proj_weight: Tensor, heads: int) -> None:
    """Initialize the weights of one attention layer in place.

    Args:
        in_proj_weight: (3 D, D), query, key and value rows in this order.
        out_proj_weight: (D, D).
        heads: N.
    """
    width = out_proj_weight.shape[0]
    query, key, value = in_proj_weight.split(width)
    for head_query, head_key in zip(query.chunk(heads), key.chunk(heads), strict=True):
        left, right = _factors(in_proj_weight, *_QUERY_KEY)
        rank = len(head_query)
        head_query.copy_(left[:, :rank].T)
        head_key.copy_(right[:rank])
    left, right = _factors(in_proj_weight, *_VALUE_OUTPUT)
    value.copy_(right)
    out_proj_weight.copy_(left)


@torch.no_grad()
def init_positions(positional_embedding: Tensor, grid: int) -> None:
    """Initialize position embeddings in place: 0 for the class token, sine waves of row and column for patches.

    Args:
        positional_embedding: (1 + P, D), class token first, then `grid` x `grid` patches row by row.
        grid: h = w.
    """
    positional_embedding.zero_()
    quarter = positional_embedding.shape[1] // 4
    frequencies = _LONGEST_WAVE ** -(torch.arange(quarter, device=positional_embedding.device) / max(quarter - 1, 1))
    waves = torch.arange(grid, device=positional_embedding.device)[:, None] * frequencies  # (grid, D / 4)
    rows, columns = waves.repeat_interleave(grid, dim=0), waves.repeat(grid, 1)  # (P, D / 4)
    table = torch.cat([columns.sin(), columns.cos(), rows.sin(), rows.cos()], dim=1)
    positional_embedding[1:, : 4 * quarter] = _POSITION_SCALE * table


def _factors(like: Tensor, noise: float, identity: float) -> tuple[Tensor, Tensor]:
    """Two (D, D) factors whose product is `noise` * Z + `identity` * I with Z normal of variance 1 / D."""
    width = like.shape[1]
    product = noise * torch.randn(width, width) / width**0.5 + identity * torch.eye(width)
    left, singular, right = torch.linalg.svd(product)
    root = singular.sqrt()
    return (left * root).to(like), (root[:, None] * right).to(like)
