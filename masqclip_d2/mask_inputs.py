"""Masks that a user passes to `Predictor.encode`, in the formats of other tools, as mask proposals.

Shape shorthand: N masks, H x W pixels of the image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .coco_masks import checked_scores, masks_of_entries
from .structures import MaskProposals

_OWNER = "the argument `masks`"  # in error messages
THRESHOLD = 0.5  # float masks are probabilities; a pixel above it is inside
_PLAIN_DTYPES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
                 torch.float16, torch.bfloat16, torch.float32, torch.float64)  # fmt: skip


def as_mask_proposals(masks: Any, image_hw: tuple[int, int]) -> MaskProposals:
    """Mask proposals from any of the types that a user may pass.

    Args:
        masks: all of the size of the image, one of
            - an array or tensor (N, H, W), or (H, W) for a single mask: bool, integers 0 and 1, or floats in [0, 1],
              which are probabilities (inside above 0.5),
            - a list of (H, W) arrays or tensors of these types,
            - a list of dicts as from SAM's automatic mask generator: `segmentation` (array, COCO's run-length encoding
              or polygons) and optionally `predicted_iou` or `score` (with both, `score` counts),
            - a list of COCO's run-length encodings, as from pycocotools,
            - `supervision.Detections` with `mask` and optionally `confidence`,
            - a dict as from torchvision's Mask R-CNN: `masks` (N, 1, H, W) or (N, H, W) and optionally `scores`,
            - Detectron2's `Instances` with `pred_masks` and optionally `scores`,
            - `MaskProposals`.
        image_hw: (height, width) of the image in pixels.

    Returns:
        The N masks in their order; their scores as object scores (1 without scores).

    Raises:
        TypeError: `masks` is of another type.
        ValueError: shapes, values or the number of scores do not fit, or a score is outside of [0, 1] (`predicted_iou`
            is clipped instead).
    """
    if isinstance(masks, MaskProposals):
        if masks.image_hw != tuple(image_hw):
            raise ValueError(f"Masks are for an image of {masks.image_hw} pixels, but the image has {tuple(image_hw)}.")
        return masks
    found, scores = _masks_and_scores(masks, image_hw)
    inside = _inside(found)
    if inside.dim() == 2:
        inside = inside[None]
    if inside.dim() != 3 or tuple(inside.shape[1:]) != tuple(image_hw):
        raise ValueError(
            f"masks must have shape (N, {image_hw[0]}, {image_hw[1]}), the size of the image, got "
            f"{tuple(inside.shape)}."
        )
    return MaskProposals.from_binary_masks(inside, _object_scores(scores, inside))


def _masks_and_scores(masks: Any, image_hw: tuple[int, int]) -> tuple[NDArray | Tensor, Any]:
    """Array of masks and scores (or None), not yet checked."""
    if isinstance(masks, Mapping):
        if "masks" not in masks:
            hint = " Put a single mask's dict into a list." if {"segmentation", "counts"} & set(masks) else ""
            raise ValueError(
                f"A dict of masks needs the key 'masks', got {', '.join(map(str, masks)) or 'no keys'}.{hint}"
            )
        array = masks["masks"]
        return (array[:, 0] if np.ndim(array) == 4 and np.shape(array)[1] == 1 else array), masks.get("scores")
    if hasattr(masks, "mask") and hasattr(masks, "confidence"):  # supervision.Detections
        if masks.mask is None and len(masks):
            raise ValueError(f"{type(masks).__name__} has boxes only; its field 'mask' is None.")
        return _empty(image_hw) if masks.mask is None else np.asarray(masks.mask), masks.confidence
    if hasattr(masks, "pred_masks"):  # detectron2.structures.Instances
        return masks.pred_masks, getattr(masks, "scores", None)
    if isinstance(masks, (np.ndarray, Tensor)):
        return masks, None
    if isinstance(masks, Sequence) and not isinstance(masks, (str, bytes)):
        if any(isinstance(mask, Mapping) for mask in masks):
            found = masks_of_entries(masks, image_hw, _OWNER, lambda mask: _one_mask(mask, image_hw).cpu().numpy())
            return found.masks, found.scores
        return _stacked(masks, image_hw), None
    raise TypeError(
        f"masks is a {type(masks).__name__}; expected an array or tensor (N, H, W), a list of arrays, SAM's list of "
        "dicts, supervision.Detections, or a dict with 'masks'."
    )


def _stacked(masks: Sequence[Any], image_hw: tuple[int, int]) -> NDArray | Tensor:
    """(N, H, W) bool from (H, W) arrays and tensors."""
    inside = [_one_mask(mask, image_hw, f"Mask {index}") for index, mask in enumerate(masks)]
    return torch.stack(inside) if inside else _empty(image_hw)


def _one_mask(mask: Any, image_hw: tuple[int, int], title: str = "A mask") -> Tensor:
    """(H, W) bool from an array or tensor."""
    inside = _inside(mask)
    if tuple(inside.shape) != tuple(image_hw):
        raise ValueError(
            f"{title} must have shape ({image_hw[0]}, {image_hw[1]}), the size of the image, got {tuple(inside.shape)}."
        )
    return inside


def _inside(masks: Any) -> Tensor:
    """Bool tensor of the same shape: which pixels are inside."""
    if not isinstance(masks, Tensor):
        array = np.asarray(masks)
        if array.dtype.kind not in "buif":
            raise ValueError(f"masks must be bool, 0 and 1, or probabilities in [0, 1], got dtype {array.dtype}.")
        # Torch has no unsigned integers beyond 8 bits on all versions, and no extended floats.
        array = array.astype({"u": np.int64, "f": np.float64}.get(array.dtype.kind, array.dtype), copy=False)
        masks = torch.from_numpy(np.ascontiguousarray(array))
    if masks.is_nested or masks.is_meta:
        raise ValueError("masks must be a plain tensor, not a nested one or one without values.")
    masks = masks.detach() if masks.layout == torch.strided else masks.detach().to_dense()
    if masks.is_complex() or masks.is_quantized:
        raise ValueError(f"masks must be bool, 0 and 1, or probabilities in [0, 1], got dtype {masks.dtype}.")
    if masks.dtype == torch.bool or not masks.numel():
        return masks.bool()
    if masks.dtype not in _PLAIN_DTYPES:  # torch can only store it
        masks = masks.float() if masks.is_floating_point() else masks.long()
    low, high = masks.min().item(), masks.max().item()
    if not (low >= 0 and high <= 1):  # NaN too
        raise ValueError(
            f"masks hold values from {low:g} to {high:g}; expected bool, 0 and 1, or probabilities in [0, 1]. "
            "Compare with a threshold first: masks > 0 for logits and for images with 0 and 255."
        )
    return masks > THRESHOLD if masks.is_floating_point() else masks.bool()


def _object_scores(scores: Any, masks: Tensor) -> Tensor | None:
    if scores is None:
        return None
    values = scores.detach().float().cpu().numpy() if isinstance(scores, Tensor) else scores
    return torch.from_numpy(checked_scores(values, len(masks), _OWNER)).to(masks.device)


def _empty(image_hw: tuple[int, int]) -> NDArray[np.bool_]:
    return np.zeros((0, *image_hw), dtype=bool)
