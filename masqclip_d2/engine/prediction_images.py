"""Pictures of a model's answers while it trains, for TensorBoard (key TEST.NUM_VISUALIZATIONS)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch.nn import functional as F

from ..segmentation import Segmentation, segments_of
from ..vocabulary import Vocabulary

# Which answer is drawn: the first of these that the model gives.
_ANSWERS = {"panoptic": "panoptic_seg", "semantic": "sem_seg_labels", "instance": "instances"}


class PredictionImages(DatasetEvaluator):
    """Draws the answers to the first images of a test set into Detectron2's event storage; it has no numbers.

    It looks on while other evaluators count, so that no image is answered twice. Detectron2's TensorboardXWriter then
    writes the pictures, named DATASET/IMAGE, with the iteration; only the first process draws.

    Args:
        dataset_name: the first part of the pictures' names.
        vocabulary: the words of the answers.
        count: how many images are drawn.
    """

    def __init__(self, dataset_name: str, vocabulary: Vocabulary, count: int) -> None:
        self._dataset_name = dataset_name
        self._vocabulary = vocabulary
        self._count = count
        self.reset()

    def reset(self) -> None:
        self._drawn = 0

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Draw a batch, or what is left of it to `count`; must be called within an event storage."""
        if not comm.is_main_process():
            return
        for record, output in zip(inputs, outputs, strict=True):
            task = next((task for task, answer in _ANSWERS.items() if answer in output), None)
            if task is None or self._drawn == self._count:
                return
            pixels = _pixels(record)
            segments = segments_of(task, output, self._vocabulary)
            picture = Segmentation(pixels, self._vocabulary, task, segments).draw()
            name = Path(record["file_name"]).stem if "file_name" in record else str(self._drawn)
            channels_first = np.ascontiguousarray(picture.transpose(2, 0, 1))  # (3, H, W)
            get_event_storage().put_image(f"{self._dataset_name}/{name}", channels_first)
            self._drawn += 1

    def evaluate(self) -> None:
        """Nothing."""


def _pixels(record: dict) -> np.ndarray:
    """(H, W, 3) uint8: the image that the model saw, at the size of its answer."""
    image = record["image"]
    hw = (record.get("height", image.shape[-2]), record.get("width", image.shape[-1]))
    resized = F.interpolate(image[None].float(), hw, mode="bilinear", antialias=True)[0]
    return resized.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
