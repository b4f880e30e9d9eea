"""A backbone small enough to train from scratch on a CPU in minutes."""

from __future__ import annotations

from collections.abc import Sequence

from detectron2.config import configurable
from detectron2.layers import Conv2d, ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import Tensor, nn
from torch.nn import functional as F

_GROUP_WIDTH = 8  # channels per group of GroupNorm


@BACKBONE_REGISTRY.register()
class TinyBackbone(Backbone):
    """Two strided convolutions, then stages of one residual block: res2, res3, ... at strides 4, 8, ...

    All norms are GroupNorm, so that results do not depend on the batch. A 160 x 160 image takes about 0.1 G
    multiply-adds with the default widths.

    Args:
        widths: channels of the stages, at least four: res2, res3, res4, res5; multiples of 16.
        in_channels: channels of the image.

    Raises:
        ValueError: there are fewer than four widths, or one is no positive multiple of 16.
    """

    @configurable
    def __init__(self, *, widths: Sequence[int], in_channels: int = 3) -> None:
        super().__init__()
        if len(widths) < 4 or any(width < 1 or width % (2 * _GROUP_WIDTH) for width in widths):
            raise ValueError(
                f"Widths of TinyBackbone must be four or more positive multiples of {2 * _GROUP_WIDTH} (res2, res3, "
                f"...), got {list(widths)}. Set MODEL.SHAPES.BACKBONE_WIDTHS."
            )
        first = widths[0]
        self.stem = nn.Sequential(_conv(in_channels, first // 2, stride=2), _conv(first // 2, first, stride=2))
        names = [f"res{index}" for index in range(2, 2 + len(widths))]
        for index, name in enumerate(names):
            stride, inputs = (1, first) if index == 0 else (2, widths[index - 1])
            self.add_module(name, ResidualBlock(inputs, widths[index], stride=stride))
        self._out_features = names
        self._out_feature_channels = dict(zip(names, widths, strict=True))
        self._out_feature_strides = {name: 4 * 2**index for index, name in enumerate(names)}

    @classmethod
    def from_config(cls, cfg, input_shape: ShapeSpec) -> dict:
        return {"widths": cfg.MODEL.SHAPES.BACKBONE_WIDTHS, "in_channels": input_shape.channels}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, C, H, W), any size -> {"res2": (B, widths[0], ceil(H / 4), ceil(W / 4)), ...}."""
        features = {}
        feature_map = self.stem(x)
        for name in self._out_features:
            feature_map = features[name] = getattr(self, name)(feature_map)
        return features


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution if the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, out_channels, stride)
        self.conv2 = _conv(out_channels, out_channels, 1, activation=None)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = None if same else _conv(in_channels, out_channels, stride, kernel_size=1, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return F.relu(shortcut + self.conv2(self.conv1(x)))


def _conv(in_channels: int, out_channels: int, stride: int, kernel_size: int = 3, activation=F.relu) -> Conv2d:
    """Convolution without bias, GroupNorm, activation."""
    conv = Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        bias=False,
        norm=nn.GroupNorm(out_channels // _GROUP_WIDTH, out_channels),
        activation=activation,
    )
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
