"""Instance inference: a ranked list of (mask, category, score), masks may overlap.

Shape shorthand: Q mask proposals, K categories, N instances, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..ops.autocast import without_autocast
from ..ops.output_masks import OutputMasks
from ..transfers import device_constant, is_asynchronous, to_host
from .boxes import boxes_of_occupied
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
    things = None if is_thing is None else device_constant(tuple(map(bool, is_thing)), torch.bool, class_probs.device)
    entry_scores, entries = _best_entries(class_probs.float(), things, topk, duplicate_iou < 1)
    queries, classes = entries // max(num_categories, 1), entries % max(num_categories, 1)
    kept = entry_scores >= max(score_threshold, 0.0)
    if not is_asynchronous(output_masks.device):  # elsewhere the host would have to wait for the number of kept entries
        kept_queries, entry_scores, classes = queries[kept], entry_scores[kept], classes[kept]
        # Mask by mask work is done once per proposal, not once per table entry.
        used, queries = kept_queries.unique(return_inverse=True)
        output_masks, kept = output_masks.select(used), kept[kept]
        masks = _MasksOfInstances(output_masks, queries)
    else:
        masks = _MasksOfProposals(output_masks, queries)
    mean_probs, boxes, _ = _measure(output_masks, masks.write)
    scores = (entry_scores * mean_probs[queries]).masked_fill(~kept, -1.0)
    scores, order = scores.sort(descending=True, stable=True)
    chosen = _chosen(scores >= max(score_threshold, 0.0), output_masks, queries[order], duplicate_iou)
    order, scores = order[chosen], scores[chosen]
    return InstancePredictions(scores, classes[order], masks.in_order(order), boxes[queries[order]])


def _best_entries(
    class_probs: Tensor, things: Tensor | None, topk: int, one_per_proposal: bool
) -> tuple[Tensor, Tensor]:
    """Scores and flat indices of at most `topk` entries of the table `class_probs` (Q, K); -1 for what is no thing."""
    num_queries, num_categories = class_probs.shape
    if one_per_proposal and num_categories:
        allowed = class_probs if things is None else class_probs.masked_fill(~things, -1.0)
        best, category = allowed.max(dim=1)
        entries = torch.arange(num_queries, device=best.device) * num_categories + category
        scores, order = best.topk(min(topk, num_queries))
        return scores, entries[order]
    table = class_probs.flatten()
    scores, entries = table.topk(min(topk, len(table)))
    if things is None:
        return scores, entries
    return scores.masked_fill(~things[entries % num_categories], -1.0), entries


def _chosen(kept: Tensor, masks: OutputMasks, queries: Tensor, duplicate_iou: float) -> Tensor:
    """Indices, on the device, of the instances that remain; the only place where the host waits for the device.

    Args:
        kept: (N,) bool, instances that score enough, best first.
        masks: of the proposals.
        queries: (N,) proposal of each instance.
        duplicate_iou: see `instance_inference`.
    """
    if duplicate_iou < 1:
        too_close = _overlaps(masks)[queries][:, queries] > duplicate_iou
        chosen = _without_duplicates(*to_host(kept, too_close))
    else:
        [chosen] = to_host(kept)
    return torch.from_numpy(chosen.nonzero()[0]).to(queries.device, non_blocking=True)


def _overlaps(masks: OutputMasks) -> Tensor:
    """IoU (Q, Q) of the binary masks at the resolution of their logits; 0 with an empty mask."""
    logits = masks.mask_logits
    intersections = torch.zeros(len(masks), len(masks), device=masks.device)
    step = max(1, masks.band_size // max(1, len(masks) * logits.shape[2]))
    for first in range(0, logits.shape[1], step):
        inside = (logits[:, first : first + step] > 0).flatten(1).float()
        with without_autocast(masks.device):  # half precision does not count pixels
            intersections += inside @ inside.T
    areas = intersections.diagonal()
    return intersections / (areas[:, None] + areas - intersections).clamp_min(1.0)


def _without_duplicates(candidates: NDArray[np.bool_], too_close: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(N,): candidates (N,), best first, that are too close (N, N) to none of those before them that stay."""
    stay = candidates.copy()
    for index in range(len(stay)):
        stay[index] &= not (too_close[index, :index] & stay[:index]).any()
    return stay


def measured(masks: OutputMasks) -> tuple[Tensor, Tensor, Tensor]:
    """Mean of sigmoid(logit) over the pixels of each mask (Q,), its area in pixels (Q,) and its box (Q, 4)."""
    mean_probs, boxes, areas = _measure(masks)
    return mean_probs, areas.long(), boxes


_Write = Callable[[tuple[slice, slice], Tensor, Tensor], None]
"""Gets a window of the output, the index (Q',) of masks, and which pixels of it they cover: (Q', rows, columns)."""


def _measure(masks: OutputMasks, write: _Write | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Mean of sigmoid(logit) over the pixels of each mask, boxes and areas.

    Args:
        masks: of U proposals.
        write: also gets the binary masks, window by window.

    Returns:
        (U,) float32, 0 for an empty mask; (U, 4) float32, see `boxes_from_masks`; (U,) float32 pixels.
    """
    height, width = masks.output_hw
    device = masks.device
    sums, areas = torch.zeros(len(masks), device=device), torch.zeros(len(masks), device=device)
    rows_occupied = torch.zeros(len(masks), height, dtype=torch.bool, device=device)
    columns_occupied = torch.zeros(len(masks), width, dtype=torch.bool, device=device)
    for (rows, columns), index, logits in masks.tiles(lambda low, high: high > 0):
        inside = logits > 0
        if write is not None:
            write((rows, columns), index, inside)
        sums[index] += (logits.sigmoid() * inside).flatten(1).sum(1)
        areas[index] += inside.flatten(1).sum(1)
        rows_occupied[index, rows] |= inside.any(dim=2)
        columns_occupied[index, columns] |= inside.any(dim=1)
    return sums / (areas + 1e-6), boxes_of_occupied(rows_occupied, columns_occupied), areas  # the published guard


class _MasksOfInstances:
    """Binary masks of N instances, written where they belong, so that they need no second copy.

    Args:
        masks: of the proposals.
        queries: (N,) proposal of each instance.

    Raises:
        MemoryError: see `instance_inference`.
    """

    def __init__(self, masks: OutputMasks, queries: Tensor) -> None:
        height, width = masks.output_hw
        _require_memory(len(queries) * height * width * 3 // 2)  # half of them may be copied, see `_reordered`
        self._binary = torch.zeros(len(queries), height, width, dtype=torch.bool)
        self._instances_of = [(queries == proposal).nonzero().flatten() for proposal in range(len(masks))]

    def write(self, window: tuple[slice, slice], index: Tensor, inside: Tensor) -> None:
        for proposal, mask in zip(index.tolist(), inside, strict=True):
            self._binary[(self._instances_of[proposal], *window)] = mask

    def in_order(self, order: Tensor) -> Tensor:
        """(N', H, W) of N' different instances."""
        return _reordered(self._binary, order)


class _MasksOfProposals:
    """Binary masks of all proposals, for devices that the host must not wait for; arguments as above."""

    def __init__(self, masks: OutputMasks, queries: Tensor) -> None:
        self._queries = queries
        self._binary = torch.zeros(len(masks), *masks.output_hw, dtype=torch.bool, device=masks.device)

    def write(self, window: tuple[slice, slice], index: Tensor, inside: Tensor) -> None:
        self._binary[(index, *window)] = inside

    def in_order(self, order: Tensor) -> Tensor:
        """(N', H, W) of N' instances."""
        return self._binary[self._queries[order]]


def _require_memory(num_bytes: int) -> None:
    """MemoryError if the machine has less; without this check Linux would kill the process when it writes to it."""
    available = _available_memory()
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
