"""Base class of backbones."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Mapping, Sequence

from detectron2.layers import ShapeSpec
from torch import Tensor, nn


class Backbone(nn.Module, metaclass=ABCMeta):
    """Module from an image to feature maps by name.

    Subclasses set `_out_features` (names in order), `_out_feature_channels` and `_out_feature_strides` (by name), or
    override `output_shape`.
    """

    _out_features: Sequence[str]
    _out_feature_channels: Mapping[str, int]
    _out_feature_strides: Mapping[str, int]

    @abstractmethod
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> name -> (B, C, H / stride, W / stride)."""

    @property
    def size_divisibility(self) -> int:
        """Height and width of the input must be multiples of this; 0 = any size."""
        return 0

    @property
    def padding_constraints(self) -> dict[str, int]:
        """Constraints for `ImageList.from_tensors`: "size_divisibility", "square_size"."""
        return {}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each feature map."""
        return {
            name: ShapeSpec(channels=self._out_feature_channels[name], stride=self._out_feature_strides[name])
            for name in self._out_features
        }
