"""Registers a user's own data, one call per dataset: COCO instances, COCO panoptic or semantic label maps.

import masqclip_d2

masqclip_d2.register_instances("parts_train", "parts/images", "parts/train.json")
masqclip_d2.register_semantic("roads_val", "roads/images", "roads/labels", "road,kerb|curb,person")

Each call checks the files at once and raises an error for anything that would make an evaluation fail. Category ids of
a json may be any integers; contiguous ids are positions in the vocabulary, whose length is the number of classes.
Images may lie in sub-folders. Guide: docs/custom_data.md.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from ...renamed_arguments import renamed_arguments
from ...vocabulary import Vocabulary, as_vocabulary
from ..annotation_files import instances_of, read_annotations, require_entries, usable_instances, usable_segments
from ..file_checks import LabelFacts, evenly_spread, survey
from ..label_maps import IGNORE_LABEL
from ..panoptic_labels import read_panoptic_labels
from .common import LABEL_DIVISOR, Record
from .custom_categories import Categories, category_ids_by_name, vocabulary_and_ids, vocabulary_metadata
from .image_folders import path_below
from .records import instance_records, panoptic_records, semantic_records

logger = logging.getLogger(__name__)

_IGNORE_LABEL_16_BIT = 65535
_NUM_LOOKED_AT = 12  # label maps or pngs; a run looks at more

IgnoredCategories = str | int | Sequence[str | int]


def register_instances(
    name: str,
    images: str | os.PathLike,
    annotations: str | os.PathLike,
    vocabulary: Categories | None = None,
    *,
    novel: str | Sequence[str] = (),
    ignore_categories: IgnoredCategories = (),
) -> str:
    """Register images with instances in COCO's format; all categories are things.

    Args:
        name: of the dataset, for DATASETS.TRAIN and DATASETS.TEST.
        images: folder of the images. File names of the json may have sub-folders; an image that is not directly in the
            folder is looked up by its name in the sub-folders.
        annotations: the json.
        vocabulary: names for the categories of the json, in any order, or the file or shipped name of a vocabulary.
            They are matched to the json's names, ignoring letter case, spaces and underscores; for other names give
            {category id: names}. Categories without a name among them are ignored. None: the names of the json.
        novel: names of novel categories; evaluations then report base and novel categories separately.
        ignore_categories: names, or category ids, of categories of the json that are left out of the vocabulary, with
            their annotations, such as the group in exports of Roboflow.

    Returns:
        The name.

    Raises:
        FileNotFoundError: a folder or file is missing.
        ValueError: the json is damaged or incomplete, categories are duplicates or do not match the vocabulary, an
            annotation has an unknown image or category, or the name is registered for other files or categories.
            Annotations without a usable mask are left out in training and evaluation; a warning counts them when the
            dataset is loaded, which is an error if none is left.
    """
    images, annotations = _folder(name, images, "image folder"), os.path.expanduser(annotations)
    content = _read(name, annotations)
    vocabulary, ids = vocabulary_and_ids(content["categories"], vocabulary, annotations, ignore_categories)
    metadata = {
        "image_root": images,
        "json_file": annotations,
        "evaluator_type": "coco",
        **_ignored(content, ids),
        **vocabulary_metadata(vocabulary, ids, [True] * len(ids), novel, _colors(content)),
    }
    instances = usable_instances(content, annotations, ids, ignored=metadata.get("ignored_category_ids", ()))
    if instances.is_unusable:  # no error: the other datasets of a user's file can be used all the same
        instances.report.log()
    return _register(name, partial(instance_records, metadata), metadata)


def register_panoptic(
    name: str,
    images: str | os.PathLike,
    annotations: str | os.PathLike,
    panoptic: str | os.PathLike,
    vocabulary: Categories | None = None,
    *,
    instances: str | os.PathLike | None = None,
    novel: str | Sequence[str] = (),
    ignore_categories: IgnoredCategories = (),
) -> str:
    """Register images with panoptic labels in COCO's format, such as Cityscapes' panoptic json.

    The json defines which categories are things.

    Args:
        name, images, vocabulary, novel, ignore_categories: see `register_instances`. Pixels of ignored categories have
            no label.
        annotations: the panoptic json.
        panoptic: folder of its pngs.
        instances: json of the same images in COCO's instances format; needed to evaluate instances and proposals as
            well. Its categories are matched to those of the panoptic json by name.

    Returns:
        The name.

    Raises:
        FileNotFoundError, ValueError: see `register_instances`; or a category has no `isthing`.
    """
    images, annotations = _folder(name, images, "image folder"), os.path.expanduser(annotations)
    panoptic = _folder(name, panoptic, "folder of panoptic pngs")
    content = _read(name, annotations)
    require_entries(content["categories"], ("isthing",), f"{annotations}: category")
    vocabulary, ids = vocabulary_and_ids(content["categories"], vocabulary, annotations, ignore_categories)
    thing_of = {row["id"]: bool(row["isthing"]) for row in content["categories"]}
    is_thing = [thing_of[category_id] for category_id in ids]
    metadata = {
        "image_root": images,
        "panoptic_json": annotations,
        "panoptic_root": panoptic,
        "evaluator_type": "coco_panoptic_seg",
        "ignore_label": _default_ignore_label(len(vocabulary)),
        "label_divisor": LABEL_DIVISOR,
        **_ignored(content, ids),
        **vocabulary_metadata(vocabulary, ids, is_thing, novel, _colors(content)),
    }
    if instances is not None:
        metadata |= _instances_metadata(name, os.path.expanduser(instances), content["categories"], annotations)
        instances_of(metadata)  # raises its errors
    usable_segments(content, annotations, ids, ignored=metadata.get("ignored_category_ids", ()))
    _look_at_pngs(name, content["annotations"], panoptic)
    return _register(name, partial(panoptic_records, metadata), metadata)


def _instances_metadata(name: str, path: str, categories: Sequence[Mapping[str, Any]], panoptic_json: str) -> dict:
    """The metadata of an instances json beside a panoptic one with these categories."""
    rows = _read(name, path)["categories"]
    by_name = category_ids_by_name(rows, categories, path, panoptic_json)
    differs = any(row["id"] != by_name.get(row["id"], row["id"]) for row in rows)
    return {"json_file": path, **({"instances_category_ids": by_name} if differs else {})}


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
    ignores_by_default = ignore_label is None
    ignore_label = _default_ignore_label(len(vocabulary)) if ignore_label is None else ignore_label
    if ignore_label < len(vocabulary):
        raise ValueError(
            f"Dataset {name!r}: the ignore label {ignore_label} is not above the labels 0..{len(vocabulary) - 1}; give "
            f"at least {len(vocabulary)}. If {ignore_label} means no category in your files and categories have other "
            "labels, translate them by a lookup table."
        )
    metadata = {
        "image_root": images,
        "image_suffix": image_suffix,
        "sem_seg_root": labels,
        "label_suffix": label_suffix,
        "evaluator_type": "sem_seg",
        "ignore_label": ignore_label,
        "ignores_by_default": ignores_by_default,
        **vocabulary_metadata(vocabulary, range(len(vocabulary)), vocabulary.is_thing, novel, {}),
    }
    records = semantic_records(metadata)  # raises an error for missing files
    facts = LabelFacts(vocabulary.names, ignore_label, ignores_by_default)
    _look_at_label_maps(name, records, facts)
    return _register(name, partial(semantic_records, metadata), metadata)


def _look_at_pngs(name: str, annotations: Sequence[dict[str, Any]], root: str) -> None:
    """Warn of a fault of the pngs of a new dataset. The others of a user's file stay usable; a run refuses this one."""
    try:
        for annotation in () if name in DatasetCatalog.list() else evenly_spread(annotations, _NUM_LOOKED_AT):
            path = path_below(root, annotation["file_name"])
            read_panoptic_labels(path, annotation["segments_info"], ignored=annotation["ignored_segment_ids"])
    except (ValueError, FileNotFoundError) as error:
        logger.warning("Dataset %r cannot be used: %s", name, error)


def _look_at_label_maps(name: str, records: Sequence[Record], facts: LabelFacts) -> None:
    """`_look_at_pngs` for label maps."""
    if name in DatasetCatalog.list():
        return
    fault = survey(records, facts, ("sem_seg_file_name",), _NUM_LOOKED_AT, decode=False).fault(facts)
    if fault:
        logger.warning("Dataset %r cannot be used: %s", name, fault)


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
    return content


def _ignored(content: Mapping[str, Any], ids: Sequence[int]) -> dict[str, list[int]]:
    """Metadata of the categories of a file that are none of the dataset's; {} if there are none."""
    ignored = sorted({row["id"] for row in content["categories"]} - set(ids))
    return {"ignored_category_ids": ignored} if ignored else {}


def _colors(content: Mapping[str, Any]) -> dict[int, Sequence[int]]:
    return {row["id"]: row["color"] for row in content["categories"] if "color" in row}


def _default_ignore_label(num_categories: int) -> int:
    return IGNORE_LABEL if num_categories <= IGNORE_LABEL else _IGNORE_LABEL_16_BIT
