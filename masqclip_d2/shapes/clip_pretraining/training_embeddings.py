"""Image embeddings for the training of CLIP itself: patch dropout, and small images as windows of the patch grid.

Shape shorthand: B images, P = h * w patches of the full input, P' patches of the given images, D width, E embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...clip.vision_transformer import ClipVisionTransformer


def training_embeddings(
    visual: ClipVisionTransformer, images: Tensor, patch_dropout: float = 0.0, positions: Tensor | None = None
) -> Tensor:
    """Image embeddings as `ClipVisionTransformer.forward` computes them, from fewer tokens.

    Args:
        visual: the vision tower.
        images: (B, 3, R, R) float, normalized; smaller with `positions`.
        patch_dropout: share in [0, 1) of the patches of each image, dropped at random (FLIP, Li et al., 2023, Sec. 3).
        positions: (B, P') int64 index of each patch in the full grid, see `random_windows`; None: the full grid.

    Returns:
        (B, E) float, not unit length.

    Raises:
        ValueError: `patch_dropout` is outside [0, 1).
    """
    return visual.project(visual.transformer(training_tokens(visual, images, patch_dropout, positions))[:, 0])


def training_tokens(
    visual: ClipVisionTransformer, images: Tensor, patch_dropout: float = 0.0, positions: Tensor | None = None
) -> Tensor:
    """Class token and patches (B, 1 + P', D) as they enter the first block; arguments as in `training_embeddings`."""
    patch_positions = visual.positional_embedding[1:]
    if positions is not None:
        patch_positions = patch_positions[positions]  # (B, P', D)
    patches = visual.conv1(images).flatten(2).transpose(1, 2) + patch_positions  # (B, P or P', D)
    if patch_dropout:
        patches = _random_subset(patches, patch_dropout)
    return visual.with_class_token(patches)


def random_windows(num_images: int, window: int, grid: int, device: torch.device) -> Tensor:
    """Random positions in the patch grid for images that are smaller than CLIP's input.

    A small image costs few tokens, but over time every position of the grid is trained, at the scale of large images.

    Args:
        num_images: B.
        window: patches along a side of the images.
        grid: patches along a side of CLIP's input, at least `window`.

    Returns:
        (B, window * window) int64, `positions` of `training_embeddings`.
    """
    top, left = torch.randint(0, grid - window + 1, (2, num_images, 1, 1), device=device)
    steps = torch.arange(window, device=device)
    return ((top + steps[:, None]) * grid + left + steps).flatten(1)


def _random_subset(patches: Tensor, dropout: float) -> Tensor:
    """At least one of (B, P, D) patches, chosen at random for each image."""
    if not 0.0 < dropout < 1.0:
        raise ValueError(f"patch_dropout is the share of dropped patches, in [0, 1), got {dropout}.")
    batch, num_patches, width = patches.shape
    num_kept = max(1, round(num_patches * (1.0 - dropout)))
    kept = torch.rand(batch, num_patches, device=patches.device).topk(num_kept, dim=1).indices  # (B, kept)
    return patches.gather(1, kept[:, :, None].expand(-1, -1, width))
