"""Visualizations of predictions during training, for TensorBoard (key TEST.NUM_VISUALIZATIONS)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch.nn import functional as F

from ..results import Segmentation
from ..results.from_predictions import segments_of
from ..vocabulary import Vocabulary

# Task -> key of its prediction; the first one that a model predicts is drawn.
_PREDICTIONS = {"panoptic": "panoptic_seg", "semantic": "sem_seg_labels", "instance": "instances"}


class PredictionImages(DatasetEvaluator):
    """Draws the predictions for the first images of a test set into Detectron2's event storage; has no metrics.

    An evaluator, so that it shares the predictions of the other evaluators. Detectron2's TensorboardXWriter writes the
    images as DATASET/IMAGE. Only the first process draws.

    Args:
        dataset_name: first part of the image names.
        vocabulary: categories of the predictions.
        count: number of images.
    """

    def __init__(self, dataset_name: str, vocabulary: Vocabulary, count: int) -> None:
        self._dataset_name = dataset_name
        self._vocabulary = vocabulary
        self._count = count
        self.reset()

    def reset(self) -> None:
        self._drawn = 0

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Draw a batch until `count` images are drawn; requires an event storage."""
        if not comm.is_main_process():
            return
        for record, output in zip(inputs, outputs, strict=True):
            task = next((task for task, key in _PREDICTIONS.items() if key in output), None)
            if task is None or self._drawn == self._count:
                return
            pixels = _pixels(record)
            segments = segments_of(task, output, self._vocabulary)
            image = Segmentation(pixels, self._vocabulary, task, segments).draw()
            name = Path(record["file_name"]).stem if "file_name" in record else str(self._drawn)
            channels_first = np.ascontiguousarray(image.transpose(2, 0, 1))  # (3, H, W)
            get_event_storage().put_image(f"{self._dataset_name}/{name}", channels_first)
            self._drawn += 1

    def evaluate(self) -> None:
        """No metrics."""


def _pixels(record: dict) -> np.ndarray:
    """(H, W, 3) uint8: the input image at the size of the prediction."""
    image = record["image"]
    hw = (record.get("height", image.shape[-2]), record.get("width", image.shape[-1]))
    resized = F.interpolate(image[None].float(), hw, mode="bilinear", antialias=True)[0]
    return resized.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
