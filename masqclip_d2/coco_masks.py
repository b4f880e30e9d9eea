"""Binary masks as COCO's annotation files store them: run-length encoding, polygons, boxes; lists of dicts with scores.

Shape shorthand: N masks, H x W pixels of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_CHARACTERS = 10  # of one number in the compressed run-length encoding, so that it fits into 64 bits
_SCORE_NAMES = ("score", "predicted_iou")  # COCO's results; SAM's dicts. The first one in use counts.


@dataclass(frozen=True)
class ScoredMasks:
    """Masks (N, H, W) bool of an image and their object scores (N,) float32 in [0, 1]."""

    masks: NDArray[np.bool_]
    scores: NDArray[np.float32]


def masks_of_entries(
    entries: Any, image_hw: tuple[int, int], owner: str, read_array: Callable[[Any], NDArray[np.bool_]]
) -> ScoredMasks:
    """Masks and scores from a list of dicts, as SAM's automatic mask generator and COCO's results have them.

    Args:
        entries: per mask a dict with `segmentation` (run-length encoding, polygons or an (H, W) array) and optionally a
            score, see `scores_of_entries`; or only run-length encoding, a dict with `size` and `counts`.
        image_hw: (height, width) of the image in pixels.
        owner: file or argument of the entries, for error messages.
        read_array: checks a segmentation that is an array or a tensor, and returns it as (H, W) bool.

    Raises:
        ValueError: an entry has another form, or a mask another size.
    """
    if not isinstance(entries, Sequence) or not all(isinstance(entry, Mapping) for entry in entries):
        raise ValueError(f"{owner} holds no list of masks; expected dicts with 'segmentation' and optionally 'score'.")
    masks = np.zeros((len(entries), *image_hw), dtype=bool)
    for mask, entry in zip(masks, entries, strict=True):
        segmentation = entry if "counts" in entry else entry.get("segmentation")
        is_array = hasattr(segmentation, "__array__")  # of NumPy or a tensor
        mask[:] = read_array(segmentation) if is_array else from_segmentation(segmentation, image_hw, owner)
    return ScoredMasks(masks, scores_of_entries(entries, owner))


def scores_of_entries(entries: Sequence[Mapping[str, Any]], owner: str) -> NDArray[np.float32]:
    """Scores (N,) of dicts: their `score`, in [0, 1]; or else SAM's `predicted_iou`, clipped; 1 without either.

    `score` is preferred because SAM writes none: in a dict with both it was added on purpose.

    Raises:
        ValueError: some of the entries have no score, or a score is no number or outside of [0, 1].
    """
    for name in _SCORE_NAMES:
        values = [entry.get(name) for entry in entries]
        missing = sum(value is None for value in values)
        if missing == len(values):
            continue
        if missing:
            raise ValueError(f"{missing} of {len(values)} masks of {owner} have no {name!r}; give all of them one.")
        return checked_scores(values, len(values), owner, clip=name == "predicted_iou")  # SAM's estimates exceed 1
    return np.ones(len(entries), dtype=np.float32)


def checked_scores(values: Any, count: int, owner: str, clip: bool = False) -> NDArray[np.float32]:
    """(N,) float32 scores in [0, 1].

    Args:
        values: `count` numbers, or their texts.
        count: N.
        owner: of the masks, for error messages.
        clip: clip to [0, 1] instead of refusing values outside.

    Raises:
        ValueError: the number of scores is not `count`, or a score is no number, not finite or outside of [0, 1].
    """
    try:
        scores = np.asarray(values).astype(np.float32)
    except (TypeError, ValueError):
        raise ValueError(f"The scores of {owner} are no numbers.") from None
    if scores.shape != (count,):
        raise ValueError(f"{owner} has {count} masks, but scores of shape {scores.shape}.")
    if clip and np.isfinite(scores).all():
        return scores.clip(0, 1)
    if not ((scores >= 0) & (scores <= 1)).all():  # NaN too
        raise ValueError(f"A score of {owner} is outside of [0, 1]: {scores.min():g} to {scores.max():g}.")
    return scores


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


def from_run_length(segmentation: Mapping[str, Any]) -> NDArray[np.uint8]:
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
    if not isinstance(segmentation, Mapping):
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
