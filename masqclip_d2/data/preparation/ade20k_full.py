"""ADE20K with 847 categories, from the full release: reduced images and 16-bit label maps."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from ...categories import load_categories
from ...files import save_image
from ..images import read_image
from ..label_maps import LabelledImage, read_colors
from ..registration.ade20k import SPLITS
from ..registration.ade20k_full import FOLDER, IGNORE_LABEL
from .labels import lookup_table, save_labels, translated
from .steps import Plan, Step

_INDEX = "index_ade20k.pkl"
_SHORT_SIDE = 512  # pixels; images with both sides longer are reduced to it, also in evaluation
_HIGHEST_CLASS = 25 * 256 + 255  # floor(255 / 10) * 256 + 255
_DOWNLOAD = "download the full release ADE20K_2021_17_01 (registration needed) and unpack it"


def steps(root: Path) -> list[Step]:
    """ROOT/ADE20K_2021_17_01/{images_detectron2/*.jpg, annotations_detectron2/*.tif}, each in {training,validation}."""
    folder = root / FOLDER
    return [
        Step(
            kind="semantic",
            split=split,
            folder=folder,
            outputs=(f"images_detectron2/{split_folder}", f"annotations_detectron2/{split_folder}"),
            inputs={folder / _INDEX: _DOWNLOAD, folder / "images" / "ADE": _DOWNLOAD},
            plan=partial(_plan, root, split),
        )
        for split, split_folder in SPLITS.items()
    ]


def read_index(path: Path) -> list[tuple[str, str]]:
    """Return (folder below the root of all datasets, file name) of all images.

    The pickle is read as data: only numpy arrays and plain containers are created.

    Raises:
        ValueError: the file is damaged, or has no `folder` and `filename` of equal length.
    """
    from ...checkpoint.numpy_pickle import load_numpy_pickle

    try:
        with open(path, "rb") as file:
            index = load_numpy_pickle(file, others_are_none=True)
        folders, names = list(index["folder"]), list(index["filename"])
    except (pickle.UnpicklingError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} is damaged or not ADE20K's index ({reason}); unpack the release again.") from error
    if len(folders) != len(names):
        raise ValueError(f"{path} has {len(folders)} folders for {len(names)} file names; unpack the release again.")
    return [(str(folder), str(name)) for folder, name in zip(folders, names, strict=True)]


def _plan(root: Path, split: str) -> Plan:
    index = root / FOLDER / _INDEX
    items = [[folder, name] for folder, name in read_index(index) if _split_of(name) == split]
    if not items:
        raise ValueError(f"{index} lists no image of the {SPLITS[split]} split.")
    return Plan(items, partial(_write_one, root, SPLITS[split]))


def _split_of(name: str) -> str:
    parts = name.split("_")
    return "val" if len(parts) > 1 and parts[1] == "val" else "train"


def _write_one(root: Path, split_folder: str, item: list[str]) -> None:
    folder, name = item
    source = root / folder / name
    stem = source.stem
    label_path = source.with_name(f"{stem}_seg.png")
    image = Image.fromarray(read_image(source))
    labelled = LabelledImage((image.height, image.width), str(source))
    classes = class_indices(read_colors(label_path, "Annotations", labelled))
    size = reduced_size(image.size)
    image = image.resize(size, Image.Resampling.BILINEAR)
    classes = np.asarray(Image.fromarray(classes.astype(np.int32)).resize(size, Image.Resampling.NEAREST))
    stored = {category.attributes["ade_id"]: category.id for category in load_categories("ade20k_full")}
    labels = translated(classes, lookup_table(stored, _HIGHEST_CLASS, IGNORE_LABEL), label_path)
    output = root / FOLDER
    save_image(output / "images_detectron2" / split_folder / f"{stem}.jpg", image)
    save_labels(output / "annotations_detectron2" / split_folder / f"{stem}.tif", labels)


def class_indices(colors: np.ndarray) -> np.ndarray:
    """Return class indices (H, W) int64 of ADE20K's *_seg.png: floor(R / 10) * 256 + G. B numbers the instances."""
    colors = colors.astype(np.int64)
    return colors[..., 0] // 10 * 256 + colors[..., 1]


def reduced_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return (width, height), reduced to a shorter side of 512 pixels if both sides are longer."""
    short, long = min(size), max(size)
    if short <= _SHORT_SIDE:
        return size
    reduced = round(long / short * _SHORT_SIDE)
    return (_SHORT_SIDE, reduced) if size[0] == short else (reduced, _SHORT_SIDE)
