"""ResNet (He et al., "Deep Residual Learning for Image Recognition", CVPR 2016) as a feature extractor.

Names of parameters: stem.conv1.*, res{2..5}.{block}.conv{1,2,3}.*, res{2..5}.0.shortcut.*, each with weight and norm.*.
"""

from __future__ import annotations

from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.layers import CNNBlockBase, Conv2d, ShapeSpec, get_norm
from torch import Tensor, nn
from torch.nn import functional as F

from .backbone import Backbone
from .build import BACKBONE_REGISTRY

# Blocks in res2, res3, res4, res5 by depth (the paper's Table 1).
_NUM_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_BASIC_DEPTHS = (18, 34)  # depths with two 3x3 convolutions per block
_STAGE_NAMES = ("res2", "res3", "res4", "res5")


def _conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    norm: str,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
) -> Conv2d:
    """A padded convolution without bias, followed by `norm`."""
    conv = Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=dilation * (kernel_size // 2),
        dilation=dilation,
        groups=groups,
        bias=False,
        norm=get_norm(norm, out_channels),
    )
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def _shortcut(in_channels: int, out_channels: int, norm: str, stride: int) -> Conv2d | None:
    """Projection of a block's input; None (no parameters) if the channels are equal."""
    return None if in_channels == out_channels else _conv(in_channels, out_channels, 1, norm, stride=stride)


class BasicStem(CNNBlockBase):
    """7x7 convolution with stride 2 and 3x3 max pooling with stride 2: (B, 3, H, W) -> (B, C, H / 4, W / 4)."""

    def __init__(self, in_channels: int = 3, out_channels: int = 64, norm: str = "BN") -> None:
        super().__init__(in_channels, out_channels, stride=4)
        self.conv1 = _conv(in_channels, out_channels, 7, norm, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.relu_(self.conv1(x)), kernel_size=3, stride=2, padding=1)


class BasicBlock(CNNBlockBase):
    """Two 3x3 convolutions and a shortcut; the block of ResNet-18 and 34."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, norm: str = "BN") -> None:
        super().__init__(in_channels, out_channels, stride)
        self.shortcut = _shortcut(in_channels, out_channels, norm, stride)
        self.conv1 = _conv(in_channels, out_channels, 3, norm, stride=stride)
        self.conv2 = _conv(out_channels, out_channels, 3, norm)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.conv2(F.relu_(self.conv1(x)))
        return F.relu_(residual + (x if self.shortcut is None else self.shortcut(x)))


class BottleneckBlock(CNNBlockBase):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; the block of ResNet-50 and deeper.

    Args:
        bottleneck_channels: channels inside the block.
        stride_in_1x1: the first 1x1 convolution strides (MSRA weights); else the 3x3 one (torchvision weights).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bottleneck_channels: int,
        stride: int = 1,
        num_groups: int = 1,
        norm: str = "BN",
        stride_in_1x1: bool = False,
        dilation: int = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, stride)
        stride_1x1, stride_3x3 = (stride, 1) if stride_in_1x1 else (1, stride)
        self.shortcut = _shortcut(in_channels, out_channels, norm, stride)
        self.conv1 = _conv(in_channels, bottleneck_channels, 1, norm, stride=stride_1x1)
        self.conv2 = _conv(
            bottleneck_channels, bottleneck_channels, 3, norm, stride=stride_3x3, dilation=dilation, groups=num_groups
        )
        self.conv3 = _conv(bottleneck_channels, out_channels, 1, norm)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.conv3(F.relu_(self.conv2(F.relu_(self.conv1(x)))))
        return F.relu_(residual + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(Backbone):
    """A stem and up to four stages of residual blocks.

    Args:
        stem: its output has the stride `stem.stride`.
        stages: the blocks of res2, res3, ... in order.
        out_features: which of "stem", "res2", ..., "res5" `forward` returns.
        freeze_at: 0 = train all, 1 = freeze the stem, 2 = stem and res2, ...
    """

    def __init__(
        self,
        stem: CNNBlockBase,
        stages: Sequence[Sequence[CNNBlockBase]],
        *,
        out_features: Sequence[str],
        freeze_at: int = 0,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.stage_names = _STAGE_NAMES[: len(stages)]
        strides, channels = {"stem": stem.stride}, {"stem": stem.out_channels}
        stride = stem.stride
        for name, blocks in zip(self.stage_names, stages, strict=True):
            self.add_module(name, nn.Sequential(*blocks))
            for block in blocks:
                stride *= block.stride
            strides[name], channels[name] = stride, blocks[-1].out_channels
        unknown = set(out_features) - set(strides)
        if unknown or not out_features:
            raise ValueError(f"ResNet has no features {sorted(unknown)}; choose one or more of {', '.join(strides)}.")
        self._out_features = list(out_features)
        self._out_feature_strides = {name: strides[name] for name in out_features}
        self._out_feature_channels = {name: channels[name] for name in out_features}
        self.freeze(freeze_at)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> the requested maps by name, each (B, C, H / stride, W / stride)."""
        if x.dim() != 4:
            raise ValueError(f"ResNet takes (B, C, H, W), got a tensor of shape {tuple(x.shape)}.")
        features = {"stem": self.stem(x)}
        x = features["stem"]
        for name in self.stage_names:
            x = getattr(self, name)(x)
            features[name] = x
        return {name: features[name] for name in self._out_features}

    def freeze(self, freeze_at: int = 0) -> ResNet:
        """Freeze the stem (freeze_at >= 1) and the stages up to res{freeze_at}; returns self."""
        if freeze_at >= 1:
            self.stem.freeze()
        for index, name in enumerate(self.stage_names, start=2):
            if freeze_at >= index:
                for block in getattr(self, name):
                    block.freeze()
        return self


@BACKBONE_REGISTRY.register()
def build_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """Build the ResNet of `cfg.MODEL.RESNETS`; stages after the last requested feature are not built.

    Raises:
        ValueError: an unknown depth or feature, or a setting that this depth cannot have.
    """
    options = cfg.MODEL.RESNETS
    _check_options(options)
    last_feature = max(options.OUT_FEATURES, key=("stem", *_STAGE_NAMES).index)
    num_stages = 0 if last_feature == "stem" else _STAGE_NAMES.index(last_feature) + 1

    assert input_shape.channels is not None, "A ResNet needs the number of input channels."
    stem = BasicStem(input_shape.channels, options.STEM_OUT_CHANNELS, options.NORM)
    in_channels = options.STEM_OUT_CHANNELS
    stages = []
    for index in range(num_stages):
        stages.append(_stage_blocks(options, index, in_channels))
        in_channels = stages[-1][-1].out_channels
    return ResNet(stem, stages, out_features=options.OUT_FEATURES, freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT)


def _stage_blocks(options: CfgNode, index: int, in_channels: int) -> list[CNNBlockBase]:
    """The blocks of stage res{index + 2}. Channels double per stage; the first block strides, except in res2."""
    out_channels = options.RES2_OUT_CHANNELS * 2**index
    dilation = options.RES5_DILATION if index == 3 else 1
    first_stride = 1 if index == 0 or dilation > 1 else 2
    blocks = []
    for block_index in range(_NUM_BLOCKS[options.DEPTH][index]):
        stride = first_stride if block_index == 0 else 1
        if options.DEPTH in _BASIC_DEPTHS:
            block = BasicBlock(in_channels, out_channels, stride=stride, norm=options.NORM)
        else:
            block = BottleneckBlock(
                in_channels,
                out_channels,
                bottleneck_channels=options.NUM_GROUPS * options.WIDTH_PER_GROUP * 2**index,
                stride=stride,
                num_groups=options.NUM_GROUPS,
                norm=options.NORM,
                stride_in_1x1=options.STRIDE_IN_1X1,
                dilation=dilation,
            )
        blocks.append(block)
        in_channels = out_channels
    return blocks


def _check_options(options: CfgNode) -> None:
    if options.DEPTH not in _NUM_BLOCKS:
        raise ValueError(f"MODEL.RESNETS.DEPTH is {options.DEPTH}; expected one of {', '.join(map(str, _NUM_BLOCKS))}.")
    unknown = set(options.OUT_FEATURES) - {"stem", *_STAGE_NAMES}
    if unknown or not options.OUT_FEATURES:
        raise ValueError(
            f"MODEL.RESNETS.OUT_FEATURES is {list(options.OUT_FEATURES)}; expected one or more of stem, "
            f"{', '.join(_STAGE_NAMES)}."
        )
    if options.RES5_DILATION not in (1, 2):
        raise ValueError(f"MODEL.RESNETS.RES5_DILATION is {options.RES5_DILATION}; expected 1 or 2.")
    if options.DEPTH in _BASIC_DEPTHS:
        # Options without effect on basic blocks are errors.
        for name, expected in (("RES2_OUT_CHANNELS", 64), ("RES5_DILATION", 1), ("NUM_GROUPS", 1)):
            if options[name] != expected:
                raise ValueError(
                    f"MODEL.RESNETS.{name} is {options[name]}; ResNet-{options.DEPTH} needs {name} {expected}."
                )
