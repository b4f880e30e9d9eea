"""The model class of a configuration, and parts that several meta-architectures share."""

from __future__ import annotations

from typing import Any

from detectron2.modeling import META_ARCH_REGISTRY

from ..clip import VisionTower, clip_from_config
from ..proposer import build_proposer
from ..proposer.network_proposer import PADDINGS
from ..user_code import unknown_name
from ..vocabulary import TextClassifier
from .tasks import Tasks


def model_class(cfg) -> Any:
    """The class (or function) that MODEL.META_ARCHITECTURE names; ValueError if none is registered by that name."""
    name = cfg.MODEL.META_ARCHITECTURE
    if name not in META_ARCH_REGISTRY:
        raise unknown_name("MODEL.META_ARCHITECTURE", name, (registered for registered, _ in META_ARCH_REGISTRY))
    return META_ARCH_REGISTRY.get(name)


def open_vocabulary_arguments(cfg) -> tuple[dict, VisionTower]:
    """Arguments of `OpenVocabularySegmenter` except the visual encoder, and CLIP's vision tower to build that from."""
    ours = cfg.MODEL.MASQCLIP
    if ours.PADDING not in PADDINGS:
        raise ValueError(f"MODEL.MASQCLIP.PADDING is {ours.PADDING!r}; expected one of {', '.join(PADDINGS)}.")
    clip = clip_from_config(cfg)
    arguments = {
        "proposer": build_proposer(cfg),
        "text_classifier": TextClassifier(
            clip.text,
            clip.logit_scale,
            templates=ours.TEXT.TEMPLATES,
            ensemble=ours.TEXT.ENSEMBLE,
            background_templates=ours.TEXT.BACKGROUND_TEMPLATES,
        ),
        "tasks": Tasks.from_config(cfg),
        "extra_class": ours.TEST.EXTRA_CLASS or None,
        "use_object_score": ours.TEST.OBJECT_SCORE,
        "padding": ours.PADDING,
        "padding_rgb": tuple(cfg.MODEL.PIXEL_MEAN),  # the mean color, as published for MaskCLIP
        "tiles": ours.CLIP.TILES,
        "square_tiles": ours.CLIP.SQUARE_TILES,
        "clip_is_loaded": clip.pretrained,
    }
    return arguments, clip.visual
