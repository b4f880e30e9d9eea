"""Segmentation of one image by a vocabulary: its segments, and conversions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from ..coco_masks import run_length
from ..vocabulary import Vocabulary
from .colors import category_colors

MIN_INSTANCE_SCORE = 0.3
"""Instances with a lower score are not drawn by default: up to a hundred are ranked per image, most of them wrong."""


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
        from .drawing import draw

        return draw(self, min_score)
