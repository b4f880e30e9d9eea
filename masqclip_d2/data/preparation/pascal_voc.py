"""PASCAL VOC 2012 segmentation: images by split, label maps of the 20 categories without and with background."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ...categories.lists import category_list
from ...files import link_or_copy
from ..label_maps import IGNORE_LABEL, LabelledImage, read_label_map
from ..registration.ade20k import SPLITS
from ..registration.pascal_voc import FOLDER
from .labels import lookup_table, save_labels, translated
from .steps import Plan, Step

_SOURCE = "VOCdevkit/VOC2012"
_BORDER = 255
_BACKGROUND = 0
_NUM_CATEGORIES = 20
_DOWNLOAD = "download PASCAL VOC 2012 trainval and unpack it"


def steps(root: Path) -> list[Step]:
    """ROOT/pascal_voc_d2/{images,annotations_pascal20,annotations_pascal21}/{training,validation}: kinds 20 and 21."""
    source, folder = root / _SOURCE, root / FOLDER
    result = []
    for split, split_folder in SPLITS.items():
        listed = source / "ImageSets" / "Segmentation" / f"{split}.txt"
        images = {listed: _DOWNLOAD, source / "JPEGImages": _DOWNLOAD}
        labels = {**images, source / "SegmentationClass": _DOWNLOAD}
        output = folder / "images" / split_folder
        plan = partial(_plan, listed, partial(_link, source / "JPEGImages", output))
        result.append(Step("", split, folder, (f"images/{split_folder}",), images, plan))
        for number in (20, 21):
            output = f"annotations_pascal{number}/{split_folder}"
            plan = partial(_plan, listed, partial(_write_labels, source, folder / output, number))
            result.append(Step(str(number), split, folder, (output,), labels, plan))
    return result


def _plan(listed: Path, work: partial) -> Plan:
    stems = [line.strip() for line in listed.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not stems:
        raise ValueError(f"{listed} lists no images; {_DOWNLOAD} again.")
    return Plan(stems, work)


def _link(source: Path, output: Path, stem: str) -> None:
    name = f"{stem}.jpg"
    if not (source / name).is_file():
        raise FileNotFoundError(f"Image {source / name} is missing; {_DOWNLOAD} again.")
    link_or_copy(source / name, output / name)


def _write_labels(source: Path, output: Path, number: int, stem: str) -> None:
    """Write a label map. Raw labels: 0 background, 1..20 categories, 255 borders of objects."""
    path = source / "SegmentationClass" / f"{stem}.png"
    raw = read_label_map(path, "Annotations", LabelledImage.of_file(source / "JPEGImages" / f"{stem}.jpg"))
    border = raw == _BORDER
    raw[border] = _BACKGROUND
    stored = {category.id: category.contiguous_id for category in category_list(f"pascal_voc_{number}")}
    labels = translated(raw, lookup_table(stored, _NUM_CATEGORIES, IGNORE_LABEL), path)
    labels[border] = IGNORE_LABEL
    save_labels(output / f"{stem}.png", labels)
