"""Registers a user's own data, one call per dataset: COCO instances, COCO panoptic or semantic label maps.

import masqclip_d2

masqclip_d2.register_instances("parts_train", "parts/images", "parts/train.json")
masqclip_d2.register_semantic("roads_val", "roads/images", "roads/labels", "road,kerb|curb,person")

Each call checks the files at once and raises an error for anything that would make an evaluation fail. Category ids of
a json may be any integers; contiguous ids are positions in the vocabulary, whose length is the number of classes.
Images may lie in sub-folders. Guide: docs/custom_data.md.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from ...renamed_arguments import renamed_arguments
from ...vocabulary import Vocabulary, as_vocabulary
from ..label_maps import IGNORE_LABEL
from .common import LABEL_DIVISOR, Record
from .custom_categories import Categories, vocabulary_and_ids, vocabulary_metadata
from .records import instance_records, panoptic_records, read_annotations, require_entries, semantic_records

_IGNORE_LABEL_16_BIT = 65535


def register_instances(
    name: str,
    images: str | os.PathLike,
    annotations: str | os.PathLike,
    vocabulary: Categories | None = None,
    *,
    novel: str | Sequence[str] = (),
) -> str:
    """Register images with instances in COCO's format; all categories are things.

    Args:
        name: of the dataset, for DATASETS.TRAIN and DATASETS.TEST.
        images: folder of the images. File names of the json may have sub-folders; an image that is not directly in the
            folder is looked up by its name in the sub-folders.
        annotations: the json.
        vocabulary: names for the categories of the json, in any order, or the file or shipped name of a vocabulary.
            They are matched to the json's names, ignoring letter case, spaces and underscores; for other names give
            {category id: names}. None: the names of the json.
        novel: names of novel categories; evaluations then report base and novel categories separately.

    Returns:
        The name.

    Raises:
        FileNotFoundError: a folder or file is missing.
        ValueError: the json is damaged or incomplete, categories are duplicates or do not match the vocabulary, an
            annotation has an unknown image or category, or the name is registered for other files or categories.
    """
    images, annotations = _folder(name, images, "image folder"), os.path.expanduser(annotations)
    content = _read(name, annotations)
    vocabulary, ids = vocabulary_and_ids(content["categories"], vocabulary, annotations)
    _check_instances(content, ids, annotations)
    metadata = {
        "image_root": images,
        "json_file": annotations,
        "evaluator_type": "coco",
        **vocabulary_metadata(vocabulary, ids, [True] * len(ids), novel, _colors(content)),
    }
    return _register(name, partial(instance_records, annotations, metadata), metadata)


def register_panoptic(
    name: str,
    images: str | os.PathLike,
    annotations: str | os.PathLike,
    panoptic: str | os.PathLike,
    vocabulary: Categories | None = None,
    *,
    instances: str | os.PathLike | None = None,
    novel: str | Sequence[str] = (),
) -> str:
    """Register images with panoptic labels in COCO's format, such as Cityscapes' panoptic json.

    The json defines which categories are things.

    Args:
        name, images, vocabulary, novel: see `register_instances`.
        annotations: the panoptic json.
        panoptic: folder of its pngs.
        instances: json of the same images in COCO's instances format, with the same category ids; needed to evaluate
            instances and proposals as well.

    Returns:
        The name.

    Raises:
        FileNotFoundError, ValueError: see `register_instances`; or a category has no `isthing`.
    """
    images, annotations = _folder(name, images, "image folder"), os.path.expanduser(annotations)
    panoptic = _folder(name, panoptic, "folder of panoptic pngs")
    content = _read(name, annotations)
    require_entries(content["categories"], ("isthing",), f"{annotations}: category")
    vocabulary, ids = vocabulary_and_ids(content["categories"], vocabulary, annotations)
    _check_segments(content, ids, annotations)
    thing_of = {row["id"]: bool(row["isthing"]) for row in content["categories"]}
    is_thing = [thing_of[category_id] for category_id in ids]
    metadata = {
        "image_root": images,
        "panoptic_json": annotations,
        "panoptic_root": panoptic,
        "evaluator_type": "coco_panoptic_seg",
        "ignore_label": _default_ignore_label(len(vocabulary)),
        "label_divisor": LABEL_DIVISOR,
        **vocabulary_metadata(vocabulary, ids, is_thing, novel, _colors(content)),
    }
    if instances is not None:
        things = [category_id for category_id in ids if thing_of[category_id]]
        metadata["json_file"] = os.path.expanduser(instances)
        _check_instances(_read(name, metadata["json_file"]), things, metadata["json_file"])
    return _register(name, partial(panoptic_records, annotations, metadata), metadata)


@renamed_arguments(image_ending="image_suffix", label_ending="label_suffix")
def register_semantic(
    name: str,
    images: str | os.PathLike,
    labels: str | os.PathLike,
    vocabulary: Vocabulary | str | Path | Sequence[str],
    *,
    stuff: str | Sequence[str] = (),
    novel: str | Sequence[str] = (),
    ignore_label: int | None = None,
    image_suffix: str | None = None,
    label_suffix: str = ".png",
) -> str:
    """Register images with semantic label maps: single-channel images whose pixels are positions in the vocabulary.

    An image and its label map have the same path, sub-folders included, below their folders and without their suffixes.
    Images without a label map are skipped.

    Args:
        name, novel: see `register_instances`.
        images, labels: folders.
        vocabulary: the names of labels 0, 1, 2, ..., or the file or shipped name of a vocabulary.
        stuff: names of stuff categories; a `Vocabulary` or a file defines its own.
        ignore_label: label of pixels without a category; None: 255, or 65535 if 255 is a category.
        image_suffix, label_suffix: end of the file names, such as "_leftImg8bit.png". `image_suffix` None: any image
            file; a label map with several, such as a.jpg and a.png, is an error.

    Returns:
        The name.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: there are no label maps, one has no image or several, the ignore label is a category, or the name is
            registered for other files or categories.
    """
    images = _folder(name, images, "image folder")
    labels = _folder(name, labels, "folder of label maps")
    vocabulary = as_vocabulary(vocabulary, stuff)
    ignore_label = _default_ignore_label(len(vocabulary)) if ignore_label is None else ignore_label
    if ignore_label < len(vocabulary):
        raise ValueError(
            f"Dataset {name!r}: the ignore label {ignore_label} is not above the labels 0..{len(vocabulary) - 1}; give "
            f"at least {len(vocabulary)}."
        )
    metadata = {
        "image_root": images,
        "image_suffix": image_suffix,
        "sem_seg_root": labels,
        "label_suffix": label_suffix,
        "evaluator_type": "sem_seg",
        "ignore_label": ignore_label,
        **vocabulary_metadata(vocabulary, range(len(vocabulary)), vocabulary.is_thing, novel, {}),
    }
    semantic_records(metadata)  # raises an error for missing files
    return _register(name, partial(semantic_records, metadata), metadata)


def _register(name: str, load: Callable[[], list[Record]], metadata: dict[str, Any]) -> str:
    if name not in DatasetCatalog.list():
        DatasetCatalog.register(name, load)
        MetadataCatalog.get(name).set(**metadata)
        return name
    registered = MetadataCatalog.get(name).as_dict()
    changed = [key for key, value in metadata.items() if registered.get(key) != value]
    if changed:
        raise ValueError(
            f"Dataset {name!r} is already registered, with another {changed[0]}; use another name, or remove it "
            f"first: DatasetCatalog.remove({name!r}); MetadataCatalog.remove({name!r})."
        )
    return name


def _folder(name: str, path: str | os.PathLike, what: str) -> str:
    path = os.path.expanduser(path)
    if not os.path.isdir(path):
        raise FileNotFoundError(f"Dataset {name!r}: there is no {what} {path} (working directory {os.getcwd()}).")
    return path


def _read(name: str, path: str) -> dict[str, Any]:
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"Dataset {name!r}: there is no annotation file {path} (working directory {os.getcwd()})."
        )
    content = read_annotations(path)
    require_entries(content["images"], ("height", "width"), f"{path}: image")
    # LVIS has only the URL of an image.
    unnamed = [image for image in content["images"] if "coco_url" not in image]
    require_entries(unnamed, ("file_name",), f"{path}: image")
    _refuse_repeated_ids(content["images"], f"{path}: image")
    return content


def _check_instances(content: Mapping[str, Any], ids: Collection[int], path: str) -> None:
    """Check what pycocotools requires of annotations without checking it itself."""
    annotations = content["annotations"]
    required = ("id", "category_id", "bbox", "area", "iscrowd", "segmentation")
    require_entries(annotations, required, f"{path}: annotation")
    _refuse_repeated_ids(annotations, f"{path}: annotation")
    if any(annotation["id"] == 0 for annotation in annotations):
        raise ValueError(f"{path}: an annotation has the id 0, which pycocotools treats as unmatched; start at 1.")
    _check_categories(((a["category_id"], f"annotation {a['id']}") for a in annotations), ids, path)


def _check_segments(content: Mapping[str, Any], ids: Collection[int], path: str) -> None:
    require_entries(content["annotations"], ("file_name", "segments_info"), f"{path}: annotation")
    for annotation in content["annotations"]:
        where = f"image {annotation['image_id']}"
        require_entries(annotation["segments_info"], ("id", "category_id", "area"), f"{path}, {where}: segment")
        _check_categories(((info["category_id"], where) for info in annotation["segments_info"]), ids, path)


def _check_categories(found: Iterable[tuple[int, str]], ids: Collection[int], path: str) -> None:
    known = set(ids)
    for category_id, where in found:
        if category_id not in known:
            raise ValueError(
                f"{path}, {where} has category id {category_id!r}, which is not among the {len(known)} categories of "
                "the dataset; add it to `categories`, or remove the annotation."
            )


def _refuse_repeated_ids(rows: Iterable[Mapping[str, Any]], what: str) -> None:
    repeated = [key for key, count in Counter(row["id"] for row in rows).items() if count > 1]
    if repeated:
        raise ValueError(f"{what} ids must be unique, but {repeated[0]!r} occurs more than once.")


def _colors(content: Mapping[str, Any]) -> dict[int, Sequence[int]]:
    return {row["id"]: row["color"] for row in content["categories"] if "color" in row}


def _default_ignore_label(num_categories: int) -> int:
    return IGNORE_LABEL if num_categories <= IGNORE_LABEL else _IGNORE_LABEL_16_BIT
