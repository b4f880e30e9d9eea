"""Binary masks as COCO's annotation files store them: run-length encoding, polygons, boxes."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray


def bbox_xywh(mask: NDArray[np.bool_]) -> list[int]:
    """[x, y, width, height] in pixels of an (H, W) mask with at least one pixel."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]


def run_length(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's compressed run-length encoding of an (H, W) mask: `size` [H, W] and `counts` as text."""
    from pycocotools import mask as coco_mask

    rle: Any = coco_mask.encode(np.asfortranarray(mask).view(np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def from_run_length(segmentation: dict[str, Any]) -> NDArray[np.uint8]:
    """(H, W) uint8, 0 or 1, from COCO's run-length encoding, compressed or not."""
    from pycocotools import mask as coco_mask

    rle: Any = segmentation
    if isinstance(rle["counts"], list):
        rle = coco_mask.frPyObjects(rle, *rle["size"])
    return coco_mask.decode(rle)


def from_segmentation(segmentation: Any, image_hw: tuple[int, int], owner: str) -> NDArray[np.uint8]:
    """(H, W) uint8, 0 or 1, from the value of a `segmentation` field.

    Args:
        segmentation: polygons or run-length encoding, compressed or not.
        image_hw: (height, width) of the image in pixels.
        owner: the image or file that the mask belongs to, for error messages.

    Raises:
        ValueError: it is neither of these, for another image size, or damaged.
    """
    if isinstance(segmentation, list) and segmentation:
        return _from_polygons(segmentation, image_hw, owner)
    if not isinstance(segmentation, dict):
        raise ValueError(f"An annotation of {owner} has no mask; expected polygons or run-length encoding.")
    try:
        height, width = (int(side) for side in segmentation["size"])
        num_pixels = sum(_counts(segmentation["counts"]))
    except (KeyError, TypeError, ValueError) as error:
        raise _undecodable(owner, error) from error
    if (height, width) != tuple(image_hw):
        raise ValueError(
            f"A mask of {owner} is {width}x{height} pixels, but the image is {image_hw[1]}x{image_hw[0]} (width x "
            "height)."
        )
    if num_pixels != height * width:  # pycocotools would leave the rest of the mask uninitialized
        raise ValueError(
            f"A mask of {owner} is damaged: its run lengths cover {num_pixels} pixels instead of {width}x{height}."
        )
    return from_run_length(segmentation)


def _from_polygons(polygons: list[Any], image_hw: tuple[int, int], owner: str) -> NDArray[np.uint8]:
    from pycocotools import mask as coco_mask

    try:
        return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, *image_hw)))
    except Exception as error:  # pycocotools raises plain `Exception`s
        raise _undecodable(owner, error) from error


def _undecodable(owner: str, error: Exception) -> ValueError:
    return ValueError(
        f"A mask of {owner} cannot be decoded ({type(error).__name__}: {error}); expected polygons, or run-length "
        "encoding with the fields 'size' [height, width] and 'counts'."
    )


def _counts(counts: str | bytes | list[int]) -> list[int]:
    """Lengths of the runs; ValueError if one is negative or no integer.

    Compressed, a number takes characters of 6 bits (code - 48), lowest first: 5 bits of the number, and one that is set
    if another character follows. From the fourth number on, differences to the last but one are stored.
    """
    if isinstance(counts, list):
        lengths = counts
    else:
        lengths, value, shift = [], 0, 0
        for code in counts.encode("ascii") if isinstance(counts, str) else bytes(counts):
            bits = code - 48
            value |= (bits & 31) << shift
            shift += 5
            if not bits & 32:
                value -= (bits & 16 and 1) << shift
                lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
                value, shift = 0, 0
    if not all(isinstance(length, Integral) and length >= 0 for length in lengths):
        raise ValueError("run lengths must be integers of at least 0")
    return lengths
