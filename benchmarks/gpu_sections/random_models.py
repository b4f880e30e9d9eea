"""Models with random weights at the sizes of the configurations of the papers, or tiny ones; nothing is downloaded."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from masqclip_d2 import Predictor
from masqclip_d2.config import load_config
from masqclip_d2.vocabulary import Vocabulary

from .settings import Settings

_CLIP = "ViT-L/14@336px"
_TINY_CLIP = {
    "image_resolution": 16, "patch_size": 8, "vision_width": 32, "vision_layers": 2, "vision_heads": 1, "embed_dim": 16,
    "text_width": 32, "text_layers": 1, "text_heads": 2, "context_length": 16, "vocab_size": 49408,
    "activation": "quick_gelu",
}  # fmt: skip
_TINY_SIZES = {
    "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS": 1, "MODEL.SEM_SEG_HEAD.CONVS_DIM": 64,
    "MODEL.SEM_SEG_HEAD.MASK_DIM": 64, "MODEL.MASK_FORMER.HIDDEN_DIM": 64, "MODEL.MASK_FORMER.NHEADS": 1,
    "MODEL.MASK_FORMER.DEC_LAYERS": 2, "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES": 4,
    "MODEL.MASK_FORMER.DIM_FEEDFORWARD": 32, "MODEL.MASK_FORMER.TRAIN_NUM_POINTS": 16,
    "MODEL.MASQCLIP.PROPOSER.ENCODER_FFN_DIM": 32, "MODEL.SHAPES.BACKBONE_WIDTHS": "[16, 16, 16, 32, 32]",
    "MODEL.MASQCLIP.RMA.LAYERS": [],
}  # fmt: skip
# Name -> configurations of full size and of Shapes, which the tiny form uses.
CONFIGS = {
    "MasQCLIP": ("masqclip_r50", "shapes/masqclip"),
    "MaskCLIP": ("maskclip_r50", "shapes/maskclip"),
    "teacher": ("coco/teacher_r50", "shapes/teacher"),
    "student": ("coco/student_r50", "shapes/student"),
}
_WITH_RMA = "MaskCLIP"


@dataclass
class RandomModels:
    """Builder of models, images and configurations."""

    settings: Settings
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp()))

    @property
    def side(self) -> int:
        """Pixels of the square images."""
        return 32 if self.settings.tiny else 1024

    def config(self, name: str, **options: Any):
        """Configuration of a key of `CONFIGS` without weights."""
        return load_config(CONFIGS[name][self.settings.tiny], _words({**self._options(name), **options}))

    def predictor(self, name: str) -> Predictor:
        """A predictor with random weights; `name` is a key of `CONFIGS`."""
        torch.manual_seed(0)
        return Predictor(CONFIGS[name][self.settings.tiny], opts=_words(self._options(name)))

    def _options(self, name: str) -> dict[str, Any]:
        device = self.settings.device
        options: dict[str, Any] = {"MODEL.WEIGHTS": "", "MODEL.DEVICE": str(device)}
        options |= {"MODEL.MASQCLIP.TEXT.TEMPLATES": "name", "MODEL.MASQCLIP.TEXT.BACKGROUND_PROMPTS": ""}
        options |= {"INPUT.MIN_SIZE_TEST": self.side, "MODEL.MASQCLIP.CLIP.NAME": ""}
        if not self.settings.tiny:
            return {**options, "MODEL.MASQCLIP.CLIP.ARCHITECTURE": _CLIP}
        path = self.folder / "tiny_clip.json"
        path.write_text(json.dumps(_TINY_CLIP))
        layers = {"MODEL.MASQCLIP.RMA.LAYERS": [2]} if name == _WITH_RMA else {}
        return {**options, **_TINY_SIZES, **layers, "MODEL.MASQCLIP.CLIP.ARCHITECTURE": path}

    def images(self, number: int) -> list[np.ndarray]:
        """Random images (H, W, 3) uint8."""
        random = np.random.default_rng(0)
        return [random.integers(0, 256, (self.side, self.side, 3), dtype=np.uint8) for _ in range(number)]


def _words(options: dict[str, Any]) -> list[str]:
    return [str(word) for pair in options.items() for word in pair]


def vocabulary(size: int) -> Vocabulary:
    """Categories with names of a few tokens."""
    return Vocabulary.from_names([f"thing number {index}" for index in range(size)])
