"""EvaVisionTransformer: the `VisionTower` for the vision transformers of EVA-CLIP (Sun et al., 2023).

EVA-02 base and large have rotary positions besides learned ones, SwiGLU, and norms inside attention and MLP; EVA-01
giant has none of these; EVA-02 enormous normalizes what each branch adds instead of what enters it. Parameter names are
those of open_clip's files without `trunk.`; `eva_weights` translates others.

Shape shorthand: B images, P = h * w patches, L tokens, D width, N heads, d = D / N, E embedding, R input resolution.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .preprocessing import ClipPreprocessing
from .rotary import RotaryPositions
from .vision_tower import AttentionInputs, InputProjections, check_images, check_tower_sizes
from .vision_transformer import self_attention

EVA_KINDS = ("eva", "eva02", "eva_post_norm")
_NORM_EPS = 1e-6


class EvaAttention(nn.Module):
    """Multi-head attention without a bias of the key projection; EVA-02: rotary positions, a norm before the output."""

    def __init__(self, width: int, heads: int, inner_norm: bool, positions: RotaryPositions | None) -> None:
        super().__init__()
        self.heads = heads
        self.positions = positions
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, _NORM_EPS) if inner_norm else nn.Identity()
        self.proj = nn.Linear(width, width)

    def inputs(self, normed_tokens: Tensor) -> AttentionInputs:
        """Queries, keys and values of the class token and all patches, (B, 1 + P, D)."""
        query, key = self.query(normed_tokens), self._split(self.k_proj(normed_tokens))
        if self.positions is not None:
            query, key = self.positions.rotate(query), self.positions.rotate(key)
        return AttentionInputs(normed_tokens, query, key, self._split(self.v_proj(normed_tokens)))

    def query(self, normed_tokens: Tensor) -> Tensor:
        """Queries (B, N, L, d) without positions, as those of class tokens are."""
        return self._split(self.q_proj(normed_tokens))

    def output(self, attended: Tensor) -> Tensor:
        """Concatenated heads of (B, N, L, d) through norm and output projection: (B, L, D)."""
        return self.proj(self.norm(attended.transpose(1, 2).flatten(2)))

    def _split(self, projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class SwiGlu(nn.Module):
    """fc2(norm(silu(fc1_g(x)) * fc1_x(x)))."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1_g = nn.Linear(width, hidden)
        self.fc1_x = nn.Linear(width, hidden)
        self.norm = nn.LayerNorm(hidden, _NORM_EPS)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(self.norm(F.silu(self.fc1_g(tokens)) * self.fc1_x(tokens)))


class GeluMlp(nn.Module):
    """fc2(gelu(fc1(x)))."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(tokens)))


class EvaBlock(nn.Module):
    """Attention and MLP with residual connections; the methods are those of `ProjectingBlock` and `RotaryBlock`."""

    def __init__(self, width: int, heads: int, mlp_width: int, kind: str, positions: RotaryPositions | None) -> None:
        super().__init__()
        self.post_norm = kind == "eva_post_norm"
        self.norm1 = nn.LayerNorm(width, _NORM_EPS)
        self.attn = EvaAttention(width, heads, kind == "eva02", positions)
        self.norm2 = nn.LayerNorm(width, _NORM_EPS)
        self.mlp = SwiGlu(width, mlp_width) if kind == "eva02" else GeluMlp(width, mlp_width)

    def norm(self, tokens: Tensor) -> Tensor:
        return tokens if self.post_norm else self.norm1(tokens)

    def query(self, normed_tokens: Tensor) -> Tensor:
        return self.attn.query(normed_tokens)

    def attention_inputs(self, tokens: Tensor) -> AttentionInputs:
        return self.attn.inputs(self.norm(tokens))

    def rotate(self, heads: Tensor) -> Tensor:
        positions = self.attn.positions
        return heads if positions is None else positions.rotate(heads)

    def project_attended(self, attended: Tensor) -> Tensor:
        """What the attention adds to the tokens, from `attended` (B, N, L, d): (B, L, D)."""
        added = self.attn.output(attended)
        return self.norm1(added) if self.post_norm else added

    def finish(self, tokens: Tensor, attended: Tensor) -> Tensor:
        tokens = tokens + self.project_attended(attended)
        return tokens + (self.norm2(self.mlp(tokens)) if self.post_norm else self.mlp(self.norm2(tokens)))

    def attend(self, tokens: Tensor, inputs: AttentionInputs) -> Tensor:
        return self.finish(tokens, self_attention(inputs.query, inputs.key, inputs.value))

    def input_projections(self) -> InputProjections:
        attn = self.attn
        return InputProjections(
            (attn.q_proj.weight, attn.k_proj.weight, attn.v_proj.weight),
            (attn.q_proj.bias, torch.zeros_like(attn.q_proj.bias), attn.v_proj.bias),
        )


class EvaVisionTransformer(nn.Module):
    """Vision transformer of EVA-CLIP with the class token's embedding, batch first.

    Args:
        kind: one of `EVA_KINDS`: "eva" (EVA-01 giant), "eva02" (base, large), "eva_post_norm" (EVA-02 enormous).
        input_resolution: R, side of the square input in pixels; a multiple of `patch_size`.
        patch_size: p, side of a patch in pixels.
        width: D. A multiple of `heads`.
        layers: number of blocks.
        heads: N.
        output_dim: E, length of the embedding.
        mlp_width: hidden units of each MLP.
        preprocessing: of the images the weights were trained on; None: OpenAI's.

    Raises:
        ValueError: unknown kind, or sizes that do not fit each other.
    """

    def __init__(
        self,
        *,
        kind: str,
        input_resolution: int,
        patch_size: int,
        width: int,
        layers: int,
        heads: int,
        output_dim: int,
        mlp_width: int,
        preprocessing: ClipPreprocessing | None = None,
    ) -> None:
        super().__init__()
        if kind not in EVA_KINDS:
            raise ValueError(f"Unknown kind of EVA {kind!r}; known: {', '.join(EVA_KINDS)}.")
        check_tower_sizes(input_resolution, patch_size, width, heads)
        self.kind = kind
        self.input_resolution = input_resolution
        self.patch_size = patch_size
        self.width = width
        self.layers = layers
        self.heads = heads
        self.output_dim = output_dim
        self.preprocessing = preprocessing or ClipPreprocessing()

        grid = input_resolution // patch_size
        positions = RotaryPositions(grid, width // heads) if kind == "eva02" else None
        projection = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size)
        self.patch_embed = nn.ModuleDict({"proj": projection})
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + grid**2, width))
        self.blocks = nn.ModuleList(EvaBlock(width, heads, mlp_width, kind, positions) for _ in range(layers))
        self.norm = nn.LayerNorm(width, _NORM_EPS)
        self.head = nn.Linear(width, output_dim)
        nn.init.normal_(self.cls_token, std=0.02)
        nn.init.normal_(self.pos_embed, std=0.02)

    @property
    def class_position(self) -> Tensor:
        return self.pos_embed[0, 0]

    def forward(self, image: Tensor) -> Tensor:
        """Image embeddings (B, E), not unit length, of normalized images (B, 3, R, R)."""
        tokens = self.embed(image)
        for block in cast("list[EvaBlock]", list(self.blocks)):
            tokens = block.attend(tokens, block.attention_inputs(tokens))
        return self.project(tokens[:, 0])

    def embed(self, image: Tensor) -> Tensor:
        """Class token and patches as they enter the first block: (B, 1 + P, D), the class token at index 0.

        Raises:
            ValueError: `image` is not (B, 3, R, R).
        """
        check_images(image, self.input_resolution)
        patches = self.patch_embed["proj"](image).flatten(2).transpose(1, 2)  # (B, P, D)
        class_token = self.cls_token.to(patches.dtype).expand(len(patches), -1, -1)
        return torch.cat([class_token, patches], dim=1) + self.pos_embed

    def mask_class_tokens(self, clip_tokens: Tensor, num_masks: int, position: Tensor | None = None) -> Tensor:
        """Copies (B, Q, D) of the class token as it enters the first block, optionally at another position (D,)."""
        token = clip_tokens[:, :1] if position is None else self.cls_token + position
        return token.to(clip_tokens.dtype).expand(len(clip_tokens), num_masks, -1)

    def project(self, tokens: Tensor) -> Tensor:
        """Tokens (..., D) after the last block -> embeddings (..., E), not unit length."""
        return self.head(self.norm(tokens))
