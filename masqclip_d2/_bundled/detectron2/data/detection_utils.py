"""Reading images, and converting annotations of a dataset dict to `Instances`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import BitMasks, Boxes, BoxMode, Instances, PolygonMasks, polygons_to_bitmask
from detectron2.utils.file_io import PathManager
from PIL import Image

from . import transforms as T
from .catalog import MetadataCatalog

_EXIF_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class SizeMismatchError(ValueError):
    """The size of an image differs from its dataset dict."""


def read_image(file_name: str, format: str | None = None) -> np.ndarray:
    """Read an image, upright (its EXIF orientation applied).

    Args:
        file_name: path or URL that `PathManager` opens.
        format: "RGB", "BGR", a mode of PIL such as "L", or None for the file's own mode.

    Returns:
        (H, W, C) array, uint8 for RGB, BGR and L; (H, W, 1) for L; (H, W) is possible for None.
    """
    with PathManager.open(file_name, "rb") as file:
        image = Image.open(file)
        try:
            orientation = image.getexif().get(_EXIF_ORIENTATION_TAG)
        except Exception:  # broken EXIF raises many types (PIL issue 3973); the pixels are fine
            orientation = None
        if orientation in _UPRIGHT:
            image = image.transpose(_UPRIGHT[orientation])
        if format is not None:
            image = image.convert("RGB" if format == "BGR" else format)
        array = np.asarray(image)
    if format == "BGR":
        return array[:, :, ::-1]
    return array[:, :, None] if format == "L" else array


def check_image_size(dataset_dict: dict, image: np.ndarray) -> None:
    """Raise `SizeMismatchError` if the dict has another size than the image; fill in "height" and "width"."""
    height, width = image.shape[:2]
    expected = (dataset_dict.get("height", height), dataset_dict.get("width", width))
    if expected != (height, width):
        raise SizeMismatchError(
            f"Image {dataset_dict.get('file_name', '')} is {height} x {width} (height x width), but its dataset entry "
            f"has {expected[0]} x {expected[1]}. Annotations made before an EXIF rotation are a common cause."
        )
    dataset_dict.setdefault("height", height)
    dataset_dict.setdefault("width", width)


def transform_instance_annotations(
    annotation: dict, transforms: T.Transform | list | tuple, image_size: tuple[int, int]
) -> dict:
    """Apply geometric transforms to the box and segmentation of one annotation, in place; returns it.

    Args:
        annotation: "bbox", "bbox_mode" and optionally "segmentation" (polygons or an RLE dict).
        transforms: those applied to the image.
        image_size: (height, width) of the transformed image.

    Returns:
        The annotation; "bbox" is a float64 XYXY_ABS array inside the image, "segmentation" a list of flat arrays or a
        (height, width) uint8 array.
    """
    if "keypoints" in annotation:
        raise NotImplementedError("The bundled Detectron2 subset does not transform keypoints; remove them.")
    if isinstance(transforms, (list, tuple)):
        transforms = T.TransformList(list(transforms))
    box = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
    box = transforms.apply_box(np.array([box], dtype=np.float64))[0]
    height, width = image_size
    annotation["bbox"] = np.clip(box, 0, [width, height, width, height])
    annotation["bbox_mode"] = BoxMode.XYXY_ABS
    if "segmentation" in annotation:
        annotation["segmentation"] = _transform_segmentation(annotation["segmentation"], transforms, image_size)
    return annotation


def _transform_segmentation(segmentation: Any, transforms: T.Transform, image_size: tuple[int, int]) -> Any:
    if isinstance(segmentation, list):
        polygons = [np.asarray(polygon, dtype=np.float64).reshape(-1, 2) for polygon in segmentation]
        return [polygon.reshape(-1) for polygon in transforms.apply_polygons(polygons)]
    if isinstance(segmentation, dict):
        from pycocotools import mask as mask_api

        mask = transforms.apply_segmentation(mask_api.decode(segmentation))  # pyright: ignore[reportArgumentType]  (an RLE)
        assert tuple(mask.shape[:2]) == tuple(image_size), (
            f"The transformed RLE mask has size {mask.shape[:2]}, the image {tuple(image_size)}; expected equal sizes."
        )
        return mask
    raise ValueError(f"A segmentation is a list of polygons or an RLE dict; got {type(segmentation).__name__}.")


def annotations_to_instances(annos: list[dict], image_size: tuple[int, int], mask_format: str = "polygon") -> Instances:
    """Make the `Instances` of an image from transformed annotations.

    Args:
        annos: annotations as `transform_instance_annotations` returns them.
        image_size: (height, width).
        mask_format: "polygon" or "bitmask".

    Returns:
        `gt_boxes`, `gt_classes` (int64), and `gt_masks` if there is an annotation and the first has a segmentation.

    Raises:
        ValueError: the masks do not fit `mask_format`.
    """
    boxes = [BoxMode.convert(obj["bbox"], obj["bbox_mode"], BoxMode.XYXY_ABS) for obj in annos]
    instances = Instances(image_size)
    instances.gt_boxes = Boxes(np.stack(boxes) if boxes else np.zeros((0, 4)))
    instances.gt_classes = torch.tensor([int(obj["category_id"]) for obj in annos], dtype=torch.int64)
    if not annos or "segmentation" not in annos[0]:
        return instances
    segmentations = [obj["segmentation"] for obj in annos]
    if mask_format == "polygon":
        try:
            instances.gt_masks = PolygonMasks(segmentations)
        except ValueError as error:
            raise ValueError(
                "INPUT.MASK_FORMAT is 'polygon', but a segmentation is not a list of polygons; use 'bitmask'."
            ) from error
    elif mask_format == "bitmask":
        masks = [_to_bitmask(segmentation, image_size) for segmentation in segmentations]
        instances.gt_masks = BitMasks(np.stack(masks))
    else:
        raise ValueError(f"mask_format is {mask_format!r}; expected 'polygon' or 'bitmask'.")
    return instances


def _to_bitmask(segmentation: Any, image_size: tuple[int, int]) -> np.ndarray:
    if isinstance(segmentation, list):
        return polygons_to_bitmask(segmentation, *image_size)
    if isinstance(segmentation, dict):
        from pycocotools import mask as mask_api

        return mask_api.decode(segmentation).astype(bool)  # pyright: ignore[reportArgumentType]  (an RLE)
    if isinstance(segmentation, np.ndarray) and segmentation.ndim == 2:
        return segmentation.astype(bool)
    raise ValueError(
        "A segmentation is a list of polygons, an RLE dict or a (height, width) array; "
        f"got {type(segmentation).__name__} {getattr(segmentation, 'shape', '')}."
    )


def filter_empty_instances(
    instances: Instances,
    by_box: bool = True,
    by_mask: bool = True,
    box_threshold: float = 1e-5,
    return_mask: bool = False,
) -> Instances | tuple[Instances, torch.Tensor]:
    """Drop instances with an empty box (a side of at most `box_threshold` pixels) or an empty mask.

    Returns:
        The kept instances; with `return_mask` also the (N,) bool tensor of kept ones.
    """
    assert by_box or by_mask, "Filter by box, by mask or by both."
    checks = []
    if by_box:
        checks.append(instances.gt_boxes.nonempty(threshold=box_threshold))
    if by_mask and instances.has("gt_masks"):
        checks.append(instances.gt_masks.nonempty())
    keep = torch.stack(checks).all(dim=0) if checks else torch.ones(len(instances), dtype=torch.bool)
    return (instances[keep], keep) if return_mask else instances[keep]


def check_metadata_consistency(key: str, dataset_names: list[str] | tuple[str, ...]) -> None:
    """Raise ValueError if the metadata `key` of the datasets differs."""
    assert dataset_names, "Expected at least one dataset name."
    expected = getattr(MetadataCatalog.get(dataset_names[0]), key)
    for name in dataset_names[1:]:
        found = getattr(MetadataCatalog.get(name), key)
        if found != expected:
            raise ValueError(
                f"Datasets '{dataset_names[0]}' and '{name}' have different metadata '{key}': {expected} and {found}."
            )


def build_augmentation(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """Resizing by INPUT.MIN_SIZE_* and MAX_SIZE_*, then flipping in training."""
    if not is_train:
        return [T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST, "choice")]
    augmentations: list[T.Augmentation] = [
        T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING)
    ]
    flip = cfg.INPUT.RANDOM_FLIP
    if flip not in ("horizontal", "vertical", "none"):
        raise ValueError(f"INPUT.RANDOM_FLIP is {flip!r}; expected 'horizontal', 'vertical' or 'none'.")
    if flip != "none":
        augmentations.append(T.RandomFlip(horizontal=flip == "horizontal", vertical=flip == "vertical"))
    return augmentations


build_transform_gen = build_augmentation  # name in older plugins
