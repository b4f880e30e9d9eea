"""Semantic inference: class score maps, or for large vocabularies the label map alone, computed band by band.

Shape shorthand: Q mask proposals, K categories, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..ops import semantic_labels as op
from ..ops.output_masks import TILE_SIZE
from ..ops.semantic_labels import WeightedMasks, score_maps, weighted_sum
from ..transfers import is_asynchronous

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

    def weighted(self, *weights: Tensor) -> WeightedMasks:
        """The masks with groups of weights, for the op `semantic_labels`."""
        return WeightedMasks(self.mask_logits, weights, self.padded_hw, self.image_hw, self.flipped)


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
    return weighted_sum(class_probs, mask_logits)


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
    return score_maps([view.weighted(view.class_probs) for view in views], output_hw, resize_masks_first)


def semantic_labels(
    views: Sequence[MaskView],
    output_hw: tuple[int, int],
    resize_masks_first: bool = True,
    tile_size: int = TILE_SIZE,
) -> Labels:
    """The best category of each pixel by `semantic_scores`, without a map per category or mask.

    Memory besides arguments and result does not grow with the image, the number of categories or the number of masks;
    see the op `semantic_labels`.

    Args:
        views, output_hw, resize_masks_first: see `semantic_scores`.
        tile_size: elements of each of a few temporary tensors, where the kernels are not used.

    Returns:
        labels: (H, W) int64 in [0, K); the lowest category if all scores are equal, such as without proposals.
        scores: (H, W) float32, the score of that category; 0 without proposals.
    """
    weighted = [view.weighted(view.class_probs) for view in views]
    (best,) = op.semantic_labels(weighted, output_hw, resize_masks_first, tile_size)
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
    best_prompts = torch.cat(background).argmax(dim=1)  # none without proposals
    # A GPU need not count the different ones: of equal columns the first wins.
    candidates = best_prompts.sort().values if is_asynchronous(best_prompts.device) else best_prompts.unique()  # (J,)
    if len(candidates) == 0:
        candidates = candidates.new_zeros(1)
    weighted = [
        view.weighted(view.class_probs, probs[:, candidates]) for view, probs in zip(views, background, strict=True)
    ]
    best, (labels, scores) = op.semantic_labels(weighted, output_hw, resize_masks_first, tile_size)
    return best, (candidates.int()[labels], scores)


def check_same_queries(class_probs: Tensor, mask_logits: Tensor) -> None:
    """Raise ValueError unless the arguments are (Q, K) and (Q, H, W) with the same Q."""
    if class_probs.dim() != 2 or mask_logits.dim() != 3 or len(class_probs) != len(mask_logits):
        raise ValueError(
            "Expected class_probs (Q, K) and mask_logits (Q, H, W) of the same Q proposals, got "
            f"{tuple(class_probs.shape)} and {tuple(mask_logits.shape)}."
        )
