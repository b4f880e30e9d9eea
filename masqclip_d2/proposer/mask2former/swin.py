"""Swin Transformer (Liu et al., ICCV 2021) as the backbone of released Mask2Former weights, from timm's parts."""

from __future__ import annotations

from collections.abc import Sequence

from detectron2.config import configurable
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import Tensor, nn

_STAGES = ("res2", "res3", "res4", "res5")


@BACKBONE_REGISTRY.register()
class TimmSwinTransformer(Backbone):
    """Swin Transformer with the parameter names of Mask2Former's `D2SwinTransformer`: res2..res5 at strides 4..32.

    Args:
        patch_size: side of the patches in pixels; res2 is at this stride.
        embed_dim: channels of the first stage; each stage has twice as many as the one before.
        depths, num_heads: blocks and attention heads of each stage.
        window_size: side of the attention windows.
        mlp_ratio: width of the feed-forward networks relative to the channels.
        qkv_bias: with a bias of queries, keys and values.
        drop_path_rate: stochastic depth of the last block in training, in [0, 1]; it grows linearly from the first.
        patch_norm: normalize the patch embedding.
        out_features: names of the features to return.
    """

    patch_embed: nn.Module

    @configurable
    def __init__(
        self,
        *,
        patch_size: int,
        embed_dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        window_size: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        patch_norm: bool = True,
        out_features: Sequence[str] = _STAGES,
    ) -> None:
        super().__init__()
        if len(depths) != len(_STAGES) or len(num_heads) != len(_STAGES):
            raise ValueError(
                f"MODEL.SWIN.DEPTHS and NUM_HEADS need {len(_STAGES)} numbers each, got {list(depths)} and "
                f"{list(num_heads)}."
            )
        from .swin_layers import SwinStage, patch_embedding  # takes seconds to import, as timm does

        self._out_features = [name for name in _STAGES if name in out_features]
        self._out_feature_strides = {name: patch_size << index for index, name in enumerate(_STAGES)}
        self._out_feature_channels = {name: embed_dim << index for index, name in enumerate(_STAGES)}
        self.patch_embed = patch_embedding(patch_size, embed_dim, patch_norm)
        drop_paths = [drop_path_rate * index / max(sum(depths) - 1, 1) for index in range(sum(depths))]
        self.layers = nn.ModuleList(
            SwinStage(
                self._out_feature_channels[name],
                num_heads=num_heads[index],
                window_size=window_size,
                mlp_ratio=mlp_ratio,
                qkv_bias=qkv_bias,
                drop_paths=drop_paths[sum(depths[:index]) : sum(depths[: index + 1])],
                with_downsample=name != _STAGES[-1],
            )
            for index, name in enumerate(_STAGES)
        )
        for index, name in enumerate(_STAGES):
            self.add_module(f"norm{index}", nn.LayerNorm(self._out_feature_channels[name]))

    @classmethod
    def from_config(cls, cfg, input_shape) -> dict:
        """Read MODEL.SWIN.*; ValueError for values that no published configuration has."""
        swin = cfg.MODEL.SWIN
        unsupported = {"APE": False, "QK_SCALE": None, "DROP_RATE": 0.0, "ATTN_DROP_RATE": 0.0, "USE_CHECKPOINT": False}
        for key, value in unsupported.items():
            if swin[key] != value:
                raise ValueError(f"MODEL.SWIN.{key} is {swin[key]!r}; only {value!r} is supported.")
        names = ("patch_size", "embed_dim", "depths", "num_heads", "window_size", "mlp_ratio", "qkv_bias")
        further = ("drop_path_rate", "patch_norm", "out_features")
        return {name: swin[name.upper()] for name in (*names, *further)}

    @property
    def size_divisibility(self) -> int:
        return self._out_feature_strides[_STAGES[-1]]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> {"res2": (B, C, H / 4, W / 4), ..., "res5": (B, 8 C, H / 32, W / 32)}."""
        tokens = self.patch_embed(x)  # (B, h, w, C)
        features = {}
        for index, (name, stage) in enumerate(zip(_STAGES, self.layers, strict=True)):
            tokens, coarser = stage(tokens)
            if name in self._out_features:
                features[name] = getattr(self, f"norm{index}")(tokens).permute(0, 3, 1, 2).contiguous()
            tokens = coarser
        return features
