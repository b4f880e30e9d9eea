"""Semantic inference: class score maps, or for large vocabularies the label map alone, computed band by band.

Shape shorthand: Q mask proposals, K categories, H x W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..ops.autocast import without_autocast
from .output_masks import TILE_SIZE
from .resize import (
    crop_and_resize,
    masks_to_output,
    resize_band,
    resize_maps,
    rows_of_image,
    rows_to_output,
    source_rows,
)

Labels = tuple[Tensor, Tensor]
"""A column of weights and its score at each pixel; in the order that the function documents."""


@dataclass(frozen=True)
class MaskView:
    """Masks and class probabilities of one view of an image. Test-time augmentation has several views.

    Args:
        class_probs: (Q, K) in [0, 1].
        mask_logits: (Q, h, w) float, covering `padded_hw`.
        padded_hw, image_hw: (height, width) in pixels of the padded input and of the image in its top left corner.
        flipped: the view is flipped left to right.
        background_probs: (Q, N) in [0, 1] of N background prompts; None: there are none.

    Raises:
        ValueError: Q of probabilities and masks disagree, or K = 0.
    """

    class_probs: Tensor
    mask_logits: Tensor
    padded_hw: tuple[int, int]
    image_hw: tuple[int, int]
    flipped: bool = False
    background_probs: Tensor | None = None

    def __post_init__(self) -> None:
        check_same_queries(self.class_probs, self.mask_logits)
        if self.background_probs is not None:
            check_same_queries(self.background_probs, self.mask_logits)
        if self.class_probs.shape[1] == 0:
            raise ValueError("Semantic inference needs at least one category, got class_probs with 0 columns.")

    def unflip(self, maps: Tensor) -> Tensor:
        """Maps (..., W) of the view -> maps of the image."""
        return maps.flip(-1) if self.flipped else maps


def semantic_inference(class_probs: Tensor, mask_logits: Tensor) -> Tensor:
    """Sum the proposals' masks, weighted by their class probabilities.

    map_k = sum_q p_qk * sigmoid(mask_q), as in Mask2Former; not normalized over the categories.

    Args:
        class_probs: (Q, K) in [0, 1].
        mask_logits: (Q, H, W) float.

    Returns:
        (K, H, W) float32, at least 0; zeros for Q = 0.

    Raises:
        ValueError: Q of the two arguments disagree.
    """
    check_same_queries(class_probs, mask_logits)
    with without_autocast(mask_logits.device):
        return torch.einsum("qk,qhw->khw", class_probs.float(), mask_logits.float().sigmoid())


def semantic_scores(views: Sequence[MaskView], output_hw: tuple[int, int], resize_masks_first: bool = True) -> Tensor:
    """Class score maps of an image: the mean of `semantic_inference` over its views.

    A map of 847 categories at 1024 x 2048 pixels takes 7 GB; `semantic_labels` needs no such map.

    Args:
        views: at least one.
        output_hw: (height, width) of the result in pixels.
        resize_masks_first: resize masks to the output size, then sum them; False: sum them at padded size, then crop
            and resize the class maps, as published for models with semantic output only.

    Returns:
        (K, H, W) float32, at least 0.
    """
    first, *others = views
    total = _score_maps(first, output_hw, resize_masks_first) / len(views)
    for view in others:
        total += _score_maps(view, output_hw, resize_masks_first) / len(views)
    return total


def _score_maps(view: MaskView, output_hw: tuple[int, int], resize_masks_first: bool) -> Tensor:
    if resize_masks_first:
        masks = masks_to_output(view.mask_logits, view.padded_hw, view.image_hw, output_hw)
        return view.unflip(semantic_inference(view.class_probs, masks))
    maps = semantic_inference(view.class_probs, resize_maps(view.mask_logits, view.padded_hw))
    return view.unflip(crop_and_resize(maps, view.image_hw, output_hw))


@torch.no_grad()
def semantic_labels(
    views: Sequence[MaskView],
    output_hw: tuple[int, int],
    resize_masks_first: bool = True,
    tile_size: int = TILE_SIZE,
) -> tuple[Tensor, Tensor]:
    """The best category of each pixel by `semantic_scores`, without a map per category or mask.

    Works in bands of rows: memory besides arguments and result does not grow with the image, the number of categories
    or the number of masks, unless a single row needs more than `tile_size` elements.

    Args:
        views, output_hw, resize_masks_first: see `semantic_scores`.
        tile_size: elements of each of a few temporary tensors.

    Returns:
        labels: (H, W) int64 in [0, K); the lowest category if all scores are equal, such as without proposals.
        scores: (H, W) float32, the score of that category; 0 without proposals.
    """
    weights = [view.class_probs for view in views]
    [best] = _best_columns(views, [weights], (torch.int64,), output_hw, resize_masks_first, tile_size)
    return best


@torch.no_grad()
def semantic_labels_and_background(
    views: Sequence[MaskView],
    output_hw: tuple[int, int],
    resize_masks_first: bool = True,
    tile_size: int = TILE_SIZE,
) -> tuple[Labels, Labels]:
    """`semantic_labels`, and the same for the background prompts.

    Only background prompts compete that are the best of a proposal, at most as many as there are proposals.

    Args:
        views: all with `background_probs`, of the same prompts.
        output_hw, resize_masks_first, tile_size: see `semantic_labels`.

    Returns:
        (labels, scores) of the categories, and (labels (H, W) int32 in [0, N), scores) of the background prompts.
    """
    background = [view.background_probs for view in views if view.background_probs is not None]
    if len(background) != len(views):
        raise ValueError("A view of semantic inference has no background_probs.")
    candidates = torch.cat(background).argmax(dim=1).unique()  # (J,), none without proposals
    if len(candidates) == 0:
        candidates = candidates.new_zeros(1)
    weights = [[view.class_probs for view in views], [probs[:, candidates] for probs in background]]
    dtypes = (torch.int64, torch.int32)
    best, (labels, scores) = _best_columns(views, weights, dtypes, output_hw, resize_masks_first, tile_size)
    return best, (candidates.int()[labels], scores)


def _best_columns(
    views: Sequence[MaskView],
    groups: Sequence[Sequence[Tensor]],
    dtypes: Sequence[torch.dtype],
    output_hw: tuple[int, int],
    resize_masks_first: bool,
    tile_size: int,
) -> list[Labels]:
    """The best column of each group at each pixel, with its score.

    Args:
        groups: weights of the masks, for each group and view (Q, columns).
        dtypes: of the columns, for each group.
        views, output_hw, resize_masks_first, tile_size: see `semantic_labels`.
    """
    step = max(1, tile_size // sum(_elements_per_row(view, output_hw) for view in views))
    best_of_band = _best_of_masks if resize_masks_first else _best_of_maps
    device = views[0].mask_logits.device
    found = [
        (torch.empty(output_hw, dtype=dtype, device=device), torch.empty(output_hw, device=device)) for dtype in dtypes
    ]
    with without_autocast(device):
        for first in range(0, output_hw[0], step):
            rows = (first, min(first + step, output_hw[0]))
            best = best_of_band(views, groups, output_hw, rows, tile_size)
            for (labels, scores), of_band in zip(found, best, strict=True):
                scores[rows[0] : rows[1]], labels[rows[0] : rows[1]] = of_band
    return found


def check_same_queries(class_probs: Tensor, mask_logits: Tensor) -> None:
    """Raise ValueError unless the arguments are (Q, K) and (Q, H, W) with the same Q."""
    if class_probs.dim() != 2 or mask_logits.dim() != 3 or len(class_probs) != len(mask_logits):
        raise ValueError(
            "Expected class_probs (Q, K) and mask_logits (Q, H, W) of the same Q proposals, got "
            f"{tuple(class_probs.shape)} and {tuple(mask_logits.shape)}."
        )


def _elements_per_row(view: MaskView, output_hw: tuple[int, int]) -> int:
    """Elements of all masks for one row of the result, before or after the last resize; at least 1."""
    rows_in_row = math.ceil(view.image_hw[0] / output_hw[0])
    return max(1, len(view.mask_logits) * rows_in_row * max(view.image_hw[1], output_hw[1]))


def _best_of_masks(
    views: Sequence[MaskView],
    groups: Sequence[Sequence[Tensor]],
    output_hw: tuple[int, int],
    rows: tuple[int, int],
    tile_size: int,
) -> list[Labels]:
    """Best score and its column for each group, (rows, W), from masks at output size."""
    probs = [
        view.unflip(rows_to_output(view.mask_logits, view.padded_hw, view.image_hw, output_hw, rows)).sigmoid()
        for view in views
    ]
    pixels = torch.cat(probs).flatten(1).T  # (H * W, Q), Q of all views
    hw = probs[0].shape[-2:]
    found = [_best_of_pixels(pixels, torch.cat(list(group)).float() / len(views), tile_size) for group in groups]
    return [(values.view(hw), labels.view(hw)) for values, labels in found]


def _best_of_pixels(pixels: Tensor, weights: Tensor, tile_size: int) -> Labels:
    """Best score and its column, (P,), of pixels (P, Q) and weights (Q, K): weighted sums, a few pixels at a time."""
    step = max(1, tile_size // weights.shape[1])
    # Categories are the last dimension, along which the maximum is twice as fast. One tile is reused for all pixels,
    # since repeated allocation between small results fragments CPU memory.
    tile = weights.new_empty(min(step, len(pixels)), weights.shape[1])
    values, labels = weights.new_empty(len(pixels)), torch.empty(len(pixels), dtype=torch.int64, device=weights.device)
    for first in range(0, len(pixels), step):
        some = slice(first, min(first + step, len(pixels)))
        scores = torch.mm(pixels[some], weights, out=tile[: some.stop - some.start])
        torch.max(scores, dim=1, out=(values[some], labels[some]))
    return values, labels


def _best_of_maps(
    views: Sequence[MaskView],
    groups: Sequence[Sequence[Tensor]],
    output_hw: tuple[int, int],
    rows: tuple[int, int],
    tile_size: int,
) -> list[Labels]:
    """Best score and its column for each group, (rows, W), from class maps resized after the sum, a few at a time."""
    bands = [source_rows(view.image_hw[0], output_hw[0], rows) for view in views]
    probs = [
        rows_of_image(view.mask_logits, view.padded_hw, view.image_hw, band).sigmoid()
        for view, band in zip(views, bands, strict=True)
    ]

    def scores_of(weights: Sequence[Tensor]) -> Tensor:
        """(columns, rows, W) of weights (Q, columns) of each view."""
        maps_of_views = []
        for view, band, masks, of_view in zip(views, bands, probs, weights, strict=True):
            maps = torch.einsum("qk,qhw->khw", of_view.float() / len(views), masks)
            maps_of_views.append(view.unflip(resize_band(maps, band[0], view.image_hw[0], output_hw, rows)))
        return sum(maps_of_views[1:], start=maps_of_views[0])

    pixels = max((rows[1] - rows[0]) * output_hw[1], *(masks.shape[-2] * masks.shape[-1] for masks in probs))
    step = max(1, tile_size // pixels)

    def best_of(group: Sequence[Tensor]) -> Labels:
        values, labels = scores_of([weights[:, :step] for weights in group]).max(dim=0)
        for first in range(step, group[0].shape[1], step):
            new_values, new_labels = scores_of([weights[:, first : first + step] for weights in group]).max(dim=0)
            labels = torch.where(new_values > values, new_labels + first, labels)  # of equal scores, the lower one
            values = torch.maximum(values, new_values)
        return values, labels

    return [best_of(group) for group in groups]
