"""Which teacher masks become targets of the student, against the published Progressive Distillation."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from masqclip_d2.losses.pseudo_masks import PseudoMaskRules, choose_pseudo_masks

from . import GoldenRow, max_abs_error

WHAT = ("MasQCLIP progressive distillation",)


def check(arrays, meta) -> Iterator[GoldenRow]:
    arrays = {name: torch.from_numpy(array) for name, array in arrays.items()}
    rules = PseudoMaskRules(meta["score_threshold"], meta["dice_threshold"], meta["dice_threshold"], meta["num_points"])
    for image in range(meta["images"]):
        draws = iter([arrays.get(f"points_base_{image}"), arrays.get(f"points_nms_{image}")])
        base, teacher = arrays[f"gt_masks_{image}"], arrays[f"pred_masks_{image}"]
        choice = choose_pseudo_masks(
            base, teacher, arrays[f"pred_scores_{image}"], rules, lambda *_, draws=draws: next(draws)[None]
        )
        for stage, chosen in (("score", choice.confident), ("base_dice", choice.new), ("nms", choice.kept)):
            name = f"out/kept_after_{stage}_{image}"
            yield GoldenRow(name, max_abs_error(chosen, arrays[name]), 0)
        targets = torch.cat([base, teacher[choice.kept]])
        yield GoldenRow(f"out/new_gt_masks_{image}", max_abs_error(targets, arrays[f"out/new_gt_masks_{image}"]), 0)
