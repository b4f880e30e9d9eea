"""Files with the masks of one image: NPZ arrays, JSON with run-length encoding, a folder of PNGs.

Nothing is unpickled. Shape shorthand: N masks, H x W pixels of the image.
"""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..coco_masks import ScoredMasks, checked_scores, masks_of_entries, scores_of_entries
from ..files import zip_entries
from ..image_files import opened_image, upright_pixels
from ..json_data import read_json

SUFFIXES = (".npz", ".json")
_PNG_MODES = ("1", "L", "P", "I", "I;16", "I;16L", "I;16B", "I;16N")


def read_mask_file(path: Path, image_hw: tuple[int, int]) -> ScoredMasks:
    """Read the masks of one image.

    Args:
        path: one of
            NAME.npz: arrays `masks` (N, H, W) bool or integer, nonzero inside, and optionally `scores` (N,), see
                `save_masks`;
            NAME.json: a list of dicts, or {"annotations": [...]}; each has a `segmentation` (run-length encoding or
                polygons) and optionally a `score` or `predicted_iou` (with both, `score` counts);
            a folder: one PNG per mask, nonzero inside, and optionally metadata.csv with the columns `id` (name of the
                PNG) and `score` or `predicted_iou`, as SAM's amg.py writes it.
        image_hw: (height, width) of the image in pixels.

    Returns:
        The masks in the order of the file, of PNGs by name; scores are 1 if the file has none.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: it is damaged, of another format, or its masks are not of the image's size.
    """
    if not path.exists():
        raise FileNotFoundError(f"Mask file {path} does not exist.")
    if path.is_dir():
        return _from_pngs(path, image_hw)
    if path.suffix == ".npz":
        return _from_npz(path, image_hw)
    if path.suffix == ".json":
        content = read_json(path)
        entries = content.get("annotations") if isinstance(content, dict) else content
        return masks_of_file_entries(entries, image_hw, str(path))
    raise ValueError(f"Mask file {path} has an unknown suffix; expected {' or '.join(SUFFIXES)}, or a folder of PNGs.")


def save_masks(
    path: str | Path, masks: NDArray | Sequence[Any], scores: Sequence[float] | NDArray | None = None
) -> None:
    """Write masks of one image to an NPZ file that `read_mask_file` reads.

    Args:
        path: ends in .npz.
        masks: (N, H, W) array or list of (H, W) arrays, nonzero inside; or the list of dicts of SAM's automatic mask
            generator (`segmentation`: array or run-length encoding).
        scores: (N,) in [0, 1]; None: `score` or `predicted_iou` of the dicts, else no scores.

    Raises:
        ValueError: the suffix is another one, there is no mask, or masks or scores have another form.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"Masks are saved as .npz, got {path}.")
    if isinstance(masks, Sequence) and not len(masks):
        raise ValueError(f"An empty list for {path}; pass an array of shape (0, H, W) for an image without masks.")
    if len(masks) and isinstance(masks[0], Mapping):
        found = masks_of_file_entries(masks, _size_of(masks[0]), str(path))
        masks, scores = found.masks, found.scores if scores is None else scores
    binary = _binary(np.asarray(masks), str(path))
    arrays: dict[str, Any] = {"masks": binary}
    if scores is not None:
        arrays["scores"] = checked_scores(scores, len(binary), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)


def masks_of_file_entries(entries: Any, image_hw: tuple[int, int], owner: str) -> ScoredMasks:
    """`masks_of_entries` of a file, whose arrays are bool or integer, nonzero inside."""

    def binary(array: NDArray) -> NDArray[np.bool_]:
        return _fitting(_binary(array[None], owner), image_hw, owner)[0]

    return masks_of_entries(entries, image_hw, owner, binary)


def _from_npz(path: Path, image_hw: tuple[int, int]) -> ScoredMasks:
    if zip_entries(path) is None:  # numpy would take it for a pickle
        raise ValueError(f"Mask file {path} is damaged or no NPZ archive; write it again.")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = list(arrays.files)
            masks = arrays["masks"] if "masks" in names else None
            scores = arrays["scores"] if "scores" in names else None
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        if "pickle" in str(error):
            raise ValueError(
                f"Mask file {path} holds pickled Python objects, which can run code and are not read; save arrays with "
                "masqclip_d2.proposer.save_masks(path, masks), which takes SAM's list of dicts."
            ) from None
        raise ValueError(f"Mask file {path} is damaged ({error}); write it again.") from error
    if not isinstance(masks, np.ndarray):
        raise ValueError(f"Mask file {path} has no array 'masks' (N, H, W), but {', '.join(names) or 'nothing'}.")
    masks = _fitting(_binary(masks, str(path)), image_hw, str(path))
    return ScoredMasks(masks, checked_scores(np.ones(len(masks)) if scores is None else scores, len(masks), str(path)))


def _from_pngs(folder: Path, image_hw: tuple[int, int]) -> ScoredMasks:
    paths = sorted(folder.glob("*.png"), key=lambda path: (int(path.stem) if path.stem.isdecimal() else -1, path.stem))
    table = folder / "metadata.csv"
    if not paths and not table.is_file():
        raise ValueError(f"Mask folder {folder} has no PNG; expected one per mask.")
    masks = np.zeros((len(paths), *image_hw), dtype=bool)
    for mask, path in zip(masks, paths, strict=True):
        mask[:] = _fitting(_png_pixels(path)[None] != 0, image_hw, str(path))[0]
    if not table.is_file():
        return ScoredMasks(masks, np.ones(len(masks), dtype=np.float32))
    with table.open(newline="", encoding="utf-8") as lines:
        rows = {row.get("id"): row for row in csv.DictReader(lines)}
    missing = [path.name for path in paths if path.stem not in rows]
    if missing:
        raise ValueError(f"{table} has no row with the 'id' of {', '.join(missing[:3])}.")
    return ScoredMasks(masks, scores_of_entries([rows[path.stem] for path in paths], str(table)))


def _png_pixels(path: Path) -> NDArray:
    with opened_image(path, "Mask") as image:
        if image.mode not in _PNG_MODES:
            raise ValueError(f"Mask {path} has mode {image.mode}; expected one channel, nonzero inside the mask.")
        return np.asarray(upright_pixels(image, "Mask"))


def _size_of(entry: Mapping[str, Any]) -> tuple[int, int]:
    segmentation: Any = entry if "counts" in entry else entry.get("segmentation")
    try:
        height, width = segmentation["size"] if isinstance(segmentation, Mapping) else np.shape(segmentation)
    except (KeyError, TypeError, ValueError):
        raise ValueError("The first mask has no size; expected run-length encoding or an (H, W) array.") from None
    return int(height), int(width)


def _binary(masks: NDArray, owner: str) -> NDArray[np.bool_]:
    """(N, H, W) bool from a bool or integer array."""
    if masks.ndim != 3 or masks.dtype.kind not in "bui":
        raise ValueError(
            f"The masks of {owner} are {masks.dtype} {masks.shape}; expected (N, H, W), bool or integer. Compare "
            "logits or probabilities with a threshold first."
        )
    return masks != 0


def _fitting(masks: NDArray[np.bool_], image_hw: tuple[int, int], owner: str) -> NDArray[np.bool_]:
    height, width = masks.shape[-2:]
    if (height, width) != tuple(image_hw):
        raise ValueError(
            f"A mask of {owner} is {width}x{height} pixels, but the image is {image_hw[1]}x{image_hw[0]} (width x "
            "height); make masks of the image as it is on disk."
        )
    return masks
