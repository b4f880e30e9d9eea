"""Config keys that Mask2Former-style YAML files inherit from DeepLab."""

from __future__ import annotations

from detectron2.config import CfgNode


def add_deeplab_config(cfg: CfgNode) -> None:
    """Add DeepLab's keys to `cfg`, in place. Only the crop, the poly learning rate and the loss type mean something
    without DeepLab's own head and backbone; the others exist so that YAML files which set them can be read."""
    # Largest share of a crop that one category may fill (RandomCrop_CategoryAreaConstraint); 1.0 = no limit.
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 1.0
    # WarmupPolyLR: lr = base * (1 - iter / max_iter) ** power, or a constant share of base once below it (0 = never).
    cfg.SOLVER.POLY_LR_POWER = 0.9
    cfg.SOLVER.POLY_LR_CONSTANT_ENDING = 0.0

    cfg.MODEL.SEM_SEG_HEAD.LOSS_TYPE = "hard_pixel_mining"
    cfg.MODEL.SEM_SEG_HEAD.PROJECT_FEATURES = ["res2"]
    cfg.MODEL.SEM_SEG_HEAD.PROJECT_CHANNELS = [48]
    cfg.MODEL.SEM_SEG_HEAD.ASPP_CHANNELS = 256
    cfg.MODEL.SEM_SEG_HEAD.ASPP_DILATIONS = [6, 12, 18]
    cfg.MODEL.SEM_SEG_HEAD.ASPP_DROPOUT = 0.1
    cfg.MODEL.SEM_SEG_HEAD.USE_DEPTHWISE_SEPARABLE_CONV = False
    cfg.MODEL.RESNETS.RES4_DILATION = 1
    cfg.MODEL.RESNETS.RES5_MULTI_GRID = [1, 2, 4]
    cfg.MODEL.RESNETS.STEM_TYPE = "deeplab"
