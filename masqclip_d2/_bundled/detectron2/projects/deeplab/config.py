"""DeepLab's config keys, which Mask2Former-style YAML files set."""

from __future__ import annotations

from detectron2.config import CfgNode


def add_deeplab_config(cfg: CfgNode) -> None:
    """Add DeepLab's keys to `cfg`, in place.

    Only the crop, the poly learning rate and the loss type have an effect without DeepLab's own head and backbone; the
    other keys are accepted for compatibility with YAML files.
    """
    # Largest fraction of a crop for one category (RandomCrop_CategoryAreaConstraint); 1.0 = no limit.
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 1.0
    # WarmupPolyLR: lr = base * (1 - iter / max_iter) ** power, or a constant fraction of base if larger.
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
