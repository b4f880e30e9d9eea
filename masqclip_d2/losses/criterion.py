"""Set prediction loss: matched queries learn the class and mask of their target, the others "no object".

Mask2Former (Cheng et al., CVPR 2022): weighted cross-entropy, and binary cross-entropy and dice on points where the
prediction is uncertain (PointRend, Kirillov et al., CVPR 2020), for every prediction of the decoder.

Shape shorthand: B images, Q queries, K classes, M matched pairs of the batch, P points, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from detectron2.config import configurable
from detectron2.projects.point_rend.point_features import point_sample
from torch import Tensor, nn
from torch.nn import functional as F

from .matcher import DrawPoints, FlatTargets, HungarianMatcher, draw_uniform_points
from .point_sampling import PointSampledMasks


class SetCriterion(nn.Module):
    """Set prediction loss.

    Args:
        num_classes: K without "no object"; 1 is class-agnostic (all labels 0). None: the number of class logits minus
            one, which may change between calls; then there is no buffer `empty_weight`.
        matcher: assigns targets to queries, for each output separately.
        weights: loss name ("loss_ce", "loss_mask", "loss_dice") -> weight, for the final output.
        aux_weights: the same for each auxiliary output; empty: auxiliary outputs are ignored.
        no_object_weight: weight of "no object" in the class loss; buffer `empty_weight` (K + 1,), as published.
        num_points: P, points at which a mask is compared.
        oversample_ratio: candidates per point.
        importance_sample_ratio: share of the points taken from the most uncertain candidates, in [0, 1].
        draw_points: source of all random points. Order, for the final output and then each auxiliary one: one set per
            image for the matcher, then (M, oversample_ratio * P) candidates, then (M, rest of P) free points.
    """

    empty_weight: Tensor

    @configurable
    def __init__(
        self,
        *,
        num_classes: int | None,
        matcher: HungarianMatcher,
        weights: Mapping[str, float],
        aux_weights: Mapping[str, float],
        no_object_weight: float,
        num_points: int,
        oversample_ratio: float,
        importance_sample_ratio: float,
        draw_points: DrawPoints = draw_uniform_points,
    ) -> None:
        super().__init__()
        if oversample_ratio < 1 or not 0 <= importance_sample_ratio <= 1:
            raise ValueError(
                f"Expected oversample_ratio >= 1 and importance_sample_ratio in [0, 1], got {oversample_ratio} and "
                f"{importance_sample_ratio}."
            )
        self.num_classes = num_classes
        self.matcher = matcher
        self.weights = dict(weights)
        self.aux_weights = dict(aux_weights)
        self.num_points = num_points
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio
        self.draw_points = draw_points
        self.no_object_weight = no_object_weight
        if num_classes is not None:
            self.empty_weight: Tensor
            self.register_buffer("empty_weight", _class_weights(num_classes, no_object_weight))

    @classmethod
    def from_config(cls, cfg) -> dict:
        former = cfg.MODEL.MASK_FORMER
        weights = {"loss_ce": former.CLASS_WEIGHT, "loss_mask": former.MASK_WEIGHT, "loss_dice": former.DICE_WEIGHT}
        return {
            "num_classes": cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
            "matcher": HungarianMatcher(
                class_weight=former.CLASS_WEIGHT,
                mask_weight=former.MASK_WEIGHT,
                dice_weight=former.DICE_WEIGHT,
                num_points=former.TRAIN_NUM_POINTS,
            ),
            "weights": weights,
            "aux_weights": weights if former.DEEP_SUPERVISION else {},
            "no_object_weight": former.NO_OBJECT_WEIGHT,
            "num_points": former.TRAIN_NUM_POINTS,
            "oversample_ratio": former.OVERSAMPLE_RATIO,
            "importance_sample_ratio": former.IMPORTANCE_SAMPLE_RATIO,
        }

    def forward(self, outputs: dict, targets: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Weighted losses, ready to be summed; losses without a weight are omitted.

        Args:
            outputs: "pred_logits" (B, Q, K + 1), "pred_masks" (B, Q, h, w) logits, and, if there are auxiliary outputs,
                "aux_outputs": list of dicts with the same two. "num_queries", optional: B ints; an image's queries
                after that number are padding of the batch and are ignored.
            targets: one per image: "labels" (N,) int, "masks" (N, H, W) bool or 0/1 in the frame of the padded
                batch (any resolution); N may be 0.

        Returns:
            "loss_ce", "loss_mask", "loss_dice", and for auxiliary output i the same with the suffix "_i"; scalars.

        Raises:
            ValueError: see `FlatTargets.from_list`.
            FloatingPointError: predictions are not finite.
        """
        weights = dict(self.weights)
        for index in range(len(outputs.get("aux_outputs", ()))):
            weights |= {f"{name}_{index}": weight for name, weight in self.aux_weights.items()}
        losses = self.unweighted(outputs, targets)
        return {name: loss * weights[name] for name, loss in losses.items() if name in weights}

    def unweighted(self, outputs: dict, targets: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """All losses of `forward` before the weights."""
        flat = FlatTargets.from_list(targets, self._num_classes(outputs["pred_logits"]))
        num_masks = _mean_over_workers(sum(flat.counts), flat.labels.device)
        num_queries = outputs.get("num_queries")
        losses = self._losses_of_output(outputs, flat, num_masks, num_queries)
        for index, aux in enumerate(outputs.get("aux_outputs", ()) if self.aux_weights else ()):
            aux_losses = self._losses_of_output(aux, flat, num_masks, num_queries)
            losses |= {f"{name}_{index}": loss for name, loss in aux_losses.items()}
        return losses

    def _losses_of_output(
        self, output: dict, targets: FlatTargets, num_masks: float, num_queries: Sequence[int] | None
    ) -> dict[str, Tensor]:
        pred_logits, pred_masks = output["pred_logits"], output["pred_masks"]
        device = pred_masks.device
        matches = self.matcher(pred_logits, pred_masks, targets, self.draw_points, num_queries)
        image = torch.cat([torch.full_like(query, b) for b, (query, _) in enumerate(matches)]).to(device)
        query = torch.cat([query for query, _ in matches]).to(device)
        first = torch.tensor((0, *targets.counts)).cumsum(0)
        target = torch.cat([target + first[b] for b, (_, target) in enumerate(matches)]).to(device)

        losses = {"loss_ce": self._class_loss(pred_logits, image, query, targets.labels[target], num_queries)}
        mask_logits = pred_masks[image, query][:, None].float()  # (M, 1, h, w)
        losses["loss_mask"], losses["loss_dice"] = self._mask_losses(mask_logits, targets.masks, target, num_masks)
        return losses

    def _num_classes(self, pred_logits: Tensor) -> int:
        return pred_logits.shape[-1] - 1 if self.num_classes is None else self.num_classes

    def _class_loss(
        self, pred_logits: Tensor, image: Tensor, query: Tensor, labels: Tensor, num_queries: Sequence[int] | None
    ) -> Tensor:
        """Weighted mean of the cross-entropy over all queries of the batch."""
        num_classes = self._num_classes(pred_logits)
        if pred_logits.shape[-1] != num_classes + 1:
            raise ValueError(
                f"The loss is for {self.num_classes} classes and no-object, but the head has {pred_logits.shape[-1]} "
                "class logits. MODEL.SEM_SEG_HEAD.NUM_CLASSES must be the same for both; 1 is class-agnostic."
            )
        classes = labels.new_full(pred_logits.shape[:2], num_classes)
        classes[image, query] = labels
        nll = F.cross_entropy(pred_logits.float().transpose(1, 2), classes, reduction="none")  # (B, Q)
        if self.num_classes is None:
            weight = _class_weights(num_classes, self.no_object_weight).to(nll.device)[classes]
        else:
            weight = self.empty_weight[classes]
        if num_queries is not None:
            counts = torch.tensor(num_queries, device=weight.device)
            weight = weight * (torch.arange(weight.shape[1], device=weight.device) < counts[:, None])
        # Without matches and with a no-object weight of 0 all weights are 0, and so is the loss.
        return (weight * nll).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)

    def _mask_losses(
        self, mask_logits: Tensor, masks: PointSampledMasks, target: Tensor, num_masks: float
    ) -> tuple[Tensor, Tensor]:
        """Binary cross-entropy and dice of M pairs at their uncertain points, divided by the number of masks."""
        if not len(mask_logits):
            zero = mask_logits.sum()  # no pairs: zero that still depends on the predictions, for DDP
            return zero, zero
        points = uncertain_points(
            mask_logits.detach(),
            self.num_points,
            self.oversample_ratio,
            self.importance_sample_ratio,
            self.draw_points,
        )
        x = point_sample(mask_logits, points, align_corners=False)[:, 0]  # (M, P)
        t = masks.sample(target, points)
        cross_entropy = F.binary_cross_entropy_with_logits(x, t, reduction="none").mean(1).sum()
        p = x.sigmoid()
        dice = (2 * (p * t).sum(1) + 1) / (p.sum(1) + t.sum(1) + 1)
        return cross_entropy / num_masks, (1 - dice).sum() / num_masks


@torch.no_grad()
def uncertain_points(
    mask_logits: Tensor,
    num_points: int,
    oversample_ratio: float,
    importance_sample_ratio: float,
    draw_points: DrawPoints = draw_uniform_points,
) -> Tensor:
    """Points of highest uncertainty plus uniform random points (PointRend, point selection for training).

    Args:
        mask_logits: (M, 1, h, w) float.
        num_points, oversample_ratio, importance_sample_ratio, draw_points: see `SetCriterion`.

    Returns:
        (M, num_points, 2), (x, y) in [0, 1]; first those whose sampled logit is nearest to 0, unordered.
    """
    num_masks = len(mask_logits)
    num_uncertain = int(importance_sample_ratio * num_points)
    candidates = draw_points(num_masks, int(oversample_ratio * num_points), mask_logits.device)
    distance = point_sample(mask_logits, candidates, align_corners=False)[:, 0].abs()
    chosen = distance.topk(num_uncertain, dim=1, largest=False, sorted=False).indices
    uncertain = candidates.gather(1, chosen[..., None].expand(-1, -1, 2))
    free = draw_points(num_masks, num_points - num_uncertain, mask_logits.device)
    return torch.cat([uncertain, free], dim=1)


def _class_weights(num_classes: int, no_object_weight: float) -> Tensor:
    """(K + 1,): 1 for each class, then the weight of "no object"."""
    weights = torch.ones(num_classes + 1)
    weights[-1] = no_object_weight
    return weights


def _mean_over_workers(num_masks: int, device: torch.device) -> float:
    """Number of target masks of the batch, averaged over all processes of a distributed run, at least 1."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return max(float(num_masks), 1.0)
    total = torch.tensor(float(num_masks), device=device)
    distributed.all_reduce(total)
    return max(total.item() / distributed.get_world_size(), 1.0)
