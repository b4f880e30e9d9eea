"""CLIP_REGISTRY: the CLIPs that key MODEL.MASQCLIP.CLIP.BUILDER can name, and the default one.

A builder is called with the configuration and returns an object with the members of `Clip`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from detectron2.utils.registry import Registry
from torch import Tensor, nn

from ..user_code import unknown_name
from .architecture import ClipArchitecture
from .model import ClipModel, build_clip, load_clip
from .text_tower import TextTower
from .vision_tower import VisionTower

CLIP_REGISTRY = Registry("CLIP")


class Clip(Protocol):
    """What a builder in `CLIP_REGISTRY` returns."""

    @property
    def visual(self) -> VisionTower:
        """The vision tower, an `nn.Module`."""
        ...

    @property
    def text(self) -> TextTower:
        """The text tower, an `nn.Module`, with the same embedding length."""
        ...

    @property
    def logit_scale(self) -> Tensor | float:
        """Factor of cosine similarities, 1 / temperature."""
        ...

    @property
    def pretrained(self) -> bool:
        """True: the builder loads the weights, so checkpoints of a method may lack them. False: they must have them."""
        ...


def clip_from_config(cfg) -> Clip:
    """The CLIP that MODEL.MASQCLIP.CLIP.BUILDER names, frozen, in eval mode.

    Raises:
        ValueError: no such builder, or its result lacks a member of `Clip`, `VisionTower` or `TextTower`.
        FileNotFoundError, ValueError: see `load_clip` and `ClipArchitecture.from_name`.
    """
    name = cfg.MODEL.MASQCLIP.CLIP.BUILDER
    if name not in CLIP_REGISTRY:
        raise unknown_name("MODEL.MASQCLIP.CLIP.BUILDER", name, (registered for registered, _ in CLIP_REGISTRY))
    clip = CLIP_REGISTRY.get(name)(cfg)
    for what, part, protocol in (
        ("its CLIP", clip, Clip),
        ("the vision tower", getattr(clip, "visual", None), VisionTower),
        ("the text tower", getattr(clip, "text", None), TextTower),
    ):
        if missing := _missing_members(part, protocol):
            raise ValueError(f"CLIP builder {name}: {what} lacks {', '.join(missing)}; see clip.{protocol.__name__}.")
        if protocol is not Clip and not isinstance(part, nn.Module):
            raise ValueError(f"CLIP builder {name}: {what} must be an nn.Module, got {type(part).__name__}.")
    if clip.visual.output_dim != clip.text.output_dim:
        raise ValueError(
            f"CLIP builder {name}: image embeddings have length {clip.visual.output_dim}, text embeddings "
            f"{clip.text.output_dim}; both towers must share one space."
        )
    for tower in (clip.visual, clip.text):
        tower.requires_grad_(False).eval()
    return clip


@CLIP_REGISTRY.register()
def PretrainedClip(cfg) -> ClipModel:
    """CLIP by MODEL.MASQCLIP.CLIP.NAME, or of CLIP.ARCHITECTURE with weights from a checkpoint or from training."""
    keys = cfg.MODEL.MASQCLIP.CLIP
    architecture = ClipArchitecture.from_name(keys.ARCHITECTURE) if keys.ARCHITECTURE else None
    if keys.NAME:
        clip = load_clip(keys.NAME, architecture.to_dict() if architecture else None)
    elif architecture is None:
        raise ValueError(
            "Neither MODEL.MASQCLIP.CLIP.NAME (pretrained weights) nor MODEL.MASQCLIP.CLIP.ARCHITECTURE (sizes without "
            "weights) is set; set one of them."
        )
    else:
        clip = build_clip(architecture)
    clip.visual.preprocessing = replace(clip.preprocessing, antialias=keys.ANTIALIAS)
    return clip


def _missing_members(part: object, protocol: type) -> list[str]:
    return [name for name in vars(protocol) if not name.startswith("_") and not hasattr(part, name)]
