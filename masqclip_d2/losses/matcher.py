"""Bipartite matching of queries and targets, on masks sampled at random points.

Mask2Former (Cheng et al., CVPR 2022): masks are compared at points instead of all pixels.

Shape shorthand: B images, Q queries, K classes, T targets of the whole batch, P points, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from detectron2.projects.point_rend.point_features import point_sample
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from .dice import pairwise_dice
from .point_sampling import PointSampledMasks

# (num_sets, num_points, device) -> (num_sets, num_points, 2) points (x, y) in [0, 1]
DrawPoints = Callable[[int, int, torch.device], Tensor]


def draw_uniform_points(num_sets: int, num_points: int, device: torch.device) -> Tensor:
    """(num_sets, num_points, 2) independent uniform points (x, y) in [0, 1)."""
    return torch.rand(num_sets, num_points, 2, device=device)


@dataclass(frozen=True)
class FlatTargets:
    """Concatenated targets of a batch.

    Args:
        labels: (T,) int64 class of each target.
        masks: the T masks.
        counts: number of targets of each of the B images.
    """

    labels: Tensor
    masks: PointSampledMasks
    counts: tuple[int, ...]

    @classmethod
    def from_list(cls, targets: Sequence[dict[str, Tensor]], num_classes: int) -> FlatTargets:
        """Check and join [{"labels": (N,) int, "masks": (N, H, W) bool or 0/1}, ...], one per image.

        Raises:
            ValueError: labels and masks disagree in number, a label is not below `num_classes`, or images with
                targets differ in mask size.
        """
        for index, target in enumerate(targets):
            labels, masks = target["labels"], target["masks"]
            if masks.dim() != 3 or len(masks) != len(labels):
                raise ValueError(
                    f"Targets of image {index}: expected masks of shape (N, H, W) for {len(labels)} labels, got "
                    f"{tuple(masks.shape)}."
                )
        with_masks = [target["masks"] for target in targets if len(target["masks"])] or [targets[0]["masks"]]
        sizes = {tuple(masks.shape[-2:]) for masks in with_masks}
        if len(sizes) > 1:
            raise ValueError(
                f"Target masks of one batch differ in size: {sorted(sizes)}. Pad them, like the images, to the size "
                "of the padded batch, since predictions cover that."
            )
        labels = torch.cat([target["labels"] for target in targets]).long()
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
            raise ValueError(
                f"Target labels lie in {int(labels.min())}..{int(labels.max())}, but there are {num_classes} classes: "
                f"expected 0..{num_classes - 1}. A class-agnostic proposer needs 0 for every target."
            )
        return cls(labels, PointSampledMasks(torch.cat(with_masks)), tuple(len(target["labels"]) for target in targets))

    def image_index(self) -> Tensor:
        """(T,) int64: the image each target belongs to."""
        device = self.labels.device
        counts = torch.tensor(self.counts, device=device)
        return torch.repeat_interleave(torch.arange(len(self.counts), device=device), counts)


class HungarianMatcher:
    """Assignment of targets to queries with the lowest total cost.

    Cost of a pair: class_weight * (-probability of the target's class) + mask_weight * (mean binary cross-entropy over
    the points) + dice_weight * (1 - smoothed dice over the points).

    Args:
        class_weight, mask_weight, dice_weight: as in the loss.
        num_points: P; the same random points for all queries and targets of an image.
    """

    def __init__(self, *, class_weight: float, mask_weight: float, dice_weight: float, num_points: int) -> None:
        self.class_weight = class_weight
        self.mask_weight = mask_weight
        self.dice_weight = dice_weight
        self.num_points = num_points

    @torch.no_grad()
    def __call__(
        self,
        pred_logits: Tensor | None,
        pred_masks: Tensor,
        targets: FlatTargets,
        draw_points: DrawPoints,
        num_queries: Sequence[int] | None = None,
    ) -> list[tuple[Tensor, Tensor]]:
        """Match every image.

        Args:
            pred_logits: (B, Q, K + 1); None: no class cost.
            pred_masks: (B, Q, h, w) logits.
            targets: of the same images; their masks may have another resolution.
            draw_points: called once per image, in order, also for an image without targets.
            num_queries: number of queries of each image that are matched, the first ones; None: all.

        Returns:
            For each image (query indices ascending, their target indices), int64 on the CPU, min(Q, N) of each.

        Raises:
            FloatingPointError: a cost, and so a prediction, is not finite.
        """
        from scipy.optimize import linear_sum_assignment

        points = torch.cat([draw_points(1, self.num_points, pred_masks.device) for _ in targets.counts])
        matches = []
        for image, cost in enumerate(self.costs(pred_logits, pred_masks, targets, points)):
            if num_queries is not None:
                cost = cost[: num_queries[image]]
            if not torch.isfinite(cost).all():
                raise FloatingPointError(
                    f"The matching cost of image {image} of the batch is not finite, so predicted masks or class "
                    "logits are NaN or infinite. Lower SOLVER.BASE_LR, enable SOLVER.CLIP_GRADIENTS, or check the "
                    "weights that training started from."
                )
            query, target = linear_sum_assignment(cost.numpy())
            matches.append((torch.from_numpy(query).long(), torch.from_numpy(target).long()))
        return matches

    @torch.no_grad()
    def costs(
        self, pred_logits: Tensor | None, pred_masks: Tensor, targets: FlatTargets, points: Tensor
    ) -> list[Tensor]:
        """Cost matrix (Q, N) of each image, float32 on the CPU, from points (B, P, 2)."""
        batch, num_queries = pred_masks.shape[:2]
        if not sum(targets.counts):
            return [torch.zeros(num_queries, 0) for _ in range(batch)]
        every_target = torch.arange(len(targets.masks), device=points.device)
        sampled_targets = targets.masks.sample(every_target, points[targets.image_index()])  # (T, P)
        counts = list(targets.counts)
        # Images are padded to the largest number of targets N, so that the batch is one product and one transfer.
        t = pad_sequence(list(sampled_targets.split(counts)), batch_first=True).transpose(1, 2)  # (B, P, N)
        x = point_sample(pred_masks.float(), points, align_corners=False)  # (B, Q, P)
        with torch.autocast(x.device.type, enabled=False):
            # t * softplus(-x) + (1 - t) * softplus(x) = softplus(x) - t * x
            cross_entropy = F.softplus(x).mean(-1, keepdim=True) - x @ t / self.num_points
            dice = pairwise_dice(x.sigmoid(), t.transpose(1, 2))
        cost = self.mask_weight * cross_entropy + self.dice_weight * (1 - dice)
        if pred_logits is not None:
            labels = pad_sequence(list(targets.labels.split(counts)), batch_first=True)  # (B, N)
            probs = pred_logits.float().softmax(-1)
            cost = cost - self.class_weight * probs.gather(2, labels[:, None].expand(-1, num_queries, -1))
        return [matrix[:, :count] for matrix, count in zip(cost.cpu(), counts, strict=True)]
