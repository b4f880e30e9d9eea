"""Your own data: one call per dataset, for COCO instances, COCO panoptic or semantic label maps.

import masqclip_d2

masqclip_d2.register_instances("parts_train", "parts/images", "parts/train.json")
masqclip_d2.register_semantic("roads_val", "roads/images", "roads/labels", "road,kerb|curb,person")

Each call looks at the files at once and stops with one sentence at what would break an evaluation. Category ids of a
json may be any whole numbers; contiguous ids are positions in the vocabulary, whose length is the number of classes.
docs/custom_data.md goes through all of it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from ...vocabulary import Vocabulary, as_vocabulary
from ..label_maps import IGNORE_LABEL
from .common import LABEL_DIVISOR, Record
from .custom_categories import Words, words_and_ids, words_metadata
from .records import instance_records, panoptic_records, read_annotations, require_entries, semantic_records

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_IGNORE_LABEL_16_BIT = 65535


def register_instances(
    name: str,
    images: str | os.PathLike,
    annotations: str | os.PathLike,
    vocabulary: Words | None = None,
    *,
    novel: str | Sequence[str] = (),
) -> str:
    """Register images with instances in COCO's format; all categories are things.

    Args:
        name: of the dataset, for DATASETS.TRAIN and DATASETS.TEST.
        images: folder that the file names of the json lie in.
        annotations: the json.
        vocabulary: words for the categories of the json, or a file or shipped name of a vocabulary; None: their names.
            Words are compared with the names, letter case, spaces and underscores apart, so that their order is free;
            for other words give {category id: words}.
        novel: which of the words are novel, for rows of base and novel categories in evaluations.

    Returns:
        The name.

    Raises:
        FileNotFoundError: a folder or file is missing.
        ValueError: the json is damaged or incomplete, categories repeat or do not fit the vocabulary, an annotation
            has an unknown image or category, or the name is taken by other files or words.
    """
    images, annotations = _folder(name, images, "image folder"), os.path.expanduser(annotations)
    content = _read(name, annotations)
    words, ids = words_and_ids(content["categories"], vocabulary, annotations)
    _check_instances(content, ids, annotations)
    metadata = {
        "image_root": images,
        "json_file": annotations,
        "evaluator_type": "coco",
        **words_metadata(words, ids, [True] * len(ids), novel, _colors(content)),
    }
    return _register(name, partial(instance_records, annotations, metadata), metadata)


def register_panoptic(
    name: str,
    images: str | os.PathLike,
    annotations: str | os.PathLike,
    panoptic: str | os.PathLike,
    vocabulary: Words | None = None,
    *,
    instances: str | os.PathLike | None = None,
    novel: str | Sequence[str] = (),
) -> str:
    """Register images with panoptic labels in COCO's format; the json says which categories are things.

    Args:
        name, images, vocabulary, novel: see `register_instances`.
        annotations: the panoptic json.
        panoptic: folder of its pngs.
        instances: json of the same images in COCO's instances format, with the same category ids, if instances and
            proposals shall be evaluated, too.

    Returns:
        The name.

    Raises:
        FileNotFoundError, ValueError: see `register_instances`; or a category does not say whether it is a thing.
    """
    images, annotations = _folder(name, images, "image folder"), os.path.expanduser(annotations)
    panoptic = _folder(name, panoptic, "folder of panoptic pngs")
    content = _read(name, annotations)
    require_entries(content["categories"], ("isthing",), f"{annotations}: category")
    words, ids = words_and_ids(content["categories"], vocabulary, annotations)
    _check_segments(content, ids, annotations)
    thing_of = {row["id"]: bool(row["isthing"]) for row in content["categories"]}
    is_thing = [thing_of[category_id] for category_id in ids]
    metadata = {
        "image_root": images,
        "panoptic_json": annotations,
        "panoptic_root": panoptic,
        "evaluator_type": "coco_panoptic_seg",
        "ignore_label": _usual_ignore_label(len(words)),
        "label_divisor": LABEL_DIVISOR,
        **words_metadata(words, ids, is_thing, novel, _colors(content)),
    }
    if instances is not None:
        things = [category_id for category_id in ids if thing_of[category_id]]
        metadata["json_file"] = os.path.expanduser(instances)
        _check_instances(_read(name, metadata["json_file"]), things, metadata["json_file"])
    return _register(name, partial(panoptic_records, annotations, metadata), metadata)


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
    """Register images with semantic label maps: pictures of one channel, whose pixels are positions in the vocabulary.

    An image and its label map share the name before the endings; an image without a label map is passed over.

    Args:
        name, novel: see `register_instances`.
        images, labels: folders.
        vocabulary: the words of labels 0, 1, 2, ..., or a file or shipped name of a vocabulary.
        stuff: which of the words are stuff; a `Vocabulary` and a file say so themselves.
        ignore_label: of pixels without a category; None: 255, or 65535 where 255 is a category.
        image_suffix, label_suffix: what the file names end in, such as "_leftImg8bit.png"; `image_suffix` None: the
            one that the images in the folder have.

    Returns:
        The name.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: there are no label maps, one has no image, the ignore label is a category, images have several
            endings, or the name is taken by other files or words.
    """
    images = _folder(name, images, "image folder")
    labels = _folder(name, labels, "folder of label maps")
    words = as_vocabulary(vocabulary, stuff)
    ignore_label = _usual_ignore_label(len(words)) if ignore_label is None else ignore_label
    if ignore_label < len(words):
        raise ValueError(
            f"Dataset {name!r}: the ignore label {ignore_label} is not above the labels 0..{len(words) - 1}; give at "
            f"least {len(words)}."
        )
    metadata = {
        "image_root": images,
        "image_suffix": image_suffix or _only_image_ending(name, images),
        "sem_seg_root": labels,
        "label_suffix": label_suffix,
        "evaluator_type": "sem_seg",
        "ignore_label": ignore_label,
        **words_metadata(words, range(len(words)), words.is_thing, novel, {}),
    }
    semantic_records(metadata)  # says what is missing
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
            f"Dataset {name!r} is already registered, with another {changed[0]}; choose another name, or remove it "
            f"first: DatasetCatalog.remove({name!r}); MetadataCatalog.remove({name!r})."
        )
    return name


def _folder(name: str, path: str | os.PathLike, what: str) -> str:
    path = os.path.expanduser(path)
    if not os.path.isdir(path):
        raise FileNotFoundError(f"Dataset {name!r}: there is no {what} {path} (seen from {os.getcwd()}).")
    return path


def _read(name: str, path: str) -> dict[str, Any]:
    if not os.path.isfile(path):
        raise FileNotFoundError(f"Dataset {name!r}: there is no annotation file {path} (seen from {os.getcwd()}).")
    content = read_annotations(path)
    require_entries(content["images"], ("height", "width"), f"{path}: image")
    # LVIS names its files by their address alone.
    unnamed = [image for image in content["images"] if "coco_url" not in image]
    require_entries(unnamed, ("file_name",), f"{path}: image")
    _refuse_repeated_ids(content["images"], f"{path}: image")
    return content


def _check_instances(content: Mapping[str, Any], ids: Collection[int], path: str) -> None:
    """What pycocotools needs of annotations, and stumbles over without saying so."""
    annotations = content["annotations"]
    needed = ("id", "category_id", "bbox", "area", "iscrowd", "segmentation")
    require_entries(annotations, needed, f"{path}: annotation")
    _refuse_repeated_ids(annotations, f"{path}: annotation")
    if any(annotation["id"] == 0 for annotation in annotations):
        raise ValueError(f"{path}: an annotation has the id 0, which pycocotools takes for no match; count from 1.")
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
                "the dataset; add it to `categories`, or leave the annotation out."
            )


def _refuse_repeated_ids(rows: Iterable[Mapping[str, Any]], what: str) -> None:
    repeated = [key for key, count in Counter(row["id"] for row in rows).items() if count > 1]
    if repeated:
        raise ValueError(f"{what} ids must be unique, but {repeated[0]!r} is there more than once.")


def _colors(content: Mapping[str, Any]) -> dict[int, Sequence[int]]:
    return {row["id"]: row["color"] for row in content["categories"] if "color" in row}


def _usual_ignore_label(num_categories: int) -> int:
    return IGNORE_LABEL if num_categories <= IGNORE_LABEL else _IGNORE_LABEL_16_BIT


def _only_image_ending(name: str, images: str) -> str:
    endings = {
        ending for ending in (Path(file).suffix for file in os.listdir(images)) if ending.lower() in _IMAGE_SUFFIXES
    }
    if len(endings) != 1:
        found = ", ".join(sorted(endings)) or "none"
        raise ValueError(
            f"Dataset {name!r}: images in {images} have the endings: {found}; give image_suffix, such as '.jpg'."
        )
    return endings.pop()
