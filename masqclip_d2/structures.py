"""Data of one image between the parts of a model.

`MaskProposals`: output of a proposer, input of the visual encoder. `EncodedImage`: output of both networks, from which
predictions for any vocabulary are made.

Shape shorthand: Q mask proposals, Hm x Wm the resolution of the mask logits, E embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from .transfers import is_asynchronous

CERTAIN_LOGIT = 10.0  # mask logit of a pixel inside a binary mask, -10 outside; sigmoid(-10) = 5e-5
_SCORE_TOLERANCE = 1e-3  # above 1, for scores in half precision


@dataclass(init=False)
class MaskProposals:
    """Class-agnostic masks of one image; the constructor checks them.

    Args:
        mask_logits: (Q, Hm, Wm) float; a pixel is inside where the logit is positive. The map covers `padded_hw`.
        object_scores: (Q,) float in [0, 1], p_obj of MasQCLIP; ones where the proposer has no object score.
        image_hw: (height, width) in pixels of the image as the proposer saw it, without padding.
        padded_hw: (height, width) in pixels of the padded input, of which the image is the top left part.
            None: nothing was padded.
        certain: the masks are given, not predicted: a pixel outside of all of them has no category in semantic
            predictions for a user.

    Raises:
        ValueError: shapes, dtypes or sizes disagree, or on the CPU see `check_values`.
    """

    mask_logits: Tensor
    object_scores: Tensor
    image_hw: tuple[int, int]
    padded_hw: tuple[int, int]
    certain: bool

    def __init__(
        self,
        mask_logits: Tensor,
        object_scores: Tensor,
        image_hw: tuple[int, int],
        padded_hw: tuple[int, int] | None = None,
        certain: bool = False,
    ) -> None:
        if mask_logits.dim() != 3 or not mask_logits.is_floating_point():
            raise ValueError(
                f"mask_logits must be a float tensor of shape (Q, Hm, Wm), got {mask_logits.dtype} "
                f"{tuple(mask_logits.shape)}."
            )
        if object_scores.shape != mask_logits.shape[:1]:
            raise ValueError(
                f"object_scores must have shape ({len(mask_logits)},) as there are {len(mask_logits)} masks, got "
                f"{tuple(object_scores.shape)}."
            )
        self.mask_logits = mask_logits
        self.object_scores = object_scores
        self.certain = certain
        self.image_hw = _checked_hw("image_hw", image_hw)
        self.padded_hw = self.image_hw if padded_hw is None else _checked_hw("padded_hw", padded_hw)
        if self.padded_hw[0] < self.image_hw[0] or self.padded_hw[1] < self.image_hw[1]:
            raise ValueError(f"padded_hw {self.padded_hw} is smaller than image_hw {self.image_hw}.")
        if not self.checked_later:
            self.check_values()

    @property
    def checked_later(self) -> bool:
        """Masks on a GPU are checked after the predictions, so that the host does not wait for the GPU in between."""
        return is_asynchronous(self.mask_logits.device)

    def finish_check(self) -> None:
        """`check_values`, if the constructor has left it for later."""
        if self.checked_later:
            self.check_values()

    def check_values(self) -> None:
        """Raise ValueError if a mask logit is NaN or an object score is outside of [0, 1]."""
        scores = self.object_scores
        bad_masks = torch.isnan(self.mask_logits).flatten(1).any(1)  # (Q,)
        bad_scores = ~((scores >= 0) & (scores <= 1 + _SCORE_TOLERANCE))  # NaN too
        if not torch.cat([bad_masks, bad_scores]).any():
            return
        if bad_masks.any():
            raise ValueError(
                f"mask_logits has NaN in masks {bad_masks.nonzero().flatten().tolist()}; check the weights that made "
                "them: training may have diverged."
            )
        low, high = scores.min().item(), scores.max().item()
        raise ValueError(f"object_scores must lie in [0, 1], got {low:g} to {high:g}; logits need a sigmoid first.")

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
        # Sample the low-resolution map at the pixel centers of the result: the same geometry as `interpolate`, for a
        # part of the map whose border may lie between two of its pixels.
        return self.resized_window(hw, (0, 0, *self.image_hw))

    def resized_window(self, hw: tuple[int, int], window: tuple[int, int, int, int]) -> Tensor:
        """Mask logits of a window of the image at another resolution, bilinear, edges repeated.

        Args:
            hw: (height, width) of the result.
            window: (top, left, bottom, right) in pixels of the image.

        Returns:
            (Q, h, w) float32.
        """
        return masks_in_window(self.mask_logits, hw, window, self.padded_hw)

    def to(self, device: torch.device | str) -> MaskProposals:
        """Copy on another device."""
        return replace(self, mask_logits=self.mask_logits.to(device), object_scores=self.object_scores.to(device))

    def float(self) -> MaskProposals:
        """The same in float32."""
        return replace(self, mask_logits=self.mask_logits.float(), object_scores=self.object_scores.float())

    @classmethod
    def from_binary_masks(
        cls, masks: Tensor, object_scores: Tensor | None = None, image_hw: tuple[int, int] | None = None
    ) -> MaskProposals:
        """Proposals from binary masks of any source, which are `certain`.

        Args:
            masks: (Q, H, W) bool or 0/1 that cover the image.
            object_scores: (Q,) float in [0, 1]; None: ones.
            image_hw: (height, width) of the image in pixels; None: (H, W).
        """
        mask_logits = (masks.to(torch.float32) * 2 - 1) * CERTAIN_LOGIT
        if object_scores is None:
            object_scores = torch.ones(len(masks), device=masks.device)
        return cls(mask_logits, object_scores, image_hw or (masks.shape[-2], masks.shape[-1]), certain=True)


@dataclass(frozen=True)
class EncodedImage:
    """Result of proposer and visual encoder for one image, independent of any vocabulary.

    Args:
        mask_embeddings: (Q, E) float in CLIP's space, not unit length.
        proposals: the Q masks; refined, if the visual encoder refines masks.
        output_hw: (height, width) of predictions in pixels.
        gt_classes: (Q,) int64 classes of the proposals, if they are the ground-truth masks; else None.
        gt_masks: (Q, H, W) bool, the ground-truth masks before refinement; None without `gt_classes`.
        image: (H, W, 3) uint8 RGB of size `output_hw`, for drawing; None in results of `model.encode`.
        coarse: the Q masks as they were before the visual encoder refined them; None if it does not refine.
    """

    mask_embeddings: Tensor
    proposals: MaskProposals
    output_hw: tuple[int, int]
    gt_classes: Tensor | None = None
    gt_masks: Tensor | None = None
    image: NDArray[np.uint8] | None = None
    coarse: MaskProposals | None = None

    def __len__(self) -> int:
        return len(self.mask_embeddings)

    @property
    def unit_embeddings(self) -> Tensor:
        """(Q, E) float32 unit rows."""
        return F.normalize(self.mask_embeddings.float(), dim=-1)

    def float(self) -> EncodedImage:
        """The same in float32, for networks that run in half precision."""
        if self.mask_embeddings.dtype == self.proposals.mask_logits.dtype == torch.float32:
            return self
        coarse = None if self.coarse is None else self.coarse.float()
        return replace(
            self, mask_embeddings=self.mask_embeddings.float(), proposals=self.proposals.float(), coarse=coarse
        )

    def to(self, device: torch.device | str) -> EncodedImage:
        """Copy with all tensors on another device."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        moved = {name: value.to(device) for name, value in tensors.items() if isinstance(value, Tensor)}
        coarse = None if self.coarse is None else self.coarse.to(device)
        return replace(self, proposals=self.proposals.to(device), coarse=coarse, **moved)


def masks_in_window(
    mask_logits: Tensor,
    hw: tuple[int, int],
    window: Sequence[int | Tensor],
    extent_hw: Sequence[int | Tensor],
) -> Tensor:
    """Mask logits of a window of the image at another resolution, bilinear, edges repeated.

    Args:
        mask_logits: (Q, Hm, Wm) float.
        hw: (height, width) of the result.
        window: (top, left, bottom, right) in pixels of the image, numbers or scalar tensors.
        extent_hw: (height, width) in pixels of the image that the masks cover from its top left corner.

    Returns:
        (Q, h, w) float32.
    """
    top, left, bottom, right = window
    ys, xs = (
        ((torch.arange(size, device=mask_logits.device) + 0.5) / size * (end - start) + start) / extent * 2 - 1
        for size, start, end, extent in zip(hw, (top, left), (bottom, right), extent_hw, strict=True)
    )
    grid = torch.stack(torch.broadcast_tensors(xs[None, :], ys[:, None]), dim=-1)  # (h, w, 2) as (x, y)
    maps = mask_logits[None].float()  # (1, Q, Hm, Wm): one grid for all masks
    return F.grid_sample(maps, grid[None], mode="bilinear", padding_mode="border", align_corners=False)[0]


def annotated_masks(instances, image_hw: tuple[int, int]) -> Tensor:
    """Ground-truth masks of Detectron2's `Instances` as one tensor.

    Args:
        instances: has `gt_masks` (BitMasks or (N, H, W) bool) unless nothing is annotated.
        image_hw: (height, width) of the result if there are no masks.

    Returns:
        (N, H, W) bool; N may be 0.
    """
    if not instances.has("gt_masks"):
        return torch.zeros(0, *image_hw, dtype=torch.bool)
    masks = instances.gt_masks
    return masks.tensor if hasattr(masks, "tensor") else masks


def padded_masks(masks: Tensor, hw: tuple[int, int]) -> Tensor:
    """Zero-pad masks (N, h, w) at the bottom and right to (N, H, W)."""
    padded = masks.new_zeros(len(masks), *hw)
    padded[:, : masks.shape[-2], : masks.shape[-1]] = masks
    return padded


def _checked_hw(name: str, value: tuple[int, int]) -> tuple[int, int]:
    height, width = (int(side) for side in value)
    if height < 1 or width < 1:
        raise ValueError(f"{name} must be two positive numbers (height, width), got {value}.")
    return height, width
