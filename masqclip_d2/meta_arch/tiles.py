"""Mask embeddings from tiles of the image: small things reach CLIP at a higher resolution (MODEL.MASQCLIP.CLIP.TILES),
and oblong images in their own proportions (CLIP.SQUARE_TILES).

Each mask is embedded once: in the tile that contains it, or in the whole image if no tile does.

Shape shorthand: Q mask proposals, E embedding, R input resolution of the visual encoder, H, W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..structures import MaskProposals
from .encoding import EncoderInput, VisualEncoder, encode_masks

_MIN_SHARE_INSIDE = 0.95  # of a mask's pixels, for a tile to contain it

Window = tuple[int, int, int, int]  # top, left, bottom, right, in pixels


def windows(hw: tuple[int, int], tiles: int, square: bool = False) -> list[Window]:
    """The whole image, then its tiles row by row; neighbors share half of a tile. A single tile is the whole image.

    Args:
        hw: (height, width) of the image in pixels.
        tiles: along each axis; along the shorter one if `square`.
        square: as many tiles along the longer side that they are about square; False: they have the image's shape.
    """
    side = 2 * min(hw) / (tiles + 1)  # of a square tile
    counts = [max(tiles, round(2 * length / side) - 1) if square else tiles for length in hw]
    (tops, height), (lefts, width) = (_starts(length, count) for length, count in zip(hw, counts, strict=True))
    found = [(top, left, top + height, left + width) for top in tops for left in lefts]
    return [(0, 0, *hw)] + (found if len(found) > 1 else [])


def _starts(side: int, tiles: int) -> tuple[list[int], int]:
    """Starts of the tiles along one side, and their length."""
    step = side / (tiles + 1)
    length = max(round(2 * step), 1)
    return [min(round(index * step), side - length) for index in range(tiles)], length


def window_of_masks(inside: Tensor, places: list[Window], hw: tuple[int, int]) -> Tensor:
    """Index of the window in which each mask is embedded.

    The tile with the largest share of the mask's pixels, if that is at least 95 %; of equal ones, the tile whose center
    is closest to the mask's. Otherwise 0, the whole image.

    Args:
        inside: (Q, h, w) bool, the masks over the whole image at any resolution.
        places: see `windows`.
        hw: (height, width) of the image in pixels.

    Returns:
        (Q,) int64; 0 for empty masks, and without tiles.
    """
    if len(places) == 1:
        return torch.zeros(len(inside), dtype=torch.int64, device=inside.device)
    weights = inside.float()
    ys, xs = (
        (torch.arange(size, device=inside.device) + 0.5) / size * side
        for size, side in zip(inside.shape[-2:], hw, strict=True)
    )
    area = weights.sum(dim=(1, 2)).clamp(min=1)
    center_y, center_x = weights.sum(dim=2) @ ys / area, weights.sum(dim=1) @ xs / area
    ranks = []
    for top, left, bottom, right in places[1:]:
        rows, columns = ((ys >= top) & (ys < bottom)).float(), ((xs >= left) & (xs < right)).float()
        share = (weights @ columns) @ rows / area
        distance = (center_y - (top + bottom) / 2).abs() / hw[0] + (center_x - (left + right) / 2).abs() / hw[1]
        # Shares in whole percent, so that the distance, below 2, decides between tiles that hold all of a mask.
        ranks.append(torch.where(share >= _MIN_SHARE_INSIDE, share.mul(100).round() - distance / 2, -1.0))
    best, index = torch.stack(ranks).max(dim=0)
    return torch.where(best >= 0, index + 1, 0)


def encode_in_tiles(
    visual_encoder: VisualEncoder, image: Tensor, proposals: MaskProposals, tiles: int, square: bool = False
) -> Tensor:
    """Embed the masks of one image, each in its window.

    Args:
        visual_encoder: does not refine masks.
        image: (3, H, W) RGB 0..255, without padding.
        proposals: Q masks of it.
        tiles, square: see `windows`.

    Returns:
        (Q, E) float, not unit length.
    """
    visual = visual_encoder.visual
    resolution = (visual.input_resolution, visual.input_resolution)
    hw = (image.shape[-2], image.shape[-1])
    places = windows(hw, tiles, square)
    chosen = window_of_masks(proposals.resized(resolution) > 0, places, hw)
    parts = []
    for index, (top, left, bottom, right) in enumerate(places):
        members = (chosen == index).nonzero().flatten()
        if len(members) or not len(proposals):
            part = MaskProposals(
                proposals.mask_logits[members],
                proposals.object_scores[members],
                proposals.image_hw,
                proposals.padded_hw,
            )
            crop = visual.preprocessing.image(image[:, top:bottom, left:right], visual.input_resolution)
            masks = part.resized_window(resolution, (top, left, bottom, right))
            found, _ = encode_masks(visual_encoder, EncoderInput(crop, masks, (bottom - top, right - left)), part)
            parts.append((members, found))
        if not len(proposals):
            break
    order = torch.cat([members for members, _ in parts]).argsort()
    return torch.cat([found for _, found in parts])[order]
