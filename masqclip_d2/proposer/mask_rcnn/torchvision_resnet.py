"""torchvision's ResNet as a Detectron2 backbone with torchvision's parameter names."""

from __future__ import annotations

from typing import Any

from detectron2.config import configurable
from detectron2.layers import FrozenBatchNorm2d, get_norm
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import Tensor, nn
from torch.nn import functional as F

_DEPTHS = (18, 34, 50, 101, 152)
_STAGES = ("layer1", "layer2", "layer3", "layer4")


@BACKBONE_REGISTRY.register()
class TorchvisionResNet(Backbone):
    """ResNet with the parameter names of torchvision's weights (conv1, bn1, layer1..4): res2..res5 at strides 4..32.

    Args:
        depth: 18, 34, 50, 101 or 152.
        freeze_at: as in Detectron2: number of stages (stem, res2, ..., res5) that are frozen; 0: none.
        norm: a name of Detectron2's `get_norm`, such as "FrozenBN".
        frozen_bn_eps: epsilon of "FrozenBN".

    Raises:
        ValueError: torchvision has no ResNet of this depth.
    """

    conv1: nn.Module
    bn1: nn.Module

    @configurable
    def __init__(self, *, depth: int, freeze_at: int, norm: str, frozen_bn_eps: float = 1e-5) -> None:
        super().__init__()
        if depth not in _DEPTHS:
            raise ValueError(f"MODEL.RESNETS.DEPTH is {depth}; torchvision has {', '.join(map(str, _DEPTHS))}.")
        from torchvision.models import resnet  # takes a second to import

        def norm_layer(channels: int) -> Any:
            layer = get_norm(norm, channels)
            if isinstance(layer, FrozenBatchNorm2d):
                layer.eps = frozen_bn_eps
            return layer

        network = getattr(resnet, f"resnet{depth}")(weights=None, norm_layer=norm_layer)
        for name in ("conv1", "bn1", *_STAGES):
            self.add_module(name, getattr(network, name))
        for name in (("conv1", "bn1"), *((stage,) for stage in _STAGES))[:freeze_at]:
            for part in name:
                frozen = FrozenBatchNorm2d.convert_frozen_batchnorm(getattr(self, part))
                setattr(self, part, frozen.requires_grad_(False))
        self._out_features = ["res2", "res3", "res4", "res5"]
        last = network.fc.in_features
        self._out_feature_channels = {name: last >> (3 - index) for index, name in enumerate(self._out_features)}
        self._out_feature_strides = {name: 4 << index for index, name in enumerate(self._out_features)}

    @classmethod
    def from_config(cls, cfg, input_shape) -> dict:
        return {
            "depth": cfg.MODEL.RESNETS.DEPTH,
            "freeze_at": cfg.MODEL.BACKBONE.FREEZE_AT,
            "norm": cfg.MODEL.RESNETS.NORM,
            "frozen_bn_eps": cfg.MODEL.MASQCLIP.PROPOSER.MASK_RCNN.FROZEN_BN_EPS,
        }

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> {"res2": (B, C, H / 4, W / 4), ..., "res5": (B, 8 C, H / 32, W / 32)}."""
        feature_map = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), kernel_size=3, stride=2, padding=1)
        features = {}
        for name, stage in zip(self._out_features, _STAGES, strict=True):
            feature_map = features[name] = getattr(self, stage)(feature_map)
        return features
