"""Binary masks as COCO's annotation files store them: run-length encoding, polygons, boxes."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_CHARACTERS = 10  # of one number in the compressed run-length encoding, so that it fits into 64 bits


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
        num_pixels = int(_counts(segmentation["counts"]).sum())
    except (KeyError, TypeError, ValueError, OverflowError) as error:
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


def _counts(counts: str | bytes | list[int]) -> NDArray[np.int64]:
    """Lengths of the runs; ValueError if one is negative or no integer."""
    if isinstance(counts, (str, bytes)):
        lengths = _decompressed(np.frombuffer(counts.encode("ascii") if isinstance(counts, str) else counts, np.uint8))
    elif all(isinstance(length, Integral) for length in counts):
        lengths = np.array(counts, dtype=np.int64)
    else:
        lengths = None
    if lengths is None or (lengths < 0).any():
        raise ValueError("run lengths must be integers of at least 0")
    return lengths


def _decompressed(codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Lengths of the runs from the characters of COCO's compressed encoding.

    A number takes characters of 6 bits (code - 48), lowest first: 5 bits of the number, and one that is set if another
    character follows. It is signed. From the fourth number on, differences to the last but one are stored.
    """
    bits = codes.astype(np.int64) - 48
    last = np.flatnonzero(bits & 32 == 0)
    if not len(last):
        return np.zeros(0, dtype=np.int64)
    first = np.concatenate([[0], last[:-1] + 1])
    sizes = last - first + 1
    if sizes.max() > _MAX_CHARACTERS:
        raise ValueError("a run length has too many characters")
    bits = bits[: last[-1] + 1]
    shifts = 5 * (np.arange(len(bits)) - np.repeat(first, sizes))
    numbers = np.add.reduceat((bits & 31) << shifts, first)
    numbers -= np.where(bits[last] & 16, 1 << 5 * sizes, 0)
    numbers[1::2] = numbers[1::2].cumsum()
    numbers[2::2] = numbers[2::2].cumsum()
    return numbers
