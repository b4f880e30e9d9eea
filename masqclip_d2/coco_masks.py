"""Binary masks as COCO's annotation files store them: run-length encoding, polygons, boxes; lists of dicts with scores.

Shape shorthand: N masks, H x W pixels of the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_CHARACTERS = 6  # of one number in the compressed run-length encoding; pycocotools shifts integers of 32 bits
_MIN_COORDINATES = 6  # of a polygon: three points
_MAX_SIDES_OUTSIDE = 10  # multiples of an image's height + width that a coordinate may be away
_MAX_OUTLINE_SIDES = 200  # multiples of an image's height + width that an outline may be long
_SCORE_NAMES = ("score", "predicted_iou")  # COCO's results; SAM's dicts. The first one in use counts.


@dataclass(frozen=True)
class MaskFault:
    """What is wrong with a mask.

    Args:
        what: is wrong with some masks: "annotations with ...".
        fix: what to do about it.
    """

    what: str
    fix: str


NO_MASK = MaskFault("no mask", "draw their outlines, or remove them")
NO_SEGMENTATION = MaskFault(
    "a segmentation of another kind", "give polygons [[x1, y1, x2, y2, ...], ...], or 'size' and 'counts'"
)
FEW_POINTS = MaskFault("polygons of fewer than three points", "draw them again, or remove them")
ODD_COORDINATES = MaskFault("polygons with an odd number of coordinates", "write them as [x1, y1, x2, y2, ...]")
NO_NUMBERS = MaskFault("coordinates that are no finite numbers", "export them again")
NORMALIZED = MaskFault("coordinates from 0 to 1", "multiply x by the width of the image and y by its height")
FAR_OUTSIDE = MaskFault("coordinates far outside of the image", "export them in pixels of the image")
NO_PIXEL = MaskFault("a mask without a pixel", "draw them inside of the image, or remove them")
OTHER_SIZE = MaskFault("run lengths for another image size", "encode them as 'size' [height, width] of the image")
DAMAGED_RUNS = MaskFault("damaged run lengths", "encode them again as 'size' [height, width] and 'counts'")


class UnusableMaskError(ValueError):
    """A segmentation is no mask of its image.

    Args:
        fault: one of those above.
        detail: a clause about this mask.
    """

    def __init__(self, fault: MaskFault, detail: str = "") -> None:
        super().__init__(detail or fault.what)
        self.fault = fault
        self.detail = detail

    def sentence(self, owner: str) -> str:
        """The error about a mask of `owner`, an image or a file."""
        if self.fault in (NO_MASK, NO_SEGMENTATION):
            return f"An annotation of {owner} has no mask; expected polygons or run-length encoding."
        if self.fault is OTHER_SIZE:
            return f"A mask of {owner} is {self}."
        return f"A mask of {owner} is damaged: {self}; {self.fault.fix}."


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
    """(H, W) uint8, 0 or 1, from COCO's run-length encoding, compressed or not, that `usable_segmentation` accepts."""
    return decoded(segmentation, segmentation["size"])


def from_segmentation(segmentation: Any, image_hw: tuple[int, int], owner: str) -> NDArray[np.uint8]:
    """(H, W) uint8, 0 or 1, from the value of a `segmentation` field.

    Args:
        segmentation: see `usable_segmentation`.
        image_hw: (height, width) of the image in pixels.
        owner: the image or file that the mask belongs to, for error messages.

    Raises:
        ValueError: it is no mask of the image.
    """
    try:
        usable, _ = usable_segmentation(segmentation, image_hw)
    except UnusableMaskError as error:
        raise ValueError(error.sentence(owner)) from None
    return decoded(usable, image_hw)


def decoded(segmentation: list[list[float]] | Mapping[str, Any], image_hw: Sequence[int]) -> NDArray[np.uint8]:
    """(H, W) uint8, 0 or 1, of a segmentation that `usable_segmentation` returned."""
    from pycocotools import mask as coco_mask

    return coco_mask.decode(compressed(segmentation, image_hw))


def compressed(segmentation: list[list[float]] | Mapping[str, Any], image_hw: Sequence[int]) -> Any:
    """Compressed run-length encoding of a segmentation that `usable_segmentation` returned."""
    from pycocotools import mask as coco_mask

    if isinstance(segmentation, list):
        polygons: Any = segmentation
        return coco_mask.merge(coco_mask.frPyObjects(polygons, *image_hw))
    rle: Any = segmentation
    return coco_mask.frPyObjects(rle, *image_hw) if isinstance(rle["counts"], list) else rle


def mask_area(segmentation: list[list[float]] | dict[str, Any], image_hw: tuple[int, int]) -> int:
    """Number of pixels of a mask that `usable_segmentation` returned, without decoding it."""
    from pycocotools import mask as coco_mask

    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], list):
        return sum(segmentation["counts"][1::2])
    return int(coco_mask.area(compressed(segmentation, image_hw)))


def usable_segmentation(
    segmentation: Any, image_hw: tuple[int, int]
) -> tuple[list[list[float]] | dict[str, Any], tuple[MaskFault, ...]]:
    """A `segmentation` as pycocotools can decode it, in memory bounded by the sizes of file and image.

    Every reader of masks goes through this function, so that none of them believes what another one refuses.

    Args:
        segmentation: polygons [[x1, y1, x2, y2, ...], ...], also a single one without the outer list, points as [x, y]
            and numbers as text; or run-length encoding, compressed or not.
        image_hw: (height, width) of the image in pixels.

    Returns:
        The polygons, or {"size": [height, width], "counts": ...}; and the faults of polygons that were dropped, since
        an object may consist of several.

    Raises:
        UnusableMaskError: nothing is left, or the run lengths do not fit the image. An empty mask is none of these.
    """
    segmentation = _as_list(segmentation)
    if segmentation is None or segmentation in ([], {}, ""):
        raise UnusableMaskError(NO_MASK)
    if isinstance(segmentation, Mapping):
        return _usable_run_length(segmentation, image_hw), ()
    if not isinstance(segmentation, list):
        raise UnusableMaskError(NO_SEGMENTATION)
    polygons, dropped = [], []
    for polygon in _as_polygons(segmentation):
        try:
            polygons.append(_usable_polygon(polygon, image_hw))
        except UnusableMaskError as error:
            dropped.append(error.fault)
    if not polygons:
        raise UnusableMaskError(dropped[0])
    return polygons, tuple(dropped)


def _as_polygons(segmentation: list[Any]) -> list[Any]:
    """A single polygon, of numbers or of points [x, y], is put into a list; two numbers are never a polygon."""
    parts = [_as_list(part) for part in segmentation]
    is_points = all(isinstance(part, list) and len(part) == 2 for part in parts)
    return parts if isinstance(parts[0], (list, Mapping)) and not is_points else [parts]


def _as_list(value: Any) -> Any:
    """Tuples and arrays, which readers other than of JSON may give, as lists."""
    if isinstance(value, tuple):
        return list(value)
    return value.tolist() if isinstance(value, np.ndarray) else value


def _usable_polygon(polygon: Any, image_hw: tuple[int, int]) -> list[float]:
    if polygon == []:
        raise UnusableMaskError(NO_MASK)
    numbers = _numbers(polygon)
    if len(numbers) % 2:
        raise UnusableMaskError(ODD_COORDINATES)
    if len(numbers) < _MIN_COORDINATES:
        raise UnusableMaskError(FEW_POINTS)
    height, width = image_hw
    xs, ys = numbers[0::2], numbers[1::2]
    smallest, largest = min(numbers), max(numbers)
    # Whole numbers may be a mask of one pixel.
    if smallest >= 0 and largest <= 1 and min(image_hw) > 2 and not all(float(each).is_integer() for each in numbers):
        raise UnusableMaskError(NORMALIZED)
    sides = height + width
    if max(largest, -smallest) > _MAX_SIDES_OUTSIDE * sides:
        raise UnusableMaskError(FAR_OUTSIDE)
    # pycocotools takes memory for each pixel of the outline.
    if len(xs) * (largest - smallest) > _MAX_OUTLINE_SIDES * sides:
        steps = zip(xs, ys, [*xs[1:], xs[0]], [*ys[1:], ys[0]], strict=True)
        if sum(max(abs(x - to_x), abs(y - to_y)) for x, y, to_x, to_y in steps) > _MAX_OUTLINE_SIDES * sides:
            raise UnusableMaskError(FAR_OUTSIDE)
    return numbers


def _numbers(polygon: Any) -> list[float]:
    """Finite coordinates of a polygon, of which points may be pairs, and numbers text."""
    if not isinstance(polygon, list):
        raise UnusableMaskError(NO_SEGMENTATION)
    try:
        if math.isfinite(sum(polygon)):
            return polygon
    except (TypeError, OverflowError):
        pass
    if all(isinstance(point, list) and len(point) == 2 for point in polygon):
        polygon = [number for point in polygon for number in point]
    try:
        numbers = [float(number) for number in polygon]
    except (TypeError, ValueError, OverflowError):
        raise UnusableMaskError(NO_NUMBERS) from None
    if not all(map(math.isfinite, numbers)):
        raise UnusableMaskError(NO_NUMBERS)
    return numbers


def _usable_run_length(segmentation: Mapping[str, Any], image_hw: tuple[int, int]) -> dict[str, Any]:
    try:
        size = [_whole(side) for side in segmentation["size"]]
        counts = segmentation["counts"]
        if not isinstance(counts, (str, bytes)):
            counts = [_whole(length) for length in _as_list(counts)]
        lengths = _counts(counts)
        height, width = size
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise UnusableMaskError(DAMAGED_RUNS, f"it cannot be decoded ({reason})") from None
    if size != list(image_hw):
        shown, expected = f"{width}x{height}", f"{image_hw[1]}x{image_hw[0]}"
        raise UnusableMaskError(OTHER_SIZE, f"{shown} pixels, but the image is {expected} (width x height)")
    num_pixels = height * width
    covered = int(lengths.sum()) if (lengths <= num_pixels).all() else int(lengths.max())  # a sum might overflow
    if covered != num_pixels:  # pycocotools would leave the rest of the mask uninitialized
        raise UnusableMaskError(DAMAGED_RUNS, f"its run lengths cover {covered} pixels instead of {width}x{height}")
    return {"size": size, "counts": counts}


def _whole(number: Any) -> int:
    """An integer that may be written as 40.0 or "40"."""
    if type(number) is int:
        return number
    if isinstance(number, (str, float, Integral)) and not isinstance(number, bool) and float(number).is_integer():
        return int(float(number))
    raise ValueError(f"sizes and run lengths must be integers of at least 0, got {str(number)[:20]}")


def _counts(counts: str | bytes | list[int]) -> NDArray[np.int64]:
    """Lengths of the runs; ValueError if one is negative or no integer."""
    if isinstance(counts, (str, bytes)):
        lengths = _decompressed(np.frombuffer(counts.encode("ascii") if isinstance(counts, str) else counts, np.uint8))
    else:
        lengths = np.array(counts, dtype=np.int64)
    if (lengths < 0).any():
        raise ValueError(f"run lengths must be integers of at least 0, got {lengths.min()}")
    return lengths


def _decompressed(codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Lengths of the runs from the characters of COCO's compressed encoding.

    A number takes characters of 6 bits (code - 48), lowest first: 5 bits of the number, and one that is set if another
    character follows. It is signed. From the fourth number on, differences to the last but one are stored.
    """
    bits = codes.astype(np.int64) - 48
    if ((bits < 0) | (bits > 63)).any():
        raise ValueError("its counts have a character that run lengths do not have")
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
