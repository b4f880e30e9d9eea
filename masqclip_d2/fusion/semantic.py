"""Semantic inference: class score maps, or the label map alone for large vocabularies.

Shape shorthand: Q mask proposals, K categories, H x W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

# 4 million float32 scores = 16 MiB per tile: large enough to keep a GPU busy, small beside the mask logits.
_TILE_SCORES = 4_000_000


def semantic_inference(class_probs: Tensor, mask_logits: Tensor) -> Tensor:
    """Sum the proposals' masks, weighted by their class probabilities.

    map_k = sum_q p_qk * sigmoid(mask_q), as in Mask2Former; not normalised over the categories.

    Args:
        class_probs: (Q, K) in [0, 1].
        mask_logits: (Q, H, W) float.

    Returns:
        (K, H, W) float32, at least 0; zeros for Q = 0.

    Raises:
        ValueError: Q of the two arguments disagree.
    """
    check_same_queries(class_probs, mask_logits)
    return torch.einsum("qk,qhw->khw", class_probs.float(), mask_logits.float().sigmoid())


def semantic_labels(class_probs: Tensor, mask_logits: Tensor, tile_scores: int = _TILE_SCORES) -> Tensor:
    """The arg-max over categories of `semantic_inference`, without ever holding its (K, H, W) map.

    A map of 847 categories at 1024 x 2048 pixels is 7 GB; here the scores exist for one tile of pixels at a time.

    Args:
        class_probs: (Q, K) in [0, 1], K >= 1.
        mask_logits: (Q, H, W) float.
        tile_scores: largest number of scores (pixels times K) in memory at a time.

    Returns:
        (H, W) int64 in [0, K). Where all scores are equal (Q = 0, for one), the lowest category.

    Raises:
        ValueError: Q of the two arguments disagree, or K = 0.
    """
    check_same_queries(class_probs, mask_logits)
    num_categories = class_probs.shape[1]
    if num_categories == 0:
        raise ValueError("semantic_labels needs at least one category, got class_probs with 0 columns.")
    weights = class_probs.float().T  # (K, Q)
    flat_logits = mask_logits.flatten(1)  # (Q, H * W)
    labels = torch.empty(flat_logits.shape[1], dtype=torch.int64, device=mask_logits.device)
    tile = max(1, tile_scores // num_categories)
    for start in range(0, len(labels), tile):
        scores = weights @ flat_logits[:, start : start + tile].float().sigmoid()  # (K, tile)
        torch.argmax(scores, dim=0, out=labels[start : start + tile])
    return labels.view(mask_logits.shape[-2:])


def check_same_queries(class_probs: Tensor, mask_logits: Tensor) -> None:
    """Raise ValueError unless the arguments are (Q, K) and (Q, H, W) with the same Q."""
    if class_probs.dim() != 2 or mask_logits.dim() != 3 or len(class_probs) != len(mask_logits):
        raise ValueError(
            "Expected class_probs (Q, K) and mask_logits (Q, H, W) of the same Q proposals, got "
            f"{tuple(class_probs.shape)} and {tuple(mask_logits.shape)}."
        )
