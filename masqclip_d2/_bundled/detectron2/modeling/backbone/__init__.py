"""Networks that turn an image into named feature maps."""

from .backbone import Backbone
from .build import BACKBONE_REGISTRY, build_backbone
from .resnet import BasicStem, BottleneckBlock, ResNet, build_resnet_backbone

__all__ = [
    "BACKBONE_REGISTRY",
    "Backbone",
    "BasicStem",
    "BottleneckBlock",
    "ResNet",
    "build_backbone",
    "build_resnet_backbone",
]
