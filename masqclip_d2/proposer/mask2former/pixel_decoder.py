"""Pixel decoder: backbone features -> per-pixel embeddings, and the multi-scale maps that queries attend to.

Pixel decoder of Mask2Former (Cheng et al., CVPR 2022): a multi-scale deformable-attention encoder over the coarse
levels, and one top-down step to the finest level. Parameter names are those of published checkpoints
(`sem_seg_head.pixel_decoder.*`).

Shape shorthand: B images, C channels, S = sum of h * w over the L levels, coarsest level first, N heads, P points.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence

import torch
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from torch import Tensor, nn
from torch.nn import functional as F

from ...ops.autocast import without_autocast
from ...ops.ms_deform_attn import ms_deform_attn
from ...transfers import device_constant
from .position_encoding import sine_position_map

_NUM_GROUPS = 32  # groups of GroupNorm, as published and as in detectron2.layers.get_norm("GN", ...)


class MSDeformAttention(nn.Module):
    """Multi-scale deformable self-attention with its projections (Zhu et al., "Deformable DETR", ICLR 2021).

    Initially the P points of head n lie on a ray in direction 2 pi n / N, 1 to P pixels away, with equal weights, as
    published.
    """

    def __init__(self, width: int, num_levels: int, num_heads: int, num_points: int) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"Width {width} of the encoder is not divisible by its {num_heads} heads.")
        self.num_levels, self.num_heads, self.num_points = num_levels, num_heads, num_points
        self.sampling_offsets = nn.Linear(width, num_heads * num_levels * num_points * 2)
        self.attention_weights = nn.Linear(width, num_heads * num_levels * num_points)
        self.value_proj = nn.Linear(width, width)
        self.output_proj = nn.Linear(width, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for linear in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        for linear in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        angles = torch.arange(self.num_heads, dtype=torch.float32) * (2 * math.pi / self.num_heads)
        direction = torch.stack([angles.cos(), angles.sin()], -1)  # (N, 2), (x, y)
        direction = direction / direction.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.num_points + 1, dtype=torch.float32)
        offsets = direction[:, None, None] * steps[:, None]  # (N, 1, P, 2)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.expand(-1, self.num_levels, -1, -1).flatten())

    def forward(
        self, tokens: Tensor, positions: Tensor, pixel_centers: Tensor, level_hw: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Gather values from all levels around the position of each token.

        Args:
            tokens: (B, S, C).
            positions: (S, C) position encoding, added to the tokens as queries.
            pixel_centers: (S, 2) of the tokens, (x, y) in [0, 1].
            level_hw: (height, width) of each level.

        Returns:
            (B, S, C).
        """
        batch, size, _ = tokens.shape
        value = self.value_proj(tokens).unflatten(-1, (self.num_heads, -1))  # (B, S, N, d)
        shape = (batch, size, self.num_heads, self.num_levels, self.num_points)
        with without_autocast(tokens.device):  # positions need float32
            query = tokens + positions
            weights = _softmax(self.attention_weights(query).view(batch, size, self.num_heads, -1)).view(shape)
            offsets = self.sampling_offsets(query)
        # Offsets are in pixels of the level they point to. (N, L, P, 2) are kept in one dimension, since broadcasting
        # along a dimension of size 2 is several times slower on a CPU.
        sizes = tuple((1 / width, 1 / height) for height, width in level_hw)
        pixel_wh = device_constant(sizes, tokens.dtype, tokens.device)  # (L, 2)
        pixel_wh = pixel_wh[:, None].expand(self.num_heads, -1, self.num_points, -1).flatten()
        centers = pixel_centers.repeat(1, len(pixel_wh) // 2)  # (S, N * L * P * 2)
        locations = torch.addcmul(centers, offsets, pixel_wh).view(*shape, 2)
        return self.output_proj(ms_deform_attn(value, level_hw, locations, weights))


class DeformableEncoderLayer(nn.Module):
    """Deformable self-attention, then a feed-forward network; both with residual, then LayerNorm."""

    def __init__(self, width: int, ffn_dim: int, num_levels: int, num_heads: int, num_points: int) -> None:
        super().__init__()
        self.self_attn = MSDeformAttention(width, num_levels, num_heads, num_points)
        self.norm1 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, ffn_dim)
        self.linear2 = nn.Linear(ffn_dim, width)
        self.norm2 = nn.LayerNorm(width)
        nn.init.xavier_uniform_(self.linear1.weight)
        nn.init.xavier_uniform_(self.linear2.weight)

    def forward(self, tokens: Tensor, positions: Tensor, pixel_centers: Tensor, level_hw) -> Tensor:
        tokens = self.norm1(tokens + self.self_attn(tokens, positions, pixel_centers, level_hw))
        return self.norm2(tokens + self.linear2(F.relu(self.linear1(tokens), inplace=True)))


class _EncoderLayers(nn.Module):
    """Container of the layers with the published name `encoder.layers`."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


class DeformableEncoder(nn.Module):
    """Deformable attention layers over the tokens of several feature maps."""

    def __init__(self, width: int, ffn_dim: int, num_layers: int, num_levels: int, num_heads: int, num_points: int):
        super().__init__()
        self.level_embed = nn.Parameter(torch.randn(num_levels, width))
        self.encoder = _EncoderLayers(
            [DeformableEncoderLayer(width, ffn_dim, num_levels, num_heads, num_points) for _ in range(num_layers)]
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(B, C, h, w) of each level -> maps of the same shapes."""
        level_hw = [(level.shape[-2], level.shape[-1]) for level in maps]
        # The residual stream is float32 under autocast, too.
        tokens = torch.cat([level.flatten(2) for level in maps], -1).float().transpose(1, 2).contiguous()  # (B, S, C)
        positions = torch.cat(
            [
                sine_position_map(height, width, tokens.shape[-1], tokens.device).flatten(1).T + embed
                for (height, width), embed in zip(level_hw, self.level_embed, strict=True)
            ]
        )
        pixel_centers = torch.cat([_pixel_centers(height, width, tokens.device) for height, width in level_hw])
        for layer in self.encoder.layers:
            tokens = layer(tokens, positions, pixel_centers, level_hw)
        sizes = [height * width for height, width in level_hw]
        return [
            level.transpose(1, 2).unflatten(2, hw)  # (B, C, h, w)
            for level, hw in zip(tokens.split(sizes, dim=1), level_hw, strict=True)
        ]


class PixelDecoder(nn.Module):
    """Backbone features -> `mask_features` at stride 4 and the encoded coarse levels.

    `follows_autocast` (False, as published) is for inference in half precision; sampling positions, attention weights
    and the residual stream stay in float32.

    Args:
        input_shape: name -> ShapeSpec with channels and stride of each backbone feature in use.
        encoder_in_features: levels of the deformable encoder: all names of `input_shape` except the finest.
        conv_dim: C, width of the encoder; a multiple of 32 of at least 64.
        mask_dim: channels of `mask_features`.
        norm: norm of the convolutions of the top-down step, a name of `detectron2.layers.get_norm`.
        num_heads, num_layers, num_points, ffn_dim: sizes of the deformable encoder.

    Raises:
        ValueError: the features are not one fine level plus the levels of the encoder, or `conv_dim` is no multiple of
            32 of at least 64.
    """

    def __init__(
        self,
        *,
        input_shape: Mapping[str, ShapeSpec],
        encoder_in_features: Sequence[str],
        conv_dim: int,
        mask_dim: int,
        norm: str,
        num_heads: int,
        num_layers: int,
        num_points: int,
        ffn_dim: int,
    ) -> None:
        super().__init__()
        by_stride = sorted(input_shape, key=lambda name: input_shape[name].stride or 0)
        self.finest, *coarse = by_stride
        if sorted(coarse) != sorted(encoder_in_features):
            raise ValueError(
                f"The pixel decoder needs one fine level and the levels of its encoder, got features {by_stride} with "
                f"encoder levels {list(encoder_in_features)}. Set MODEL.SEM_SEG_HEAD.IN_FEATURES to the encoder's "
                "levels (DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES) and one finer one."
            )
        if conv_dim % _NUM_GROUPS or conv_dim < 2 * _NUM_GROUPS:
            raise ValueError(
                f"The width of the pixel decoder (MODEL.SEM_SEG_HEAD.CONVS_DIM) is {conv_dim}; expected a multiple of "
                f"{_NUM_GROUPS} of at least {2 * _NUM_GROUPS}, since GroupNorm has {_NUM_GROUPS} groups, and with one "
                "channel per group a one-pixel map would become zero."
            )
        self.follows_autocast = False
        self.encoder_levels = coarse[::-1]  # coarsest first
        channels = {name: shape.channels or 0 for name, shape in input_shape.items()}
        projections = [nn.Conv2d(channels[name], conv_dim, 1) for name in self.encoder_levels]
        for conv in projections:
            nn.init.xavier_uniform_(conv.weight)
            _zero(conv.bias)
        self.input_proj = nn.ModuleList(
            nn.Sequential(conv, nn.GroupNorm(_NUM_GROUPS, conv_dim)) for conv in projections
        )
        num_levels = len(self.encoder_levels)
        self.transformer = DeformableEncoder(conv_dim, ffn_dim, num_layers, num_levels, num_heads, num_points)
        bias = norm == ""
        self.adapter_1 = Conv2d(channels[self.finest], conv_dim, 1, bias=bias, norm=get_norm(norm, conv_dim))
        self.layer_1 = Conv2d(
            conv_dim, conv_dim, 3, padding=1, bias=bias, norm=get_norm(norm, conv_dim), activation=F.relu
        )
        self.mask_features = nn.Conv2d(conv_dim, mask_dim, 1)
        for conv in (self.adapter_1, self.layer_1, self.mask_features):
            nn.init.kaiming_uniform_(conv.weight, a=1)
            _zero(conv.bias)

    def forward(self, features: Mapping[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Decode, in float32 also under autocast (as published) unless `follows_autocast`.

        Args:
            features: name -> (B, C_name, H / stride, W / stride) float.

        Returns:
            mask_features (B, mask_dim, H / 4, W / 4), and the encoder's maps (B, conv_dim, h, w), coarsest first.
        """
        device = features[self.finest].device
        with contextlib.nullcontext() if self.follows_autocast else without_autocast(device):
            projected = [
                project(features[name].float())
                for name, project in zip(self.encoder_levels, self.input_proj, strict=True)
            ]
            multi_scale_maps = self.transformer(projected)
            fine = self.adapter_1(features[self.finest].float())
            # The encoder's maps are channels-last; mixed layouts make the next convolution copy its input.
            encoded = multi_scale_maps[-1].contiguous()
            fine = fine + F.interpolate(encoded, size=fine.shape[-2:], mode="bilinear", align_corners=False)
            return self.mask_features(self.layer_1(fine)), multi_scale_maps


def _zero(bias: Tensor | None) -> None:
    if bias is not None:
        nn.init.zeros_(bias)


def _softmax(logits: Tensor) -> Tensor:
    """Softmax over a last dimension of a dozen elements, for which `softmax` takes five times as long on CPUs."""
    if logits.device.type != "cpu":
        return logits.softmax(-1)
    exponentials = (logits - logits.amax(-1, keepdim=True).detach()).exp()
    return exponentials / exponentials.sum(-1, keepdim=True)


def _pixel_centers(height: int, width: int, device: torch.device) -> Tensor:
    """(h * w, 2) pixel centers (x, y) in [0, 1], row by row."""
    rows = (torch.arange(height, device=device) + 0.5) / height
    columns = (torch.arange(width, device=device) + 0.5) / width
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y], -1).flatten(0, 1)
