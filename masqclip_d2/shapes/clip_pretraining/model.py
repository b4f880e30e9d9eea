"""ClipPretraining: trains a small CLIP on images and captions (stage `clip_pretraining`, for Shapes only).

Input, a list with one dict per image: image (3, S, S) uint8 or float RGB 0..255 at CLIP's resolution or smaller (then
at a random position of the patch grid), and caption (str). Output: {"loss_contrastive": scalar}. There is no inference:
the trained CLIP is written as clip.safetensors, which other stages load by MODEL.MASQCLIP.CLIP.NAME.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import torch
from detectron2.config import configurable
from detectron2.engine import HookBase
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn

from ...clip import ClipModel, clip_from_config
from .clip_exporter import CLIP_FILE, ClipExporter
from .contrastive_loss import contrastive_loss
from .initialization import init_for_training
from .training_embeddings import random_windows, training_embeddings

_MAX_LOGIT_SCALE = 100.0  # CLIP's upper bound of the learned scale (Radford et al., 2021, Sec. 2.5)


@META_ARCH_REGISTRY.register()
class ClipPretraining(nn.Module):
    """Both towers of CLIP with the contrastive loss.

    Args:
        clip: the model to train.
        patch_dropout: share of patches dropped from each image, in [0, 1).
    """

    unused_settings = ("MODEL.WEIGHTS",)  # of earlier stages

    @configurable
    def __init__(self, *, clip: ClipModel, patch_dropout: float) -> None:
        super().__init__()
        self.clip = clip
        self.patch_dropout = patch_dropout

    @classmethod
    def from_config(cls, cfg) -> dict:
        clip = clip_from_config(cfg)
        if not isinstance(clip, ClipModel):
            raise ValueError(
                "ClipPretraining trains the CLIP of MODEL.MASQCLIP.CLIP.BUILDER 'PretrainedClip' only, got "
                f"{cfg.MODEL.MASQCLIP.CLIP.BUILDER!r}."
            )
        if not clip.pretrained:
            init_for_training(clip.visual)
        return {
            "clip": clip.requires_grad_(True).train(),
            "patch_dropout": cfg.MODEL.SHAPES.PATCH_DROPOUT,
        }

    @classmethod
    def stage_outputs(cls, output_dir: Path) -> dict[str, str]:
        """Settings with which later stages load the trained CLIP."""
        clip_file = str(output_dir / CLIP_FILE)
        return {"MODEL.MASQCLIP.CLIP.NAME": clip_file, "MODEL.MASQCLIP.CLIP.ARCHITECTURE": ""}

    def build_hooks(self, cfg) -> list[HookBase]:
        """Hooks for the trainer: the export of the trained CLIP."""
        return [ClipExporter(self.clip, cfg.OUTPUT_DIR)]

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        """See the module docstring.

        Raises:
            RuntimeError: the model is in eval mode.
        """
        if not self.training:
            raise RuntimeError(
                "ClipPretraining has no inference; name its clip.safetensors in MODEL.MASQCLIP.CLIP.NAME of a method."
            )
        device = self.clip.log_logit_scale.device
        images = torch.stack([record["image"] for record in batched_inputs]).to(device, torch.float32) / 255
        captions = [record["caption"] for record in batched_inputs]
        visual = self.clip.visual
        positions = None
        if images.shape[-1] < visual.input_resolution:
            window, grid = (side // visual.patch_size for side in (images.shape[-1], visual.input_resolution))
            positions = random_windows(len(images), window, grid, device)
        return {
            "loss_contrastive": contrastive_loss(
                training_embeddings(visual, visual.preprocessing.normalize(images), self.patch_dropout, positions),
                self.clip.text(self.clip.text.tokenize(captions, truncate=True)),
                self.clip.logit_scale.clamp(max=_MAX_LOGIT_SCALE),
                torch.tensor([zlib.crc32(caption.encode()) for caption in captions], device=device),
            )
        }
