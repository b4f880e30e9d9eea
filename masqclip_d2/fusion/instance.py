"""Instance inference: a ranked list of (mask, category, score), masks may overlap.

Shape shorthand: Q mask proposals, K categories, N instances, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .output_masks import OutputMasks
from .semantic import check_same_queries


@dataclass
class InstancePredictions:
    """Instances of one image, best first.

    Args:
        scores: (N,) float32 in [0, 1], decreasing.
        classes: (N,) int64 in [0, K).
        masks: (N, H, W) bool.
        boxes_xyxy: (N, 4) float32 in pixels, the tight box of the mask; x2 and y2 are one past the last pixel. Zeros
            for an empty mask.
    """

    scores: Tensor
    classes: Tensor
    masks: Tensor
    boxes_xyxy: Tensor

    def __len__(self) -> int:
        return len(self.scores)


def instance_inference(
    class_probs: Tensor,
    mask_logits: Tensor | OutputMasks,
    is_thing: Sequence[bool] | None = None,
    topk: int = 100,
    score_threshold: float = 0.0,
    duplicate_iou: float = 1.0,
) -> InstancePredictions:
    """Take the best entries of the proposal x category table (the rules of Mask2Former, which both papers use).

    A proposal can occur several times, with different categories. The score of an instance is its class probability
    times the mean of sigmoid(mask) over its pixels, the pixels with a positive logit.
    Differs from the published code: boxes come from the masks (there they are zeros).

    Args:
        class_probs: (Q, K) in [0, 1].
        mask_logits: (Q, H, W) float, or `OutputMasks`; bands of them are made at output size.
        is_thing: K booleans: entries of other categories are removed after the top-k (published behaviour when
            panoptic output is on). None keeps all categories.
        topk: number of table entries to take, at least 1.
        score_threshold: instances with a lower score are left out. Those with a lower class probability, which cannot
            reach it, cost nothing.
        duplicate_iou: below 1, a proposal occurs once, with its best category, and of two instances whose masks have
            a higher IoU, at the resolution of the mask logits, the one with the higher score is kept, whatever their
            categories. 1: nothing is left out, as published.

    Returns:
        `InstancePredictions` with N <= min(topk, Q * K).

    Raises:
        ValueError: shapes disagree with each other or with `is_thing`, or topk < 1.
        MemoryError: the masks do not fit into the memory that is available.
    """
    output_masks = OutputMasks.of(mask_logits)
    check_same_queries(class_probs, output_masks.mask_logits)
    num_categories = class_probs.shape[1]
    if is_thing is not None and len(is_thing) != num_categories:
        raise ValueError(f"is_thing has {len(is_thing)} entries, but class_probs has {num_categories} columns.")
    if topk < 1:
        raise ValueError(f"topk must be at least 1, got {topk}.")
    entry_scores, entries = _best_entries(class_probs.float(), is_thing, topk, duplicate_iou < 1)
    reachable = entry_scores >= score_threshold
    entry_scores, entries = entry_scores[reachable], entries[reachable]
    queries, classes = entries // max(num_categories, 1), entries % max(num_categories, 1)

    # Mask by mask work is done once per proposal, not once per table entry.
    used, position = queries.unique(return_inverse=True)
    used_masks = output_masks.select(used)
    masks, mean_probs, boxes, _ = _binary_masks(used_masks, position)
    scores, order = (entry_scores * mean_probs[position]).sort(descending=True, stable=True)
    kept = scores >= score_threshold
    if duplicate_iou < 1:
        kept &= _without_duplicates(_overlaps(used_masks)[position[order]][:, position[order]], duplicate_iou)
    order, scores = order[kept], scores[kept]
    return InstancePredictions(scores, classes[order], _reordered(masks, order), boxes[position][order])


def _best_entries(
    class_probs: Tensor, is_thing: Sequence[bool] | None, topk: int, one_per_proposal: bool
) -> tuple[Tensor, Tensor]:
    """Scores, decreasing, and flat indices of at most `topk` entries of the table `class_probs` (Q, K)."""
    num_queries, num_categories = class_probs.shape
    things = None if is_thing is None else torch.tensor(is_thing, dtype=torch.bool, device=class_probs.device)
    if one_per_proposal and num_categories:
        allowed = class_probs if things is None else class_probs.masked_fill(~things, -1.0)
        best, category = allowed.max(dim=1)
        entries = torch.arange(num_queries, device=best.device) * num_categories + category
        scores, order = best.topk(min(topk, num_queries))
        return scores[scores >= 0], entries[order][scores >= 0]
    table = class_probs.flatten()
    scores, entries = table.topk(min(topk, len(table)))
    if things is None:
        return scores, entries
    kept = things[entries % num_categories]
    return scores[kept], entries[kept]


def _overlaps(masks: OutputMasks) -> Tensor:
    """IoU (Q, Q) of the binary masks at the resolution of their logits; 0 with an empty mask."""
    logits = masks.mask_logits
    intersections = torch.zeros(len(masks), len(masks), device=masks.device)
    step = max(1, masks.tile_size // max(1, len(masks) * logits.shape[2]))
    for first in range(0, logits.shape[1], step):
        inside = (logits[:, first : first + step] > 0).flatten(1).float()
        intersections += inside @ inside.T
    areas = intersections.diagonal()
    return intersections / (areas[:, None] + areas - intersections).clamp_min(1.0)


def _without_duplicates(overlaps: Tensor, limit: float) -> Tensor:
    """(N,) bool: instances, best first, whose IoU (N, N) with all kept ones before them is at most `limit`."""
    too_close = (overlaps > limit).cpu()
    kept = torch.ones(len(overlaps), dtype=torch.bool)
    for index in range(len(overlaps)):
        kept[index] = not (too_close[index, :index] & kept[:index]).any()
    return kept.to(overlaps.device)


def measured(masks: OutputMasks) -> tuple[Tensor, Tensor, Tensor]:
    """Mean of sigmoid(logit) over the pixels of each mask (Q,), its area in pixels (Q,) and its box (Q, 4)."""
    nothing = torch.zeros(0, dtype=torch.int64, device=masks.device)
    _, mean_probs, boxes, areas = _binary_masks(masks, nothing)
    return mean_probs, areas.long(), boxes


def _binary_masks(masks: OutputMasks, position: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Masks of N instances, with the mean of sigmoid(logit) over each mask's pixels, boxes and areas of U proposals.

    Args:
        masks: of the U proposals.
        position: (N,) index of each instance's proposal.

    Returns:
        (N, H, W) bool; (U,) float32, 0 for an empty mask; (U, 4) float32, see `boxes_from_masks`; (U,) float32 pixels.
    """
    height, width = masks.output_hw
    device = masks.device
    _require_memory(len(position) * height * width * 3 // 2, device)  # half of them may be copied, see `_reordered`
    binary = torch.zeros(len(position), height, width, dtype=torch.bool, device=device)
    instances_of = [(position == proposal).nonzero().flatten() for proposal in range(len(masks))]
    sums, areas = torch.zeros(len(masks), device=device), torch.zeros(len(masks), device=device)
    rows_occupied = torch.zeros(len(masks), height, dtype=torch.bool, device=device)
    columns_occupied = torch.zeros(len(masks), width, dtype=torch.bool, device=device)
    for (rows, columns), index, logits in masks.tiles(lambda low, high: high > 0):
        inside = logits > 0
        for proposal, mask in zip(index.tolist(), inside, strict=True):
            binary[instances_of[proposal], rows, columns] = mask
        sums[index] += (logits.sigmoid() * inside).flatten(1).sum(1)
        areas[index] += inside.flatten(1).sum(1)
        rows_occupied[index, rows] |= inside.any(dim=2)
        columns_occupied[index, columns] |= inside.any(dim=1)
    means = sums / (areas + 1e-6)  # the published guard
    return binary, means, _boxes(rows_occupied, columns_occupied), areas


def _require_memory(num_bytes: int, device: torch.device) -> None:
    """MemoryError if the machine has less; without this check Linux would kill the process when it writes to it."""
    available = _available_memory() if device.type == "cpu" else None
    if available is not None and num_bytes > available:
        raise MemoryError(
            f"the instances need up to {num_bytes / 1e9:.1f} GB, but {available / 1e9:.1f} GB are available"
        )


def _available_memory() -> int | None:
    """Bytes that processes can still use without swapping; None where the system does not report it."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    kilobytes = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(kilobytes[0]) if kilobytes else None


def _reordered(masks: Tensor, order: Tensor) -> Tensor:
    """`masks[order]` for distinct indices, in the memory of `masks` (N, H, W), which may be gigabytes.

    Only if at most half of them are left it is a copy, so that the others are freed.
    """
    if 2 * len(order) <= len(masks):
        return masks[order]
    chosen = order.tolist()
    places = [*chosen, *sorted(set(range(len(masks))) - set(chosen))]
    done = [False] * len(places)
    for start in range(len(places)):
        if done[start] or places[start] == start:
            continue
        kept, here = masks[start].clone(), start
        while places[here] != start:
            masks[here] = masks[places[here]]
            done[here], here = True, places[here]
        masks[here], done[here] = kept, True
    return masks[: len(chosen)]


def boxes_from_masks(masks: Tensor) -> Tensor:
    """Tight boxes of binary masks.

    Args:
        masks: (N, H, W) bool.

    Returns:
        (N, 4) float32, xyxy in pixels, x2 and y2 one past the last pixel; zeros for an empty mask.
    """
    return _boxes(masks.any(dim=2), masks.any(dim=1))


def _boxes(rows_occupied: Tensor, columns_occupied: Tensor) -> Tensor:
    """Boxes (N, 4) of `boxes_from_masks` from the occupied rows (N, H) and columns (N, W), bool."""
    sides = []
    for occupied in (columns_occupied, rows_occupied):
        index = torch.arange(occupied.shape[1], device=occupied.device).expand_as(occupied)
        last = (index + 1).masked_fill(~occupied, 0).amax(dim=1)
        first = index.masked_fill(~occupied, occupied.shape[1]).amin(dim=1).minimum(last)
        sides.append((first, last))
    (x1, x2), (y1, y2) = sides
    return torch.stack([x1, y1, x2, y2], dim=1).float()
