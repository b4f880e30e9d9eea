"""ClipPretraining: trains a small CLIP on images and captions (stage `clip_pretraining`, for Shapes only).

Input, a list with one dict per image: image (3, S, S) uint8 or float RGB 0..255 at CLIP's resolution or smaller (then
at a random position of the patch grid), and captions (list of str). With regions (R, S, S) bool there is one caption
per region, matched to its mask class token; otherwise one caption, matched to the class token. Images with regions have
CLIP's resolution. Output: {"loss_contrastive": scalar}. There is no inference: the trained CLIP is written as
clip.safetensors, which other stages load by MODEL.MASQCLIP.CLIP.NAME.
"""

from __future__ import annotations

import copy
import zlib
from pathlib import Path

import torch
from detectron2.config import configurable
from detectron2.engine import HookBase
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn

from ...clip import ClipModel, ClipVisionTransformer, clip_from_config, load_clip
from ...visual_encoder import MaskClassTokenEncoder
from .clip_exporter import CLIP_FILE, ClipExporter
from .contrastive_loss import contrastive_loss
from .growth import grow_from
from .initialization import init_for_training
from .training_embeddings import random_windows, training_embeddings
from .weight_average import WeightAverageUpdate

_MAX_LOGIT_SCALE = 100.0  # CLIP's upper bound of the learned scale (Radford et al., 2021, Sec. 2.5)


@META_ARCH_REGISTRY.register()
class ClipPretraining(nn.Module):
    """Both towers of CLIP with the contrastive loss.

    Args:
        clip: the model to train.
        patch_dropout: share of patches dropped from each image without regions, in [0, 1).
        average_decay: decay of a running average of the weights, in [0, 1), which is what is written; 0: no average.

    Raises:
        ValueError: `average_decay` is outside [0, 1).
    """

    unused_settings = ("MODEL.WEIGHTS",)  # of earlier stages

    @configurable
    def __init__(self, *, clip: ClipModel, patch_dropout: float, average_decay: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= average_decay < 1.0:
            raise ValueError(f"MODEL.SHAPES.AVERAGE_DECAY must be in [0, 1), got {average_decay}.")
        self.clip = clip
        self.patch_dropout = patch_dropout
        self.average_decay = average_decay
        self.average = copy.deepcopy(clip).requires_grad_(False) if average_decay else None

    @classmethod
    def from_config(cls, cfg) -> dict:
        clip = clip_from_config(cfg)
        if not isinstance(clip, ClipModel) or not isinstance(clip.visual, ClipVisionTransformer):
            raise ValueError(
                "ClipPretraining trains the CLIP of MODEL.MASQCLIP.CLIP.BUILDER 'PretrainedClip' only, got "
                f"{cfg.MODEL.MASQCLIP.CLIP.BUILDER!r}."
            )
        if not clip.pretrained:
            init_for_training(clip.visual)
            if cfg.MODEL.SHAPES.GROW_FROM:
                grow_from(load_clip(cfg.MODEL.SHAPES.GROW_FROM), clip)
        return {
            "clip": clip.requires_grad_(True).train(),
            "patch_dropout": cfg.MODEL.SHAPES.PATCH_DROPOUT,
            "average_decay": cfg.MODEL.SHAPES.AVERAGE_DECAY,
        }

    @classmethod
    def stage_outputs(cls, output_dir: Path) -> dict[str, str]:
        """Settings with which later stages load the trained CLIP."""
        clip_file = str(output_dir / CLIP_FILE)
        return {"MODEL.MASQCLIP.CLIP.NAME": clip_file, "MODEL.MASQCLIP.CLIP.ARCHITECTURE": ""}

    def build_hooks(self, cfg) -> list[HookBase]:
        """Hooks for the trainer: the running average, the export of the trained CLIP."""
        if self.average is None:
            return [ClipExporter(self.clip, cfg.OUTPUT_DIR)]
        return [WeightAverageUpdate(self, self.average_decay), ClipExporter(self.average, cfg.OUTPUT_DIR)]

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Move the average towards the weights: average = decay * average + (1 - decay) * weights."""
        assert self.average is not None
        for averaged, parameter in zip(self.average.parameters(), self.clip.parameters(), strict=True):
            averaged.lerp_(parameter, 1 - decay)

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        """See the module docstring.

        Raises:
            RuntimeError: the model is in eval mode.
        """
        if not self.training:
            raise RuntimeError(
                "ClipPretraining has no inference; name its clip.safetensors in MODEL.MASQCLIP.CLIP.NAME of a method."
            )
        whole = [record for record in batched_inputs if "regions" not in record]
        with_regions = [record for record in batched_inputs if "regions" in record]
        embeddings, captions = [], []
        for side in sorted({record["image"].shape[-1] for record in whole}):
            same_side = [record for record in whole if record["image"].shape[-1] == side]
            embeddings.append(self._class_embeddings(self._images(same_side)))
            captions += [record["captions"][0] for record in same_side]
        if with_regions:
            embeddings.append(self._region_embeddings(with_regions))
            captions += [caption for record in with_regions for caption in record["captions"]]
        return {
            "loss_contrastive": contrastive_loss(
                torch.cat([rows.float() for rows in embeddings]),
                self.clip.text(self.clip.text.tokenize(captions, truncate=True)),
                self.clip.logit_scale.clamp(max=_MAX_LOGIT_SCALE),
                torch.tensor([zlib.crc32(caption.encode()) for caption in captions], device=self.device),
            )
        }

    @property
    def device(self) -> torch.device:
        return self.clip.log_logit_scale.device

    @property
    def _visual(self) -> ClipVisionTransformer:
        assert isinstance(self.clip.visual, ClipVisionTransformer)
        return self.clip.visual

    def _images(self, records: list[dict]) -> Tensor:
        """Normalized images (B, 3, S, S) of records of the same size."""
        images = torch.stack([record["image"] for record in records]).to(self.device, torch.float32) / 255
        return self.clip.visual.preprocessing.normalize(images)

    def _class_embeddings(self, images: Tensor) -> Tensor:
        """(B, E) of the class tokens."""
        visual, positions = self._visual, None
        if images.shape[-1] < visual.input_resolution:
            window, grid = (side // visual.patch_size for side in (images.shape[-1], visual.input_resolution))
            positions = random_windows(len(images), window, grid, self.device)
        return training_embeddings(visual, images, self.patch_dropout, positions)

    def _region_embeddings(self, records: list[dict]) -> Tensor:
        """(sum of R, E) of the mask class tokens of all regions of all records, in order."""
        regions = nn.utils.rnn.pad_sequence([record["regions"] for record in records], batch_first=True)
        counts = torch.tensor([len(record["regions"]) for record in records])
        real = torch.arange(regions.shape[1]) < counts[:, None]  # (B, largest R)
        mask_logits = regions.to(self.device, torch.float32) * 2 - 1
        encoder = MaskClassTokenEncoder(self._visual)
        return encoder(self._images(records), mask_logits).mask_embeddings[real.to(self.device)]
