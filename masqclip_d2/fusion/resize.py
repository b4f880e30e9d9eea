"""Mask logits from the resolution of the proposer to the size of the answer.

All resizes are bilinear with pixel centres at (i + 1/2) / size, edges repeated, without anti-aliasing.

Shape shorthand: Q mask proposals (or any number of maps), H x W pixels of the target.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def resize_maps(maps: Tensor, hw: tuple[int, int]) -> Tensor:
    """Resize float maps bilinearly.

    Args:
        maps: (Q, h, w) float; Q may be 0.
        hw: (height, width) of the result in pixels.

    Returns:
        (Q, H, W) float32.

    Raises:
        ValueError: `maps` is not three-dimensional, or a size is below 1.
    """
    if maps.dim() != 3:
        raise ValueError(f"Maps to resize must have shape (Q, h, w), got {tuple(maps.shape)}.")
    if min(hw) < 1:
        raise ValueError(f"Cannot resize maps to {tuple(hw)}: height and width must be at least 1.")
    if tuple(maps.shape[-2:]) == tuple(hw):
        return maps.float()
    return F.interpolate(maps[:, None].float(), size=tuple(hw), mode="bilinear", align_corners=False)[:, 0]


def crop_and_resize(maps: Tensor, image_hw: tuple[int, int], output_hw: tuple[int, int]) -> Tensor:
    """Cut the padding off and resize to the output size.

    Applied to mask logits before inference, or, where SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE is False, to the class
    score maps of `semantic_inference` at padded size (the published order when only semantic output is on).

    Args:
        maps: (Q, H_padded, W_padded) float; the image is the top left part.
        image_hw: (height, width) of the image in it, in pixels.
        output_hw: (height, width) wanted, in pixels.

    Returns:
        (Q, H, W) float32.

    Raises:
        ValueError: the image is larger than the maps, or a size is below 1.
    """
    height, width = image_hw
    if height > maps.shape[-2] or width > maps.shape[-1]:
        raise ValueError(f"Cannot crop an image of {tuple(image_hw)} from maps of {tuple(maps.shape[-2:])} pixels.")
    return resize_maps(maps[..., :height, :width], output_hw)


def masks_to_output(
    mask_logits: Tensor, padded_hw: tuple[int, int], image_hw: tuple[int, int], output_hw: tuple[int, int]
) -> Tensor:
    """Bring mask logits to the output size in the two bilinear steps of the published implementations.

    Low resolution -> padded input size -> crop to the image -> output size. Resizing logits and not probabilities
    keeps the decision `logit > 0` sharp.

    Args:
        mask_logits: (Q, h, w) float, covering `padded_hw`.
        padded_hw, image_hw, output_hw: (height, width) in pixels of the padded input, of the image in its top left
            corner, and of the answer.

    Returns:
        (Q, H, W) float32 logits.

    Raises:
        ValueError: see `resize_maps` and `crop_and_resize`.
    """
    return crop_and_resize(resize_maps(mask_logits, padded_hw), image_hw, output_hw)
