"""PASCAL-Context: images by split, label maps of 59 categories from the annotations of trainval_merged.json (no Detail
API), and of 459 from the .mat files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...categories import load_categories, refuse_repeated
from ...coco_masks import from_segmentation
from ...files import link_or_copy
from ...json_data import read_json
from ..label_maps import LabelledImage, require_same_size
from ..registration.ade20k import SPLITS
from ..registration.pascal_context import FOLDER, IGNORE_LABELS, LABEL_SUFFIXES
from .labels import lookup_table, save_labels, translated
from .steps import Plan, Step

_SOURCES = ("VOCdevkit/VOC2010", "VOC2010")  # releases differ
_MERGED = "trainval_merged.json"
_NUM_LABELS = 459
_IMAGES_SOURCE = "download PASCAL VOC 2010 trainval and unpack it"
_MERGED_SOURCE = "download PASCAL-Context's trainval_merged.json into VOCdevkit/VOC2010"
_MAT_SOURCE = "download PASCAL-Context's trainval.tar.gz (.mat files) and unpack it in VOCdevkit/VOC2010"


def steps(root: Path) -> list[Step]:
    """ROOT/pascal_ctx_d2/{images,annotations_ctx59,annotations_ctx459}/{training,validation}: kinds 59 and 459."""
    source = next((root / name for name in _SOURCES if (root / name).is_dir()), root / _SOURCES[0])
    folder = root / FOLDER
    listed = {source / _MERGED: _MERGED_SOURCE, source / "JPEGImages": _IMAGES_SOURCE}
    result = []
    for split, split_folder in SPLITS.items():
        labels = {number: f"annotations_ctx{number}/{split_folder}" for number in IGNORE_LABELS}
        mats = {source / "trainval": _MAT_SOURCE}
        plans = {
            "": (f"images/{split_folder}", listed, _plan_images),
            "59": (labels[59], listed, _plan_59),
            "459": (labels[459], {**listed, **mats}, _plan_459),
        }
        for kind, (output, inputs, plan) in plans.items():
            result.append(Step(kind, split, folder, (output,), inputs, partial(plan, source, folder / output, split)))
    return result


def _plan_images(source: Path, output: Path, split: str) -> Plan:
    names = [image["file_name"] for image in _images(_read_merged(source), split)]
    return Plan(names, partial(_link, source / "JPEGImages", output))


def _link(source: Path, output: Path, name: str) -> None:
    if not (source / name).is_file():
        raise FileNotFoundError(f"Image {source / name} is missing; {_IMAGES_SOURCE}.")
    link_or_copy(source / name, output / name)


def _plan_59(source: Path, output: Path, split: str) -> Plan:
    content = _read_merged(source)
    segments: dict[Any, list[list[Any]]] = {image["image_id"]: [] for image in content["images"]}
    for annotation in content["annos_segmentation"]:
        if annotation["image_id"] not in segments:
            raise ValueError(
                f"{source / _MERGED} has a segmentation of image {annotation['image_id']}, which is not among its "
                f"{len(segments)} images; download it again."
            )
        segments[annotation["image_id"]].append([annotation["category_id"], annotation["segmentation"]])
    items = [
        [Path(image["file_name"]).stem, image["height"], image["width"], segments[image["image_id"]]]
        for image in _images(content, split)
    ]
    return Plan(items, partial(_write_59, source, output))


def _write_59(source: Path, output: Path, item: list[Any]) -> None:
    stem, height, width, segments = item
    raw = np.zeros((height, width), dtype=np.int64)
    for label, segmentation in segments:  # later ones cover earlier ones
        raw[_decoded(segmentation, height, width, stem)] = label
    path = source / _MERGED
    require_same_size(raw.shape, f"Annotations {path}", LabelledImage.of_file(source / "JPEGImages" / f"{stem}.jpg"))
    ranks = {row.attributes["label_459"]: row.id for row in load_categories("pascal_context_59")}
    table = lookup_table(ranks, _NUM_LABELS, IGNORE_LABELS[59])
    save_labels(output / f"{stem}{LABEL_SUFFIXES[59]}", translated(raw, table, path))


def _plan_459(source: Path, output: Path, split: str) -> Plan:
    stems = [Path(image["file_name"]).stem for image in _images(_read_merged(source), split)]
    return Plan(stems, partial(_write_459, source, output))


def _write_459(source: Path, output: Path, stem: str) -> None:
    path = source / "trainval" / f"{stem}.mat"
    raw = read_label_mat(path)
    require_same_size(raw.shape, f"Annotations {path}", LabelledImage.of_file(source / "JPEGImages" / f"{stem}.jpg"))
    table = lookup_table({label: label - 1 for label in range(1, _NUM_LABELS + 1)}, _NUM_LABELS, IGNORE_LABELS[459])
    save_labels(output / f"{stem}{LABEL_SUFFIXES[459]}", translated(raw, table, path))


def read_label_mat(path: Path) -> np.ndarray:
    """Return LabelMap of a .mat file, (H, W) int64: labels 1..459, 0 unlabelled.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or has no valid LabelMap.
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise FileNotFoundError(f"Label file {path} is missing; {_MAT_SOURCE}.")
    try:
        labels = loadmat(str(path)).get("LabelMap")
    except Exception as error:  # scipy raises the errors of its parser unchanged
        raise ValueError(f"Label file {path} cannot be read ({error}); unpack the archive again.") from error
    if labels is None or labels.ndim != 2 or labels.dtype.kind not in "iu":
        got = "no LabelMap" if labels is None else f"a LabelMap of shape {labels.shape} and type {labels.dtype}"
        raise ValueError(f"Label file {path} has {got}; expected (height, width) integers.")
    return labels.astype(np.int64)


def _read_merged(source: Path) -> dict[str, Any]:
    path = source / _MERGED
    content = read_json(path)
    missing = {"images", "annos_segmentation"} - set(content)
    if missing:
        raise ValueError(f"{path} has no {', '.join(sorted(missing))}; expected PASCAL-Context's {_MERGED}.")
    rows = [{"id": row["category_id"], "name": row["name"]} for row in content.get("categories", [])]
    refuse_repeated(rows, str(path))
    return content


def _images(content: dict[str, Any], split: str) -> list[dict[str, Any]]:
    """Return the images of a split, sorted by name."""
    return sorted((i for i in content["images"] if i["phase"] == split), key=lambda image: image["file_name"])


def _decoded(segmentation: dict[str, Any], height: int, width: int, stem: str) -> np.ndarray:
    """Decode a run-length encoding, compressed or not, to (H, W) bool."""
    return from_segmentation(segmentation, (height, width), f"{stem} in {_MERGED}").astype(bool)
