"""COCO's annotation files, for one result or for a folder of them: CVAT, Label Studio and FiftyOne import these.

Masks are polygons along the edges of pixels, exact for pycocotools; holes are joined to the outline (`polygons`).
The format COCO_RLE has run-length encoding instead, which is smaller, but fewer programs import it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ...coco_masks import bbox_xywh, run_length
from ...vocabulary import Vocabulary
from ..polygons import pixel_edges, with_bridges
from ..segmentation import Segmentation
from .json_lists import save_json_lists
from .result_format import Destination, Entries, ResultFormat, no_files

INFO = {"description": "Predictions of masqclip_d2"}
"""COCO's entry about a file."""


def coco_entry(result: Segmentation, file_name: str, polygons: bool = True, tolerance: float = 0.0) -> dict[str, Any]:
    """Image and annotations of one result, without ids.

    Args:
        result: the segments; those without a pixel are left out.
        file_name: of the image.
        polygons: instead of run-length encoding.
        tolerance: of polygons, in pixels, see `polygons.pixel_edges`.
    """
    height, width = result.image.shape[:2]
    annotations = []
    for segment in result.segments:
        area = segment.area
        if not area:
            continue
        if polygons:
            parts = pixel_edges(segment.mask, tolerance)
            segmentation: Any = [_rounded(with_bridges(part).ravel().tolist()) for part in parts]
        else:
            segmentation = run_length(segment.mask)
        annotations.append(
            {
                "category_id": segment.category_id + 1,
                "segmentation": segmentation,
                "area": area,
                "bbox": bbox_xywh(segment.mask),
                "iscrowd": 0,
                "score": round(segment.score, 6),
            }
        )
    return {"image": {"file_name": file_name, "height": height, "width": width}, "annotations": annotations}


def coco_categories(vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """COCO's list of categories; ids count from 1, in the order of the vocabulary."""
    return [
        {"id": index, "name": name, "supercategory": "thing" if isthing else "stuff", "isthing": int(isthing)}
        for index, (name, isthing) in enumerate(zip(vocabulary.names, vocabulary.is_thing, strict=True), start=1)
    ]


def coco_dataset(vocabulary: Vocabulary, entries: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """COCO's annotations of images, as a dict; entries are those of `coco_entry`."""
    rows = list(_numbered(entries))
    return {
        **_header(vocabulary),
        "images": [image for image, _ in rows],
        "annotations": [annotation for _, annotations in rows for annotation in annotations],
    }


def write_coco(path: Path, vocabulary: Vocabulary, entries: Entries) -> None:
    """Write `coco_dataset` to a file, atomically, one image in memory at a time."""
    lists = {
        "images": lambda: (image for image, _ in _numbered(entries())),
        "annotations": lambda: (one for _, annotations in _numbered(entries()) for one in annotations),
    }
    save_json_lists(path, _header(vocabulary), lists)


def _header(vocabulary: Vocabulary) -> dict[str, Any]:
    return {"info": INFO, "licenses": [], "categories": coco_categories(vocabulary)}


def _numbered(entries: Iterable[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Images and their annotations with ids from 1."""
    annotation_id = 0
    for image_id, entry in enumerate(entries, start=1):
        annotations = []
        for annotation in entry["annotations"]:
            annotation_id += 1
            annotations.append({"id": annotation_id, "image_id": image_id, **annotation})
        yield {"id": image_id, **entry["image"]}, annotations


def _rounded(numbers: list[float]) -> list[float]:
    return [int(number) if number.is_integer() else round(number, 2) for number in numbers]


def _write_polygons(result: Segmentation, destination: Destination) -> dict[str, Any]:
    return coco_entry(result, destination.image_name)


def _write_runs(result: Segmentation, destination: Destination) -> dict[str, Any]:
    return coco_entry(result, destination.image_name, polygons=False)


COCO = ResultFormat(
    "coco", "coco.json: COCO annotations of all images, with polygons", no_files, _write_polygons,
    ("coco.json",), write_coco,
)  # fmt: skip
COCO_RLE = ResultFormat(
    "coco-rle", "coco_rle.json: the same with run-length encoded masks", no_files, _write_runs,
    ("coco_rle.json",), write_coco,
)  # fmt: skip
