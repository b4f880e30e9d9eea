"""Instances of an annotation file as training, evaluation and checks use them: usable masks, boxes and areas.

Annotations without a usable mask are left out for all of them, and counted in a report.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...coco_masks import NO_PIXEL, UnusableMaskError, mask_area, usable_segmentation
from .boxes import BoxCheck, mask_extent
from .report import AnnotationReport, listed
from .structure import (
    flag,
    identifier,
    integer_id,
    number,
    read_annotations,
    repeated,
    require_entries,
    shown,
    used_categories,
)

_SURE_AREA = 8  # pixels; polygons of less area, or side, may have no pixel
_SURE_SIDE = 3
_MARGIN = 2  # pixels, and a share of a side, by which polygons may reach beyond the image
_MARGIN_SHARE = 0.05
_MANY_CROWDS = 0.2  # share of all annotations; COCO has 1 %
_SINGLE_OBJECTS = "set 'iscrowd' to 0 for masks of single objects (CVAT writes 1 for brush masks)"
_LARGEST_ID = 2**53  # evaluation stores ids as floating-point numbers


@dataclass(frozen=True)
class InstanceFile:
    """The instances of a file.

    Args:
        content: `images`, `categories` and `annotations` in COCO's format. Annotations have a positive integer `id`,
            the `category_id` of the dataset, `iscrowd` 0 or 1, `bbox` [x, y, width, height], `area` and a
            `segmentation` that pycocotools decodes; further fields are unchanged.
        report: what was left out or corrected.
    """

    content: dict[str, Any]
    report: AnnotationReport

    @property
    def is_unusable(self) -> bool:
        """Whether it has annotations, and none of them a usable mask."""
        return bool(self.report.num_left_out) and not self.content["annotations"]


def instances_of(metadata: Mapping[str, Any]) -> InstanceFile:
    """The instances of a dataset.

    Args:
        metadata: `json_file`, `thing_dataset_id_to_contiguous_id`; if set at registration `ignored_category_ids`, whose
            annotations are no objects, and `instances_category_ids`, {id in the file: id in the dataset} where they
            differ.

    Raises:
        FileNotFoundError, ValueError: see `read_instances`.
    """
    return read_instances(
        metadata["json_file"],
        metadata["thing_dataset_id_to_contiguous_id"],
        ignored=metadata.get("ignored_category_ids", ()),
        renumbered=metadata.get("instances_category_ids"),
    )


def read_instances(
    path: str | os.PathLike,
    category_ids: Collection[int],
    *,
    ignored: Collection[int] = (),
    renumbered: Mapping[int, int] | None = None,
) -> InstanceFile:
    """Read a file in COCO's instances format.

    Args:
        path: the json.
        category_ids: of the dataset, that annotations may have.
        ignored: ids of categories that are removed from the file, with their annotations.
        renumbered: category id in the file -> id in the dataset; others are the same.

    Raises:
        FileNotFoundError, ValueError: see `read_annotations`; an annotation has another category; two have the same id;
            images have no size; or none of the annotations has a usable mask.
    """
    found = usable_instances(read_annotations(path), path, category_ids, ignored=ignored, renumbered=renumbered)
    if found.is_unusable:
        raise ValueError(f"{path}: none of its annotations can be used. {' '.join(found.report.sentences())}")
    return found


def usable_instances(
    content: dict[str, Any],
    path: str | os.PathLike,
    category_ids: Collection[int],
    *,
    ignored: Collection[int] = (),
    renumbered: Mapping[int, int] | None = None,
) -> InstanceFile:
    """`read_instances` for the content of `read_annotations`, which is changed; there may be no usable mask."""
    require_entries(content["images"], ("height", "width"), f"{path}: image")
    report = AnnotationReport(str(path))
    if renumbered is not None:
        content["categories"] = [row for row in content["categories"] if row["id"] in renumbered]
        for row in content["categories"]:
            row["id"] = renumbered[row["id"]]
        report.remarks.append("It numbers categories otherwise than the panoptic json: they are matched by name.")
    annotations = _with_category_ids(content["annotations"], category_ids, ignored, renumbered, path)
    names = [repr(row["name"]) for row in content["categories"] if row["id"] in ignored]
    content["categories"] = used_categories(content["categories"], ignored, path)
    report.num_annotations = len(annotations)
    num_ignored = len(content["annotations"]) - len(annotations)
    if num_ignored:
        report.remarks.append(f"Annotations of ignored categories ({', '.join(names[:3])}) left out: {num_ignored}.")
    used = _usable_annotations(annotations, content["images"], report)
    _renumber(used)
    content["annotations"] = used
    report.remarks += _remarks(used, content["images"], report.num_annotations)
    report.remarks += _group_remarks(content)
    return InstanceFile(content, report)


def _with_category_ids(
    annotations: Sequence[dict[str, Any]],
    category_ids: Collection[int],
    ignored: Collection[int],
    renumbered: Mapping[int, int] | None,
    path: str | os.PathLike,
) -> list[dict[str, Any]]:
    """The annotations with the dataset's category ids, without those of the ignored ones."""
    require_entries(annotations, ("category_id",), f"{path}: annotation")
    kept = []
    ids = []
    for position, annotation in enumerate(annotations, start=1):
        number_of = annotation.get("id", position)
        ids.append(identifier(number_of, f"{path}: an annotation of image {annotation['image_id']} has the id"))
        category_id = annotation["category_id"]
        if type(category_id) is not int:
            category_id = integer_id(category_id, f"{path}, annotation {shown(number_of)} has category id")
        if renumbered is not None:
            category_id = renumbered.get(category_id)
        if category_id in ignored:
            continue
        if category_id not in category_ids:
            raise ValueError(
                f"{path}, annotation {shown(number_of)} has category id {shown(annotation['category_id'])}, which is "
                f"not among the {len(category_ids)} categories of the dataset; add it to `categories`, or remove the "
                "annotation, or is it another dataset's file?"
            )
        annotation["category_id"] = category_id
        annotation["id"] = ids[-1]
        kept.append(annotation)
    if twice := repeated(ids):
        raise ValueError(
            f"{path}: annotation ids must be unique, but {shown(twice[0])} occurs more than once; remove the "
            "repeated annotation, or give it another id."
        )
    return kept


def _usable_annotations(
    annotations: Sequence[dict[str, Any]], images: Sequence[Mapping[str, Any]], report: AnnotationReport
) -> list[dict[str, Any]]:
    sizes = {image["id"]: (image["height"], image["width"]) for image in images}
    boxes = BoxCheck()
    outside, areas, used = [], [], []
    for annotation in annotations:
        name, image_hw = str(annotation["id"]), sizes[annotation["image_id"]]
        where = f"{report.path}, annotation {shown(annotation['id'])} has 'iscrowd'"
        annotation["iscrowd"] = flag(annotation.get("iscrowd", 0), where)
        try:
            segmentation, dropped = usable_segmentation(annotation.get("segmentation"), image_hw)
            extent = mask_extent(segmentation, image_hw)
            _refuse_empty(segmentation, image_hw, extent)
        except UnusableMaskError as error:
            report.left_out.setdefault(error.fault, []).append(f"{name}: {error.detail}" if error.detail else name)
            continue
        for fault in dict.fromkeys(dropped):
            report.incomplete.setdefault(fault, []).append(name)
        annotation["segmentation"] = segmentation
        if _reaches_outside(extent, image_hw):
            outside.append(name)
        boxes.correct(annotation, extent, image_hw)
        area = number(annotation.get("area"))
        if area is None or not 0 < area <= image_hw[0] * image_hw[1]:
            if "area" in annotation:
                areas.append(name)
            area = mask_area(segmentation, image_hw)
        annotation["area"] = area
        used.append(annotation)
    report.remarks += boxes.sentences()
    if outside:
        report.remarks.append(
            f"Masks that reach beyond their images, where they are cut off: {listed('annotation', outside)}; were the "
            "images resized?"
        )
    if areas:
        report.remarks.append(
            f"Impossible areas, in place of which those of the masks are used: {listed('annotation', areas)}."
        )
    return used


def _refuse_empty(segmentation: Any, image_hw: tuple[int, int], extent: Sequence[float]) -> None:
    """UnusableMaskError if a mask has no pixel; large polygons inside of the image are not decoded for that."""
    if isinstance(segmentation, list) and not _reaches_outside(extent, image_hw, margin=0):
        sides = (extent[2] - extent[0], extent[3] - extent[1])
        if min(sides) >= _SURE_SIDE and max(map(_polygon_area, segmentation)) >= _SURE_AREA:
            return
    if mask_area(segmentation, image_hw) == 0:
        raise UnusableMaskError(NO_PIXEL)


def _polygon_area(polygon: Sequence[float]) -> float:
    xs, ys = polygon[0::2], polygon[1::2]
    steps = zip(xs, ys, [*xs[1:], xs[0]], [*ys[1:], ys[0]], strict=True)
    return abs(sum(x * to_y - to_x * y for x, y, to_x, to_y in steps)) / 2


def _reaches_outside(extent: Sequence[float], image_hw: tuple[int, int], margin: float = _MARGIN) -> bool:
    height, width = image_hw
    share = _MARGIN_SHARE if margin else 0
    far_x, far_y = margin + share * width, margin + share * height
    return extent[0] < -far_x or extent[1] < -far_y or extent[2] > width + far_x or extent[3] > height + far_y


def _renumber(annotations: Sequence[dict[str, Any]]) -> None:
    """New ids unless all are positive integers: pycocotools treats 0 as unmatched."""
    if any(isinstance(a["id"], str) or not 0 < a["id"] <= _LARGEST_ID for a in annotations):
        for position, annotation in enumerate(annotations, start=1):
            annotation["id"] = position


def _remarks(
    annotations: Sequence[Mapping[str, Any]], images: Sequence[Mapping[str, Any]], num_in_file: int
) -> list[str]:
    remarks = []
    if not num_in_file:
        remarks.append("It has no annotations: there is nothing to learn, and metrics of instances are nan.")
    elif annotations and all(annotation["iscrowd"] for annotation in annotations):
        remarks.append(
            f"All annotations ({len(annotations)}) are crowds ('iscrowd': 1), which training leaves out and metrics do "
            f"not count; {_SINGLE_OBJECTS}."
        )
    elif (num_crowds := sum(map(bool, (each["iscrowd"] for each in annotations)))) > _MANY_CROWDS * len(annotations):
        remarks.append(
            f"{num_crowds} of {len(annotations)} annotations are crowds ('iscrowd': 1), which training leaves out and "
            f"metrics do not count; {_SINGLE_OBJECTS}."
        )
    found: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    copies = []
    for annotation in annotations:
        key = (annotation["image_id"], annotation["category_id"], *annotation["bbox"], annotation["area"])
        if found.setdefault(key, annotation)["segmentation"] != annotation["segmentation"]:
            continue
        if found[key] is not annotation:
            copies.append(annotation["id"])
    if copies:
        remarks.append(
            "Repetitions of another annotation, so that metrics count an object twice: "
            f"{listed('annotation', copies)}; remove them."
        )
    if several := repeated(image["file_name"] for image in images if "file_name" in image):
        remarks.append(
            f"Images listed with several ids, each with a part of the annotations: {listed('image', several)}; merge "
            "them."
        )
    return remarks


def _group_remarks(content: Mapping[str, Any]) -> list[str]:
    """A remark about the category of Roboflow's exports that is the group of the others."""
    groups = {row.get("supercategory") for row in content["categories"]}
    used = {annotation["category_id"] for annotation in content["annotations"]}
    found = [row["name"] for row in content["categories"] if row["name"] in groups and row["id"] not in used]
    if not found or not used:
        return []
    return [
        f"Category {found[0]!r} has no annotations and is the group of others, as in exports of Roboflow; leave it out "
        f"at registration with ignore_categories={found[0]!r}."
    ]
