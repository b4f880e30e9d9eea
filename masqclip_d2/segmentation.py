"""Segmentation of one image by a vocabulary, with conversions to JSON, to a label map and to a visualization."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from .coco_masks import run_length
from .label_fonts import fonts_of_characters, use_fonts
from .vocabulary import Vocabulary

_MIN_DRAWING_SIDE = 480  # pixels, shorter side; smaller images are enlarged, so that labels are legible ...
_MAX_ENLARGED_SIDE = 4 * _MIN_DRAWING_SIDE  # ... up to this longer side
_MAX_DRAWN_PIXELS = 16_000_000  # drawing takes memory by the pixel
MIN_INSTANCE_SCORE = 0.3
"""Instances with a lower score are not drawn by default: up to a hundred are ranked per image, most of them wrong."""
_GOLDEN_RATIO = 0.618034  # step between hues that keeps any number of them apart


def _no_metadata(key: str, default: Any = None) -> Any:
    return default


_NO_METADATA = SimpleNamespace(get=_no_metadata)  # for Detectron2's Visualizer; colors and labels are passed to it


@dataclass
class Segment:
    """One predicted segment: mask, category and score.

    Args:
        label: the category's name; category_id: its index in the vocabulary.
        isthing: thing or stuff.
        score: in [0, 1].
        mask: (H, W) bool at the size of the image.
    """

    label: str
    category_id: int
    isthing: bool
    score: float
    mask: np.ndarray = field(repr=False)

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(self.mask.sum())

    @property
    def box_xyxy(self) -> list[int]:
        """Tight box in pixels; x2 and y2 are one past the last pixel."""
        ys, xs = np.nonzero(self.mask)
        return [int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1] if len(xs) else [0, 0, 0, 0]

    def to_dict(self) -> dict:
        """Plain data: label, category_id, isthing, score, area, box, and the mask as COCO run lengths (RLE)."""
        return {
            "label": self.label,
            "category_id": self.category_id,
            "isthing": self.isthing,
            "score": round(self.score, 6),
            "area": self.area,
            "box": self.box_xyxy,
            "rle": run_length(self.mask),
        }


@dataclass(frozen=True)
class RejectedRegion:
    """Pixels without a label, since a background prompt wins there.

    Args:
        prompt: the background prompt.
        score: its score, in [0, 1].
        area: number of pixels.
        box_xyxy: tight box in pixels; x2 and y2 are one past the last pixel.
    """

    prompt: str
    score: float
    area: int
    box_xyxy: tuple[int, int, int, int]

    def to_dict(self) -> dict:
        """Plain data: prompt, score, area, box."""
        return {"prompt": self.prompt, "score": round(self.score, 6), "area": self.area, "box": list(self.box_xyxy)}


@dataclass
class Segmentation:
    """Segments of one image.

    Args:
        image: (H, W, 3) uint8 RGB.
        vocabulary: the categories.
        task: "panoptic" or "semantic" (segments do not overlap), or "instance" (they may).
        segments: instances best first, others in the order of the model.
        rejected: what background prompts won: one entry per prompt; per mask for instances, which may overlap.
    """

    image: np.ndarray = field(repr=False)
    vocabulary: Vocabulary = field(repr=False)
    task: str
    segments: list[Segment] = field(default_factory=list)
    rejected: list[RejectedRegion] = field(default_factory=list)

    def label_map(self) -> np.ndarray:
        """(H, W) int32 index into the vocabulary, -1 without a segment; of overlapping segments the best score wins."""
        labels = np.full(self.image.shape[:2], -1, dtype=np.int32)
        for segment in sorted(self.segments, key=lambda found: found.score):
            labels[segment.mask] = segment.category_id
        return labels

    def label_image(self) -> Image.Image:
        """`label_map` plus 1, so 0 without a segment: 8 bits with a palette, or 16 bits for 256 categories and more.

        Raises:
            ValueError: there are more categories than 16 bits can number.
        """
        labels = self.label_map() + 1
        if len(self.vocabulary) >= 1 << 16:
            raise ValueError(f"A label image has at most 65535 categories, got {len(self.vocabulary)}.")
        if len(self.vocabulary) >= 1 << 8:
            return Image.fromarray(labels.astype(np.uint16))
        image = Image.fromarray(labels.astype(np.uint8))
        colors = category_colors(len(self.vocabulary), self.vocabulary.colors)
        image.putpalette([0, 0, 0, *(round(255 * value) for color in colors for value in color)])
        return image

    def to_dict(self) -> dict:
        """Plain data for JSON."""
        return {
            "height": int(self.image.shape[0]),
            "width": int(self.image.shape[1]),
            "task": self.task,
            "vocabulary": list(self.vocabulary.names),
            "segments": [segment.to_dict() for segment in self.segments],
            "rejected": [region.to_dict() for region in self.rejected],
        }

    def drawn_segments(self, min_score: float | None = None) -> list[Segment]:
        """Segments that `draw` draws: with at least this score; None: 0.3 for instances, 0 for others."""
        if min_score is None:
            min_score = MIN_INSTANCE_SCORE if self.task == "instance" else 0.0
        return [segment for segment in self.segments if segment.score >= min_score]

    def draw(self, min_score: float | None = None) -> np.ndarray:
        """Visualization (H', W', 3) uint8 RGB: the image with colored masks, names and scores.

        Small images are enlarged; images of more than 16 megapixels are shrunk to that.

        Args:
            min_score: see `drawn_segments`.
        """
        from detectron2.utils.visualizer import ColorMode, Visualizer

        shorter, longer = sorted(self.image.shape[:2])
        scale = max(1.0, min(_MIN_DRAWING_SIDE / shorter, _MAX_ENLARGED_SIDE / longer))
        scale = min(scale, math.sqrt(_MAX_DRAWN_PIXELS / (shorter * longer)))
        colors = category_colors(len(self.vocabulary), self.vocabulary.colors)
        canvas = Visualizer(self.image, _NO_METADATA, scale=scale, instance_mode=ColorMode.SEGMENTATION)
        segments = self.drawn_segments(min_score)
        if not segments:
            return canvas.output.get_image()
        labels = [f"{segment.label} {segment.score:.0%}" for segment in segments]
        has_own_fonts = hasattr(canvas, "font_of_character")  # not in the real Detectron2, which uses matplotlib
        fonts = fonts_of_characters(labels, bitmaps=has_own_fonts)
        if has_own_fonts:
            canvas.font_of_character = fonts
        drawing: Any = canvas.overlay_instances(
            masks=[segment.mask for segment in segments],
            labels=labels,
            assigned_colors=[colors[segment.category_id] for segment in segments],
            alpha=0.45,
        )
        if fonts and not has_own_fonts:
            use_fonts(drawing.ax.texts, fonts.values())
        return drawing.get_image()


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


def category_colors(count: int, chosen: Sequence[tuple[int, int, int] | None] = ()) -> list[tuple[float, float, float]]:
    """RGB in [0, 1] for each category index: the chosen color (0..255), else one that does not depend on `count`."""
    hues = ((index * _GOLDEN_RATIO) % 1.0 for index in range(count))
    colors = [colorsys.hsv_to_rgb(hue, 0.75 if index % 2 else 0.55, 0.95) for index, hue in enumerate(hues)]
    for index, color in enumerate(chosen):
        if color is not None:
            red, green, blue = color
            colors[index] = (red / 255, green / 255, blue / 255)
    return colors
