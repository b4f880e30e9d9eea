"""Backbones by registered name."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry

from .backbone import Backbone

BACKBONE_REGISTRY = Registry("BACKBONE")
BACKBONE_REGISTRY.__doc__ = "Backbones: `obj(cfg, input_shape: ShapeSpec)` gives a `Backbone`."


def build_backbone(cfg: CfgNode, input_shape: ShapeSpec | None = None) -> Backbone:
    """Build `cfg.MODEL.BACKBONE.NAME`; without `input_shape`, for as many channels as `PIXEL_MEAN` has.

    Raises:
        TypeError: the registered object does not give a `Backbone`.
    """
    if input_shape is None:
        input_shape = ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN))
    backbone = BACKBONE_REGISTRY.get(cfg.MODEL.BACKBONE.NAME)(cfg, input_shape)
    if not isinstance(backbone, Backbone):
        raise TypeError(f"{cfg.MODEL.BACKBONE.NAME} gave a {type(backbone).__name__}; expected a Backbone.")
    return backbone
