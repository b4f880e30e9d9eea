"""Segmentation of one image by a vocabulary: its segments, and conversions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from PIL import Image

from ..coco_masks import run_length
from ..vocabulary import Vocabulary
from ..vocabulary.vocabulary import fold, near_match
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


_MAX_NAMES = 5  # categories in the printed form
_MAX_NAME = 60  # characters of each


def shortened(name: str, most: int) -> str:
    """At most so many characters of a name."""
    return name if len(name) <= most else f"{name[: most - 3]}..."


@dataclass(repr=False)
class Segmentation:
    """Segments of one image: a sequence of `Segment`.

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

    def __len__(self) -> int:
        return len(self.segments)

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.segments)

    @overload
    def __getitem__(self, index: int) -> Segment: ...

    @overload
    def __getitem__(self, index: slice) -> Segmentation: ...

    def __getitem__(self, index: int | slice) -> Segment | Segmentation:
        """One segment; of a slice, a result with these segments."""
        return replace(self, segments=self.segments[index]) if isinstance(index, slice) else self.segments[index]

    def __bool__(self) -> bool:
        """Always True: a result without segments is a result."""
        return True

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        counts = Counter(segment.label for segment in self.segments)
        shown = [(shortened(name, _MAX_NAME), count) for name, count in counts.most_common(_MAX_NAMES)]
        names = [name if count == 1 else f"{name} x{count}" for name, count in shown]
        more = f", and {len(counts) - _MAX_NAMES} more categories" if len(counts) > _MAX_NAMES else ""
        found = f": {', '.join(names)}{more}" if names else ""
        return f"Segmentation({width}x{height}, {self.task}, {len(self.segments)} segments{found})"

    def _repr_png_(self) -> bytes:
        from .notebook import as_png

        return as_png(self)

    def _repr_html_(self) -> str:
        from .notebook import as_html

        return as_html(self)

    def filter(
        self, category: str | Iterable[str] | None = None, min_score: float = 0.0, min_area: int = 0
    ) -> Segmentation:
        """A result with fewer segments; the image and what was rejected stay.

        Args:
            category: a category or several, by name or synonym; None: all.
            min_score: of a segment.
            min_area: in pixels.

        Raises:
            ValueError: the vocabulary has no such category.
        """
        kept = None if category is None else self._category_ids([category] if isinstance(category, str) else category)
        segments = [
            segment
            for segment in self.segments
            if (kept is None or segment.category_id in kept)
            and segment.score >= min_score
            and (min_area <= 0 or segment.area >= min_area)
        ]
        return replace(self, segments=segments)

    def _category_ids(self, categories: Iterable[str]) -> set[int]:
        ids: dict[str, set[int]] = {}
        for index, synonyms in enumerate(self.vocabulary.synonyms):
            for name in (self.vocabulary.names[index], *synonyms):
                ids.setdefault(fold(name), set()).add(index)
        names = list(categories)
        unknown = [name for name in names if fold(name) not in ids]
        if unknown:
            hint = near_match(unknown[0], list(self.vocabulary.names))
            raise ValueError(f"The vocabulary has no category {unknown[0]!r}.{hint}")
        return {index for name in names for index in ids[fold(name)]}

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
        image.putpalette([0, 0, 0, *(value for color in category_colors(self.vocabulary) for value in color)])
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

    def draw(
        self,
        min_score: float | None = None,
        legend: bool = False,
        alpha: float = 0.45,
        labels: bool | str = True,
        colors: Sequence[tuple[int, int, int]] | None = None,
    ) -> np.ndarray:
        """Visualization (H', W', 3) uint8 RGB: the image with colored masks, names and scores.

        Small images are enlarged; images of more than 16 megapixels are shrunk to that. The colors of categories are
        those of `colors.category_colors`; instances of one category differ in shade.

        Args:
            min_score: see `drawn_segments`.
            legend: list the categories and their colors to the right of the image.
            alpha: opacity of the masks, in [0, 1].
            labels: write name and score into each segment; "name": names only; False: nothing.
            colors: RGB, 0..255, for each of `segments`, also those that are not drawn; None: see above.

        Raises:
            ValueError: `alpha` or `labels` has another value, or there are not as many colors as segments.
        """
        from .drawing import draw

        return draw(self, min_score, legend, alpha, labels, colors)

    def save(
        self,
        folder: str | Path,
        formats: str | Iterable[str] = ("overlay", "labels", "json"),
        stem: str = "image",
        image_name: str = "",
        min_score: float | None = None,
    ) -> list[Path]:
        """Write files of this result, each atomically; existing files of these names are replaced.

        Args:
            folder: is created if it is missing.
            formats: names of `formats.FORMATS`: "overlay", "labels", "json", "coco", "coco-rle", "panoptic", "yolo",
                "labelme", "segments", "parquet"; docs/exports.md describes their files. Files for all images of a
                folder, such as coco.json, are named after this image: STEM_coco.json.
            stem: name of the files, without suffix.
            image_name: file name of the image in files that list images; "": STEM.png.
            min_score: see `drawn_segments`; the format "json" has all segments.

        Returns:
            The files and folders that were written.

        Raises:
            ValueError: there is no such format, `stem` is no file name, or the folder cannot be written.
        """
        from .saving import save

        return save(self, Path(folder), formats, stem, image_name, min_score)

    def to_coco(self, file_name: str = "image.png", polygons: bool = True, tolerance: float = 0.0) -> dict[str, Any]:
        """COCO's annotations of this image, as a dict; category ids are indices of the vocabulary plus 1.

        Args:
            file_name: of the image.
            polygons: exact ones for pycocotools, holes joined to the outline; False: run-length encoding.
            tolerance: in pixels; polygons with fewer corners, up to this far from the exact boundary.
        """
        from .formats.coco import coco_dataset, coco_entry

        return coco_dataset(self.vocabulary, [coco_entry(self, file_name, polygons, tolerance)])

    def to_labelme(self, file_name: str = "image.png", tolerance: float = 0.0) -> dict[str, Any]:
        """Content of Labelme's JSON file; arguments as of `to_coco`."""
        from .formats.labelme import labelme_dict

        return labelme_dict(self, file_name, tolerance)

    def to_yolo(self, tolerance: float = 0.0) -> list[str]:
        """Lines of a YOLO segmentation label file, one per segment, see `formats.yolo`."""
        from .formats.yolo import yolo_lines

        return yolo_lines(self, tolerance)

    def to_supervision(self) -> Any:
        """`supervision.Detections` with boxes, masks, scores, category indices and names (`data["class_name"]`).

        Raises:
            ImportError: the package supervision is not installed.
        """
        from .formats.supervision import to_detections

        return to_detections(self)
