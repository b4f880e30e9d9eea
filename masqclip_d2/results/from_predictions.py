"""Segments in the predictions of a model (`meta_arch.predictions`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..vocabulary import Vocabulary
from .segmentation import RejectedRegion, Segment


def segments_of(task: str, predictions: Mapping[str, Any], vocabulary: Vocabulary) -> list[Segment]:
    """Segments in a model's predictions for one image (`meta_arch.predictions`).

    Args:
        task: "panoptic", "instance" or "semantic".
        predictions: has `panoptic_seg`, `instances`, or `sem_seg_labels` and `sem_seg_confidence`.
        vocabulary: the categories of the predictions.

    Returns:
        Those with at least one pixel. Semantic: one per category, whose score is the mean over its pixels, at most 1;
        pixels with confidence 0 belong to none.
    """
    return _SEGMENTS_OF[task](predictions, vocabulary)


def rejected_of(task: str, predictions: Mapping[str, Any], vocabulary: Vocabulary) -> list[RejectedRegion]:
    """What background prompts won in a model's predictions for one image; arguments as of `segments_of`."""
    found = predictions.get("rejected", {}).get(task, ())
    prompts = vocabulary.background_prompts
    return [RejectedRegion(prompts[one.prompt], one.score, one.area, one.box_xyxy) for one in found]


def _panoptic_segments(predictions: Mapping[str, Any], vocabulary: Vocabulary) -> list[Segment]:
    ids, found = predictions["panoptic_seg"]
    ids = ids.cpu().numpy()
    return [_segment(vocabulary, s["category_id"], s["score"], ids == s["id"]) for s in found]


def _instance_segments(predictions: Mapping[str, Any], vocabulary: Vocabulary) -> list[Segment]:
    found = predictions["instances"].to("cpu")
    rows = zip(found.pred_classes.tolist(), found.scores.tolist(), found.pred_masks.numpy(), strict=True)
    return [_segment(vocabulary, category, score, mask) for category, score, mask in rows if mask.any()]


def _semantic_segments(predictions: Mapping[str, Any], vocabulary: Vocabulary) -> list[Segment]:
    scores, labels = predictions["sem_seg_confidence"].cpu().numpy(), predictions["sem_seg_labels"].cpu().numpy()
    labels = np.where(scores > 0, labels, -1)
    segments = []
    for category in np.unique(labels[labels >= 0]).tolist():
        mask = labels == category
        score = min(1.0, float(scores[mask].mean()))
        segments.append(_segment(vocabulary, category, score, mask))
    return segments


def _segment(vocabulary: Vocabulary, category: int, score: float, mask: np.ndarray) -> Segment:
    return Segment(vocabulary.names[category], category, bool(vocabulary.is_thing[category]), float(score), mask)


_SEGMENTS_OF = {"panoptic": _panoptic_segments, "instance": _instance_segments, "semantic": _semantic_segments}
