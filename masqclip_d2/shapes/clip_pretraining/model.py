"""ClipPretraining: a small CLIP learned from images and captions (stage `clip_pretraining`, for Shapes only).

Input in training, a list with one dict per image: image (3, S, S) uint8 or float RGB 0..255 at CLIP's resolution or
smaller (a window of such an image, at a random place), and caption (str). Output: {"loss_contrastive": scalar}. It is
trained to be loaded by name elsewhere, so it answers nothing at test.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import torch
from detectron2.config import configurable
from detectron2.engine import HookBase
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn

from ...clip.model import ClipModel
from ...clip.preprocessing import normalize_rgb
from ...meta_arch.build import clip_from_config
from .contrastive_loss import CLIP_FILE, ClipExporter, contrastive_loss, random_windows
from .initialization import init_for_training
from .training_embeddings import training_embeddings

_MAX_LOGIT_SCALE = 100.0  # CLIP (Radford et al., 2021, Sec. 2.5) clips the learned scale there


@META_ARCH_REGISTRY.register()
class ClipPretraining(nn.Module):
    """Both towers of CLIP with the contrastive loss.

    Args:
        clip: the model that learns.
        patch_dropout: share of patches left out of each training image, in [0, 1).
    """

    unused_settings = ("MODEL.WEIGHTS",)  # of earlier stages

    @configurable
    def __init__(self, *, clip: ClipModel, patch_dropout: float) -> None:
        super().__init__()
        self.clip = clip
        self.patch_dropout = patch_dropout

    @classmethod
    def from_config(cls, cfg) -> dict:
        ours = cfg.MODEL.MASQCLIP
        clip = clip_from_config(cfg)
        if not ours.CLIP.NAME:
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
                "ClipPretraining answers nothing; name its clip.safetensors in MODEL.MASQCLIP.CLIP.NAME."
            )
        device = self.clip.log_logit_scale.device
        images = torch.stack([record["image"] for record in batched_inputs]).to(device, torch.float32) / 255
        captions = [record["caption"] for record in batched_inputs]
        visual = self.clip.visual
        places = None
        if images.shape[-1] < visual.input_resolution:
            window, grid = (side // visual.patch_size for side in (images.shape[-1], visual.input_resolution))
            places = random_windows(len(images), window, grid, device)
        return {
            "loss_contrastive": contrastive_loss(
                training_embeddings(visual, normalize_rgb(images), self.patch_dropout, places),
                self.clip.text(self.clip.text.tokenize(captions, truncate=True)),
                self.clip.logit_scale.clamp(max=_MAX_LOGIT_SCALE),
                torch.tensor([zlib.crc32(caption.encode()) for caption in captions], device=device),
            )
        }
