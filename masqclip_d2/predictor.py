"""The Python API: an image and any words -> masks.

from masqclip_d2 import Predictor

predictor = Predictor()
answer = predictor("image.png", vocab="striped circle,dotted star", stuff="grass")
for segment in answer.segments:
    print(segment.label, segment.score, segment.area)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .checkpoint import StrictCheckpointer
from .config import adapt_to_machine, load_config
from .data.images import image_pixels
from .segmentation import Segmentation, segments_of
from .vocabulary import Vocabulary, as_vocabulary

TASKS = ("panoptic", "instance", "semantic")
# What a predictor is without a configuration.
DEFAULT_CONFIG = "shapes/masqclip"
DEFAULT_WEIGHTS = "masqclip://shapes_masqclip"


class Predictor:
    """A model with its weights, ready for images and words.

    Args:
        config: a YAML file or the name of a shipped configuration; None: the shipped MasQCLIP of Shapes.
        weights: checkpoint; None: MODEL.WEIGHTS of the configuration, those that ship where there is none.
        device: e.g. "cpu"; None: the configuration's, or the CPU where that is missing.
        opts: KEY VALUE overrides of the configuration.

    Raises:
        FileNotFoundError, KeyError, ValueError: see `load_config` and `StrictCheckpointer`.
    """

    def __init__(
        self,
        config: str | Path | None = None,
        weights: str | Path | None = None,
        device: str | None = None,
        opts: Sequence[str] = (),
    ) -> None:
        from detectron2.modeling import build_model

        from .data.augmentation import evaluation_augmentations

        if config is None:
            config, opts = DEFAULT_CONFIG, ["MODEL.WEIGHTS", DEFAULT_WEIGHTS, *opts]
        cfg = load_config(config, list(opts))
        if weights is not None:
            cfg.MODEL.WEIGHTS = str(weights)
        if device is not None:
            cfg.MODEL.DEVICE = device
        adapt_to_machine(cfg)
        cfg.freeze()
        self.cfg = cfg
        self.model = build_model(cfg).eval()
        StrictCheckpointer(self.model).load(cfg.MODEL.WEIGHTS)
        self._augmentations = evaluation_augmentations(cfg)

    @torch.no_grad()
    def __call__(
        self,
        image: str | Path | Image.Image | np.ndarray,
        vocab: str | Path | Sequence[str] | Vocabulary,
        stuff: str | Sequence[str] = (),
        task: str = "panoptic",
        confidence_threshold: float = 0.0,
    ) -> Segmentation:
        """Segment one image.

        Args:
            image: a file, a PIL image, or (H, W, 3) uint8 RGB.
            vocab, stuff: words, a `Vocabulary`, its file (.yaml, .yml, .json) or its shipped name
                ("coco_panoptic/openseg"); see `as_vocabulary`.
            task: "panoptic", "instance" or "semantic".
            confidence_threshold: segments with a lower score are left out, in [0, 1].

        Raises:
            FileNotFoundError: there is no such vocabulary file.
            ValueError: unreadable image, bad vocabulary, unknown task.
        """
        if task not in TASKS:
            raise ValueError(f"task is {task!r}; expected one of {', '.join(TASKS)}.")
        vocabulary = as_vocabulary(vocab, stuff)
        pixels = image_pixels(image)
        record = self._record(pixels)
        predictions = self.model.predict(self.model.encode(record), vocabulary, self.model.tasks.only(task))
        segments = segments_of(task, predictions, vocabulary)
        return Segmentation(
            image=pixels,
            vocabulary=vocabulary,
            task=task,
            segments=[segment for segment in segments if segment.score >= confidence_threshold],
        )

    @torch.no_grad()
    def encode_masks(self, image: str | Path | Image.Image | np.ndarray, masks: np.ndarray | Tensor) -> Tensor:
        """CLIP-space embeddings of your own masks (SAM's, annotated ones, ...).

        Args:
            image: a file, a PIL image, or (H, W, 3) uint8 RGB.
            masks: (Q, H, W) bool or 0/1 at the size of the image.

        Returns:
            (Q, E) float32 unit rows.
        """
        from .structures import MaskProposals

        pixels = image_pixels(image)
        masks = torch.as_tensor(np.asarray(masks), device=self.model.padding_rgb.device)
        if masks.dim() != 3 or tuple(masks.shape[-2:]) != pixels.shape[:2]:
            raise ValueError(
                f"masks must have shape (Q, {pixels.shape[0]}, {pixels.shape[1]}), got {tuple(masks.shape)}."
            )
        proposals = MaskProposals.from_binary_masks(masks)
        return self.model.encode({"image": _to_tensor(pixels)}, proposals).unit_embeddings

    @torch.no_grad()
    def classify(self, embeddings: Tensor, vocab: str | Path | Sequence[str] | Vocabulary) -> Tensor:
        """Probabilities (Q, K) of the words for mask embeddings (Q, E) of `encode_masks`; `vocab` as in a call."""
        words = as_vocabulary(vocab)
        ones = embeddings.new_ones(len(embeddings))
        return self.model.class_scores(self.model.class_log_probs(embeddings, ones, words), words).probs

    def _record(self, pixels: np.ndarray) -> dict:
        from detectron2.data.transforms import apply_augmentations

        resized, _ = apply_augmentations(self._augmentations, pixels)
        return {"image": _to_tensor(resized), "height": pixels.shape[0], "width": pixels.shape[1]}


def _to_tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))  # (3, H, W)
