"""Parts of a Swin Transformer, from timm, which is slow to import: imported only when used. Tokens are (B, h, w, C)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timm.layers.patch_embed import PatchEmbed
from timm.models.swin_transformer import PatchMerging, SwinTransformerBlock
from torch import Tensor, nn
from torch.nn import functional as F


def patch_embedding(patch_size: int, channels: int, with_norm: bool) -> PatchEmbed:
    """(B, 3, H, W) of any size -> (B, h, w, C); images are padded to whole patches."""
    return PatchEmbed(
        img_size=None,
        patch_size=patch_size,
        embed_dim=channels,
        norm_layer=nn.LayerNorm if with_norm else None,
        output_fmt="NHWC",
        dynamic_img_pad=True,
    )


class PaddedWindowBlock(SwinTransformerBlock):
    """timm's block, but tokens are padded to whole windows before they are shifted, as in Mask2Former.

    timm shifts first, so tokens at the borders of a map that does not consist of whole windows attend to others.
    Attention is PyTorch's fused one, which is 1.25 times as fast on a CPU as timm's default (Swin-L, 480 x 640 pixels).
    """

    def __init__(self, *arguments: Any, **named_arguments: Any) -> None:
        super().__init__(*arguments, **named_arguments)
        self.attn.fused_attn = True

    def _attn(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        below, right = (-side % window for side, window in zip((height, width), self.window_size, strict=True))
        return super()._attn(F.pad(x, (0, 0, 0, right, 0, below)))[:, :height, :width]


class SwinStage(nn.Module):
    """Blocks of one stage, every second with shifted windows, and the step to half the resolution after them.

    Args:
        channels: C of this stage; `downsample` has twice as many.
        num_heads, window_size, mlp_ratio, qkv_bias: of each block.
        drop_paths: stochastic depth of each block; their number is that of the blocks.
        with_downsample: else `downsample` is None.
    """

    def __init__(
        self,
        channels: int,
        *,
        num_heads: int,
        window_size: int,
        mlp_ratio: float,
        qkv_bias: bool,
        drop_paths: Sequence[float],
        with_downsample: bool,
    ) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(
                PaddedWindowBlock(
                    channels,
                    input_resolution=window_size,  # unused: windows and masks follow the size of the input
                    num_heads=num_heads,
                    window_size=window_size,
                    shift_size=window_size // 2 if index % 2 else 0,
                    always_partition=True,
                    dynamic_mask=True,
                    mlp_ratio=mlp_ratio,
                    qkv_bias=qkv_bias,
                    drop_path=drop_path,
                )
                for index, drop_path in enumerate(drop_paths)
            )
        )
        self.downsample = PatchMerging(channels) if with_downsample else None

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, h, w, C) -> tokens of the same shape, and at half the resolution (the same without `downsample`)."""
        tokens = self.blocks(tokens)
        return tokens, tokens if self.downsample is None else self.downsample(tokens)
