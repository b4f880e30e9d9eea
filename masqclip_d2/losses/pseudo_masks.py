"""Progressive Distillation (MasQCLIP, stage 1): selection of teacher masks as pseudo masks for the student.

Shape shorthand: N base masks, T teacher masks, P points, H, W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .dice import pairwise_dice
from .matcher import DrawPoints, draw_uniform_points
from .point_sampling import PointSampledMasks


@dataclass(frozen=True)
class PseudoMaskRules:
    """Conditions for a teacher's mask to become a pseudo mask.

    Args:
        score_threshold: its score must be higher, in [0, 1]. The score is the object score times the mean mask
            probability inside the mask.
        base_overlap_limit: its dice with every base mask must be lower, in [0, 1].
        pseudo_overlap_limit: its dice with every pseudo mask of a higher score must be lower, in [0, 1].
        num_points: P, random points at which dice is computed; the same for all masks of an image.
    """

    score_threshold: float = 0.8
    base_overlap_limit: float = 0.1
    pseudo_overlap_limit: float = 0.1
    num_points: int = 112 * 112

    @classmethod
    def from_config(cls, cfg) -> PseudoMaskRules:
        """Rules of stage `student`."""
        distillation = cfg.MODEL.MASQCLIP.DISTILLATION
        return cls(
            distillation.SCORE_THRESHOLD,
            distillation.BASE_OVERLAP_LIMIT,
            distillation.PSEUDO_OVERLAP_LIMIT,
            distillation.NUM_POINTS,
        )


@dataclass(frozen=True)
class PseudoMaskChoice:
    """Indices of the teacher masks that pass each rule, (M,) int64 each; `kept` is sorted by decreasing score."""

    confident: Tensor
    new: Tensor
    kept: Tensor


@torch.no_grad()
def choose_pseudo_masks(
    base_masks: Tensor,
    teacher_masks: Tensor,
    teacher_scores: Tensor,
    rules: PseudoMaskRules,
    draw_points: DrawPoints = draw_uniform_points,
) -> PseudoMaskChoice:
    """Select teacher masks that are confident, overlap no base mask, and no pseudo mask of a higher score.

    Args:
        base_masks: (N, H, W) bool or 0/1; N may be 0.
        teacher_masks: (T, H, W) bool or 0/1 of the same image; T may be 0.
        teacher_scores: (T,) float in [0, 1].
        rules: the thresholds.
        draw_points: source of random points: one set for the base masks, then one for the pseudo masks if there are
            candidates.

    Returns:
        The indices after each rule.
    """
    confident = (teacher_scores > rules.score_threshold).nonzero().flatten()
    points = draw_points(1, rules.num_points, teacher_masks.device)
    new = confident
    if len(base_masks) and len(confident):
        overlap = pairwise_dice(_at(teacher_masks[confident], points), _at(base_masks, points))
        new = confident[overlap.amax(dim=1) < rules.base_overlap_limit]
    if not len(new):
        return PseudoMaskChoice(confident, new, new)
    by_score = new[teacher_scores[new].argsort(descending=True, stable=True)]
    points = draw_points(1, rules.num_points, teacher_masks.device)
    sampled = _at(teacher_masks[by_score], points)
    clashes = (pairwise_dice(sampled, sampled) >= rules.pseudo_overlap_limit).cpu()
    kept: list[int] = []
    for candidate in range(len(by_score)):
        if not clashes[candidate, kept].any():
            kept.append(candidate)
    return PseudoMaskChoice(confident, new, by_score[kept])


def _at(masks: Tensor, points: Tensor) -> Tensor:
    """Masks (M, H, W) sampled at points (1, P, 2): (M, P)."""
    which = torch.arange(len(masks), device=masks.device)
    return PointSampledMasks(masks).sample(which, points.expand(len(masks), -1, -1))
