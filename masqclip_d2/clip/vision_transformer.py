"""ClipVisionTransformer: the `VisionTower` for OpenAI's and open_clip's weights.

The parameter names are OpenAI's `visual.*`: published weights of CLIP, MaskCLIP and MasQCLIP depend on them (`conv1`,
`ln_1`, `c_fc`, ...).

Shape shorthand: B images, P = h * w patches, L tokens, D width, N heads, d = D / N, E embedding, R input resolution.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .preprocessing import ClipPreprocessing
from .vision_tower import AttentionInputs, InputProjections, check_images, check_tower_sizes


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the approximation of GELU that OpenAI's weights were trained with."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, type[nn.Module]] = {"quick_gelu": QuickGELU, "gelu": nn.GELU}


class ClipAttention(nn.Module):
    """Multi-head attention with a packed input projection (query, key, value rows in this order)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def inputs(self, normed_tokens: Tensor) -> AttentionInputs:
        """Queries, keys and values of (B, L, D) tokens."""
        packed = F.linear(normed_tokens, self.in_proj_weight, self.in_proj_bias)
        packed = packed.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (3, B, N, L, d), a view
        return AttentionInputs(normed_tokens, *packed.unbind(0))

    def query(self, normed_tokens: Tensor) -> Tensor:
        """Queries (B, N, L, d) alone, not divided by sqrt(d)."""
        width = normed_tokens.shape[-1]
        query = F.linear(normed_tokens, self.in_proj_weight[:width], self.in_proj_bias[:width])
        return query.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, N, L, d)

    def output(self, attended: Tensor) -> Tensor:
        """Concatenated heads of (B, N, L, d) through the output projection: (B, L, D)."""
        return self.out_proj(attended.transpose(1, 2).flatten(2))


class ResidualAttentionBlock(nn.Module):
    """x + attention(ln_1(x)), then x + mlp(ln_2(x)); the methods are those of `VisionBlock`."""

    def __init__(self, width: int, heads: int, mlp_width: int, activation: str) -> None:
        super().__init__()
        self.attn = ClipAttention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(
                c_fc=nn.Linear(width, mlp_width),
                gelu=ACTIVATIONS[activation](),
                c_proj=nn.Linear(mlp_width, width),
            )
        )
        self.ln_2 = nn.LayerNorm(width)

    def norm(self, tokens: Tensor) -> Tensor:
        return self.ln_1(tokens)

    def query(self, normed_tokens: Tensor) -> Tensor:
        return self.attn.query(normed_tokens)

    def attention_inputs(self, tokens: Tensor) -> AttentionInputs:
        return self.attn.inputs(self.ln_1(tokens))

    def project_attended(self, attended: Tensor) -> Tensor:
        """The output projection alone, of `attended` (B, N, L, d): (B, L, D)."""
        return self.attn.output(attended)

    def finish(self, tokens: Tensor, attended: Tensor) -> Tensor:
        tokens = tokens + self.attn.output(attended)
        return tokens + self.mlp(self.ln_2(tokens))

    def attend(self, tokens: Tensor, inputs: AttentionInputs) -> Tensor:
        return self.finish(tokens, self_attention(inputs.query, inputs.key, inputs.value))

    def input_projections(self) -> InputProjections:
        weights, biases = self.attn.in_proj_weight.chunk(3), self.attn.in_proj_bias.chunk(3)
        return InputProjections((weights[0], weights[1], weights[2]), (biases[0], biases[1], biases[2]))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.attend(tokens, self.attention_inputs(tokens))


class Transformer(nn.Module):
    """A stack of blocks, with the parameter names `resblocks.{i}`."""

    def __init__(self, width: int, layers: int, heads: int, mlp_width: int, activation: str) -> None:
        super().__init__()
        blocks = (ResidualAttentionBlock(width, heads, mlp_width, activation) for _ in range(layers))
        self.resblocks = nn.ModuleList(blocks)

    def reset_parameters(self, mlp_scale: float) -> None:
        """Random weights as in CLIP; residual branches are scaled down by their number.

        Args:
            mlp_scale: standard deviation of the first map of each MLP; the vision tower here has D^-0.5.
        """
        for block in cast("list[ResidualAttentionBlock]", list(self.resblocks)):
            scale = block.attn.in_proj_weight.shape[1] ** -0.5
            residual_scale = scale * (2 * len(self.resblocks)) ** -0.5
            mlp_in, mlp_out = (layer for layer in block.mlp if isinstance(layer, nn.Linear))
            nn.init.normal_(block.attn.in_proj_weight, std=scale)
            nn.init.normal_(block.attn.out_proj.weight, std=residual_scale)
            nn.init.normal_(mlp_in.weight, std=mlp_scale)
            nn.init.normal_(mlp_out.weight, std=residual_scale)
            for linear in (block.attn.out_proj, mlp_in, mlp_out):
                nn.init.zeros_(linear.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        for block in self.resblocks:
            tokens = block(tokens)
        return tokens


class ClipVisionTransformer(nn.Module):
    """Vision transformer of CLIP (Radford et al., 2021, Sec. 2.4), batch first.

    Args:
        input_resolution: R, side of the square input in pixels; a multiple of `patch_size`.
        patch_size: p, side of a patch in pixels.
        width: D. A multiple of `heads`.
        layers: number of blocks.
        heads: N.
        output_dim: E, length of the embedding.
        activation: "quick_gelu" (OpenAI's weights) or "gelu".
        mlp_width: hidden units of each MLP; None: 4 D, as in CLIP.
        preprocessing: of the images the weights were trained on; None: OpenAI's.

    Raises:
        ValueError: sizes that do not fit each other, or an unknown activation.
    """

    def __init__(
        self,
        *,
        input_resolution: int,
        patch_size: int,
        width: int,
        layers: int,
        heads: int,
        output_dim: int,
        activation: str = "quick_gelu",
        mlp_width: int | None = None,
        preprocessing: ClipPreprocessing | None = None,
    ) -> None:
        super().__init__()
        check_tower_sizes(input_resolution, patch_size, width, heads)
        if activation not in ACTIVATIONS:
            raise ValueError(f"Unknown activation {activation!r}; known: {', '.join(ACTIVATIONS)}.")
        self.input_resolution = input_resolution
        self.patch_size = patch_size
        self.width = width
        self.layers = layers
        self.heads = heads
        self.output_dim = output_dim
        self.preprocessing = preprocessing or ClipPreprocessing()

        num_patches = (input_resolution // patch_size) ** 2
        self.conv1 = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(1 + num_patches, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, layers, heads, mlp_width or 4 * width, activation)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.empty(width, output_dim))
        self._reset_parameters()

    @property
    def blocks(self) -> list[ResidualAttentionBlock]:
        return cast("list[ResidualAttentionBlock]", list(self.transformer.resblocks))

    @property
    def class_position(self) -> Tensor:
        return self.positional_embedding[0]

    def forward(self, image: Tensor) -> Tensor:
        """Image embeddings of plain CLIP.

        Args:
            image: (B, 3, R, R) float, normalized (`preprocessing.image`).

        Returns:
            (B, E) float, not unit length.
        """
        tokens = self.transformer(self.embed(image))
        return self.project(tokens[:, 0])

    def embed(self, image: Tensor) -> Tensor:
        """Class token and patches as they enter the first block: (B, 1 + P, D), the class token at index 0.

        Raises:
            ValueError: `image` is not (B, 3, R, R).
        """
        check_images(image, self.input_resolution)
        patches = self.conv1(image).flatten(2).transpose(1, 2) + self.positional_embedding[1:]  # (B, P, D)
        return self.with_class_token(patches)

    def with_class_token(self, patches: Tensor) -> Tensor:
        """Tokens (B, 1 + P', D) of the first block from any number of patch embeddings (B, P', D) with positions."""
        class_token = (self.class_embedding + self.class_position).expand(len(patches), 1, -1)
        return self.ln_pre(torch.cat([class_token.to(patches.dtype), patches], dim=1))

    def mask_class_tokens(self, clip_tokens: Tensor, num_masks: int, position: Tensor | None = None) -> Tensor:
        """Copies (B, Q, D) of the class token as it enters the first block, optionally at another position (D,)."""
        if position is None:
            return clip_tokens[:, :1].expand(-1, num_masks, -1)  # (B, Q, D)
        token = self.ln_pre(self.class_embedding + position)
        return token.to(clip_tokens.dtype).expand(len(clip_tokens), num_masks, -1)

    def project(self, tokens: Tensor) -> Tensor:
        """Tokens (..., D) after the last block -> embeddings (..., E), not unit length."""
        return self.ln_post(tokens) @ self.proj

    def _reset_parameters(self) -> None:
        """Keep unit variance through each map, as in CLIP."""
        scale = self.width**-0.5
        nn.init.normal_(self.class_embedding, std=scale)
        nn.init.normal_(self.positional_embedding, std=scale)
        nn.init.normal_(self.proj, std=scale)
        self.transformer.reset_parameters(scale)


def self_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Plain attention of (B, N, L, d) tokens to each other, scaled by 1 / sqrt(d)."""
    if query.device.type == "cpu" and query.dtype == torch.bfloat16:
        # Here two batched products are 2 to 4 times faster than torch's fused kernel, forward and backward together
        # (torch 2.14, AVX512-BF16, L = 129 and 257, d = 64); in float32 the two are equally fast.
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)  # (B, N, L, L)
        return scores.softmax(dim=-1).to(value.dtype) @ value
    return F.scaled_dot_product_attention(query, key, value)
