"""MaskProposals: what a proposer hands to the visual encoder and to fusion.

Shape shorthand: Q mask proposals, Hm x Wm the resolution of the mask logits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

CERTAIN_LOGIT = 10.0  # of a pixel that is certainly inside a mask; sigmoid(-10) = 5e-5


@dataclass
class MaskProposals:
    """Class-agnostic masks of one image. Checked here once, so that nobody needs to check again.

    Args:
        mask_logits: (Q, Hm, Wm) float; a pixel is inside where the logit is positive. The map covers `padded_hw`.
        object_scores: (Q,) float in [0, 1], p_obj of MasQCLIP; ones where the proposer has no object score.
        image_hw: (height, width) in pixels of the image as the proposer saw it, without padding.
        padded_hw: (height, width) in pixels of the padded input, of which the image is the top left part.
            None: nothing was padded.

    Raises:
        ValueError: shapes, dtypes or sizes disagree, or a mask logit is NaN.
    """

    mask_logits: Tensor
    object_scores: Tensor
    image_hw: tuple[int, int]
    padded_hw: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.mask_logits.dim() != 3 or not self.mask_logits.is_floating_point():
            raise ValueError(
                f"mask_logits must be a float tensor of shape (Q, Hm, Wm), got {self.mask_logits.dtype} "
                f"{tuple(self.mask_logits.shape)}."
            )
        if self.object_scores.shape != self.mask_logits.shape[:1]:
            raise ValueError(
                f"object_scores must have shape ({len(self.mask_logits)},) as there are {len(self.mask_logits)} masks, "
                f"got {tuple(self.object_scores.shape)}."
            )
        self.image_hw = _checked_hw("image_hw", self.image_hw)
        self.padded_hw = self.image_hw if self.padded_hw is None else _checked_hw("padded_hw", self.padded_hw)
        if self.padded_hw[0] < self.image_hw[0] or self.padded_hw[1] < self.image_hw[1]:
            raise ValueError(f"padded_hw {self.padded_hw} is smaller than image_hw {self.image_hw}.")
        if torch.isnan(self.mask_logits).any():
            bad = torch.isnan(self.mask_logits).flatten(1).any(1).nonzero().flatten().tolist()
            raise ValueError(
                f"mask_logits has NaN in masks {bad}; check the weights that made them: training may have diverged."
            )

    def __len__(self) -> int:
        return len(self.mask_logits)

    def resized(self, hw: tuple[int, int], frame: str = "image") -> Tensor:
        """Mask logits of one frame at another resolution, bilinear, edges repeated, without anti-aliasing.

        Args:
            hw: (height, width) of the result.
            frame: "image": the part that is the image, without padding; "padded": the whole padded input.

        Returns:
            (Q, h, w) float32.
        """
        if frame == "padded" or self.padded_hw == self.image_hw:
            return F.interpolate(self.mask_logits[:, None].float(), hw, mode="bilinear", align_corners=False)[:, 0]
        # Sample the low-resolution map at the pixel centres of the result: the same geometry as `interpolate`, for a
        # part of the map whose border may lie between two of its pixels.
        ys, xs = (
            (torch.arange(size, device=self.mask_logits.device) + 0.5) / size * (image / padded) * 2 - 1
            for size, image, padded in zip(hw, self.image_hw, self.padded_hw, strict=True)
        )
        grid = torch.stack(torch.broadcast_tensors(xs[None, :], ys[:, None]), dim=-1)  # (h, w, 2) as (x, y)
        maps = self.mask_logits[None].float()  # (1, Q, Hm, Wm): one grid for all masks
        return F.grid_sample(maps, grid[None], mode="bilinear", padding_mode="border", align_corners=False)[0]

    @classmethod
    def from_binary_masks(cls, masks: Tensor, object_scores: Tensor | None = None) -> MaskProposals:
        """Take masks from any source: (Q, H, W) bool or 0/1 in the frame of the image."""
        mask_logits = (masks.to(torch.float32) * 2 - 1) * CERTAIN_LOGIT
        if object_scores is None:
            object_scores = torch.ones(len(masks), device=masks.device)
        return cls(mask_logits, object_scores, tuple(masks.shape[-2:]))


def annotated_masks(instances, image_hw: tuple[int, int]) -> Tensor:
    """Ground-truth masks of Detectron2's `Instances` as one tensor.

    Args:
        instances: with `gt_masks`, BitMasks or (N, H, W) bool; without that field where nothing is annotated.
        image_hw: (height, width) of the result where there are none.

    Returns:
        (N, H, W) bool; N may be 0.
    """
    if not instances.has("gt_masks"):
        return torch.zeros(0, *image_hw, dtype=torch.bool)
    masks = instances.gt_masks
    return masks.tensor if hasattr(masks, "tensor") else masks


def padded_masks(masks: Tensor, hw: tuple[int, int]) -> Tensor:
    """Masks (N, h, w) in the top left of (N, H, W) ones, nothing inside elsewhere."""
    padded = masks.new_zeros(len(masks), *hw)
    padded[:, : masks.shape[-2], : masks.shape[-1]] = masks
    return padded


def _checked_hw(name: str, value: tuple[int, int]) -> tuple[int, int]:
    height, width = (int(side) for side in value)
    if height < 1 or width < 1:
        raise ValueError(f"{name} must be two positive numbers (height, width), got {value}.")
    return height, width
