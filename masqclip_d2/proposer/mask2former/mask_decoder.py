"""Mask decoder: learned queries -> mask logits and class logits.

Masked-attention decoder of Mask2Former (Cheng et al., CVPR 2022). Parameter names are those of published
checkpoints (`sem_seg_head.predictor.*`).

Shape shorthand: B images, Q queries, C width, N heads, L tokens of one level, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...ops.masked_attention import AttendBits, masked_attention, predicted_attend_mask
from .position_encoding import sine_position_map


class PackedAttention(nn.Module):
    """Multi-head attention; query, key and value projections are stacked in one weight in this order."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"Width {width} of the mask decoder is not divisible by its {num_heads} heads.")
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, attend_mask: Tensor | AttendBits | None = None
    ) -> Tensor:
        """Attend from (B, Q, C) to (B, L, C).

        Args:
            attend_mask: see `masked_attention`; a query whose row has no True attends everywhere.

        Returns:
            (B, Q, C).
        """
        query, key, value = (
            F.linear(x, weight, bias).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, N, Q or L, d)
            for x, weight, bias in zip(
                (query, key, value), self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3), strict=True
            )
        )
        if attend_mask is None:
            attended = F.scaled_dot_product_attention(query, key, value)
        else:
            attended = masked_attention(query, key, value, attend_mask, empty_rows="everywhere")
        return self.out_proj(attended.transpose(1, 2).flatten(2))


class CrossAttentionLayer(nn.Module):
    """Attention of queries to one level inside their masks; residual, then LayerNorm."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.multihead_attn = PackedAttention(width, num_heads)
        self.norm = nn.LayerNorm(width)

    def forward(
        self, queries: Tensor, query_position: Tensor, key: Tensor, value: Tensor, attend_mask: Tensor | AttendBits
    ) -> Tensor:
        return self.norm(queries + self.multihead_attn(queries + query_position, key, value, attend_mask))


class SelfAttentionLayer(nn.Module):
    """Attention between queries; residual, then LayerNorm."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.self_attn = PackedAttention(width, num_heads)
        self.norm = nn.LayerNorm(width)

    def forward(self, queries: Tensor, query_position: Tensor) -> Tensor:
        placed = queries + query_position
        return self.norm(queries + self.self_attn(placed, placed, queries))


class FeedForwardLayer(nn.Module):
    """Two linear layers with ReLU; residual, then LayerNorm."""

    def __init__(self, width: int, ffn_dim: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, ffn_dim)
        self.linear2 = nn.Linear(ffn_dim, width)
        self.norm = nn.LayerNorm(width)
        nn.init.xavier_uniform_(self.linear1.weight)
        nn.init.xavier_uniform_(self.linear2.weight)

    def forward(self, queries: Tensor) -> Tensor:
        return self.norm(queries + self.linear2(F.relu(self.linear1(queries))))


class MaskEmbedding(nn.Module):
    """Three linear layers with ReLU: query -> vector whose inner products with the mask features are the mask."""

    def __init__(self, width: int, mask_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, mask_dim)])

    def forward(self, queries: Tensor) -> Tensor:
        first, second, third = self.layers
        return third(F.relu(second(F.relu(first(queries)))))


class MaskDecoder(nn.Module):
    """Masked-attention decoder.

    Args:
        num_classes: K without "no object"; 1: class-agnostic (column 0 = object); 0: no class logits, as in MaskCLIP's
            published weights.
        hidden_dim: C of queries and levels.
        mask_dim: channels of the mask features.
        num_queries: Q.
        num_layers: decoder layers, one less than predictions.
        num_heads, ffn_dim: sizes of each layer.
        num_levels: feature levels; layer i attends to level i mod num_levels.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        hidden_dim: int,
        mask_dim: int,
        num_queries: int,
        num_layers: int,
        num_heads: int,
        ffn_dim: int,
        num_levels: int,
    ) -> None:
        super().__init__()
        layers = range(num_layers)
        self.transformer_self_attention_layers = nn.ModuleList(
            SelfAttentionLayer(hidden_dim, num_heads) for _ in layers
        )
        self.transformer_cross_attention_layers = nn.ModuleList(
            CrossAttentionLayer(hidden_dim, num_heads) for _ in layers
        )
        self.transformer_ffn_layers = nn.ModuleList(FeedForwardLayer(hidden_dim, ffn_dim) for _ in layers)
        self.decoder_norm = nn.LayerNorm(hidden_dim)
        self.query_feat = nn.Embedding(num_queries, hidden_dim)
        self.query_embed = nn.Embedding(num_queries, hidden_dim)
        self.level_embed = nn.Embedding(num_levels, hidden_dim)
        self.class_embed = nn.Linear(hidden_dim, num_classes + 1) if num_classes else None
        self.mask_embed = MaskEmbedding(hidden_dim, mask_dim)

    def forward(self, multi_scale_maps: Sequence[Tensor], mask_features: Tensor) -> dict:
        """Decode.

        Args:
            multi_scale_maps: (B, C, h, w) of each level, coarsest first.
            mask_features: (B, mask_dim, H, W).

        Returns:
            "pred_masks" (B, Q, H, W) logits; "pred_logits" (B, Q, K + 1), last column = no object (None without
            classes); in training mode "aux_outputs": a dict of both for each earlier prediction in order, the first
            from the initial queries.
        """
        keys, values = self._keys_and_values(multi_scale_maps)
        # A resized mask equals the inner product with resized features, so attend masks need no full-size mask.
        level_features = [
            F.interpolate(mask_features.detach(), level.shape[-2:], mode="bilinear", align_corners=False).flatten(2)
            for level in multi_scale_maps
        ]  # (B, mask_dim, L)
        batch = len(mask_features)
        queries = self.query_feat.weight.expand(batch, -1, -1)
        query_position = self.query_embed.weight
        normed = [self.decoder_norm(queries)]
        mask_embeddings = [self.mask_embed(normed[0])]
        layers = zip(
            self.transformer_cross_attention_layers,
            self.transformer_self_attention_layers,
            self.transformer_ffn_layers,
            strict=True,
        )
        for i, (cross_attention, self_attention, feed_forward) in enumerate(layers):
            level = i % len(keys)
            attend_mask = predicted_attend_mask(mask_embeddings[-1], level_features[level])
            queries = cross_attention(queries, query_position, keys[level], values[level], attend_mask)
            queries = feed_forward(self_attention(queries, query_position))
            normed.append(self.decoder_norm(queries))
            mask_embeddings.append(self.mask_embed(normed[-1]))
        required = slice(None) if self.training else slice(-1, None)
        return self._predictions(normed[required], mask_embeddings[required], mask_features)

    def _keys_and_values(self, multi_scale_maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """(B, L, C) for each level; values include the level embedding, keys also the position."""
        keys, values = [], []
        for feature_map, embed in zip(multi_scale_maps, self.level_embed.weight, strict=True):
            values.append(feature_map.flatten(2).transpose(1, 2) + embed)
            height, width = feature_map.shape[-2:]
            position = sine_position_map(height, width, len(embed), feature_map.device)
            keys.append(values[-1] + position.flatten(1).T)
        return keys, values

    def _predictions(self, normed: list[Tensor], mask_embeddings: list[Tensor], mask_features: Tensor) -> dict:
        """All predictions in one product, so that the backward pass goes through `mask_features` once."""
        count = len(normed)
        embeddings = torch.cat(mask_embeddings, dim=1)  # (B, count * Q, mask_dim)
        masks = (embeddings @ mask_features.flatten(2)).unflatten(-1, mask_features.shape[-2:])
        masks = masks.chunk(count, dim=1)
        if self.class_embed is None:
            logits = (None,) * count
        else:
            logits = self.class_embed(torch.cat(normed, dim=1)).chunk(count, dim=1)
        outputs = [{"pred_logits": l, "pred_masks": m} for l, m in zip(logits, masks, strict=True)]
        final = outputs.pop()
        if self.training:
            final["aux_outputs"] = outputs
        return final
