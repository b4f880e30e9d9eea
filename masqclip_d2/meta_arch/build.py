"""Parts that several meta-architectures share, from the configuration."""

from __future__ import annotations

from ..clip.architecture import ClipArchitecture
from ..clip.model import ClipModel, build_clip, load_clip
from ..clip.vision_transformer import ClipVisionTransformer
from ..proposer import build_proposer
from ..proposer.network_proposer import PADDINGS
from ..vocabulary import TextClassifier
from .tasks import Tasks


def open_vocabulary_arguments(cfg) -> tuple[dict, ClipVisionTransformer]:
    """Arguments of `OpenVocabularySegmenter` except the visual encoder, and CLIP's vision tower to build that from."""
    ours = cfg.MODEL.MASQCLIP
    if ours.PADDING not in PADDINGS:
        raise ValueError(f"MODEL.MASQCLIP.PADDING is {ours.PADDING!r}; expected one of {', '.join(PADDINGS)}.")
    clip = clip_from_config(cfg)
    arguments = {
        "proposer": build_proposer(cfg),
        "text_classifier": TextClassifier(
            clip.text, clip.logit_scale, templates=ours.TEXT.TEMPLATES, ensemble=ours.TEXT.ENSEMBLE
        ),
        "tasks": Tasks.from_config(cfg),
        "extra_class": ours.TEST.EXTRA_CLASS or None,
        "use_object_score": ours.TEST.OBJECT_SCORE,
        "padding": ours.PADDING,
        "padding_rgb": tuple(cfg.MODEL.PIXEL_MEAN),  # the mean colour, as published for MaskCLIP
        "antialias": ours.CLIP.ANTIALIAS,
        "clip_is_loaded": bool(ours.CLIP.NAME),
    }
    return arguments, clip.visual


def clip_from_config(cfg) -> ClipModel:
    """CLIP by MODEL.MASQCLIP.CLIP.NAME, or of CLIP.ARCHITECTURE with numbers that come later; frozen."""
    clip = cfg.MODEL.MASQCLIP.CLIP
    architecture = ClipArchitecture.from_name(clip.ARCHITECTURE) if clip.ARCHITECTURE else None
    if clip.NAME:
        return load_clip(clip.NAME, architecture.to_dict() if architecture else None)
    if architecture is None:
        raise ValueError(
            "Neither MODEL.MASQCLIP.CLIP.NAME (weights that exist) nor MODEL.MASQCLIP.CLIP.ARCHITECTURE (sizes alone) "
            "is set; set one of them."
        )
    return build_clip(architecture).requires_grad_(False).eval()
