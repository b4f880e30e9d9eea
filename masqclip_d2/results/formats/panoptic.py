"""COCO's panoptic format: a PNG per image with segment ids as colors, and a JSON file of all images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...coco_masks import bbox_xywh
from ...data.label_maps import id2rgb
from ...files import FAST_PNG, save_image
from ...vocabulary import Vocabulary
from ..segmentation import Segmentation
from .coco import INFO, coco_categories
from .json_lists import save_json_lists
from .result_format import Destination, Entries, ResultFormat


def panoptic_labels(result: Segmentation) -> tuple[NDArray[np.int32], list[dict[str, Any]]]:
    """(H, W) segment ids, 0 without a segment, and COCO's `segments_info` of those that have pixels.

    Ids are positions in `result.segments`, from 1. Where segments overlap, the one with the best score has the pixel.
    """
    ids = np.zeros(result.image.shape[:2], dtype=np.int32)
    for index, segment in sorted(enumerate(result.segments), key=lambda pair: pair[1].score):
        ids[segment.mask] = index + 1
    info = []
    for index, segment in enumerate(result.segments):
        visible = segment.mask & (ids == index + 1)
        if visible.any():
            info.append(
                {
                    "id": index + 1,
                    "category_id": segment.category_id + 1,
                    "iscrowd": 0,
                    "bbox": bbox_xywh(visible),
                    "area": int(visible.sum()),
                    "score": round(segment.score, 6),
                }
            )
    return ids, info


def _png_path(destination: Destination) -> Path:
    return destination.path(".png", "panoptic")


def _write(result: Segmentation, destination: Destination) -> dict[str, Any]:
    ids, info = panoptic_labels(result)
    save_image(_png_path(destination), id2rgb(ids), compress_level=FAST_PNG)
    height, width = ids.shape
    return {
        "image": {"file_name": destination.image_name, "height": height, "width": width},
        "annotation": {"file_name": f"{destination.name}.png", "segments_info": info},
    }


def _collect(path: Path, vocabulary: Vocabulary, entries: Entries) -> None:
    """COCO's JSON file, one image in memory at a time; file names of annotations are relative to `panoptic/`."""
    lists = {
        "images": lambda: ({"id": number, **entry["image"]} for number, entry in enumerate(entries(), start=1)),
        "annotations": lambda: (
            {"image_id": number, **entry["annotation"]} for number, entry in enumerate(entries(), start=1)
        ),
    }
    save_json_lists(path, {"info": INFO, "categories": coco_categories(vocabulary)}, lists)


PANOPTIC = ResultFormat(
    "panoptic", "panoptic/NAME.png and panoptic.json: COCO's panoptic format", lambda one: [_png_path(one)], _write,
    ("panoptic.json",), _collect,
)  # fmt: skip
