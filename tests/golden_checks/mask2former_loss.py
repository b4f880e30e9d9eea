"""Golden sets `mask2former_loss_*`: matching and losses, with all random points recorded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from masqclip_d2.losses.criterion import SetCriterion, uncertain_points
from masqclip_d2.losses.matcher import FlatTargets, HungarianMatcher
from tests.golden_checks import GoldenRow, max_abs_error

WHAT = ("Mask2Former set criterion",)
_LOSS_RTOL = 1e-5  # golden/README.md, "Tolerance to expect"
_COST_ATOL = 1e-4
_GRAD_RTOL = 1e-4  # of the largest entry of the same gradient
_POINTS = ("loss_candidate_points", "loss_random_points")


def check(arrays: dict, meta: dict) -> Iterator[GoldenRow]:
    for case in meta["cases"]:
        of_case = {name[len(case) + 1 :]: a for name, a in arrays.items() if name.startswith(f"{case}/")}
        for row in _check_case(of_case, meta["case_params"][case]):
            yield GoldenRow(f"{case}/{row.output}", row.error, row.tolerance)


def _check_case(arrays: dict, params: dict) -> Iterator[GoldenRow]:
    names = _output_names(arrays)
    num_images = sum(name.startswith("target_labels_") for name in arrays)
    targets = [
        {
            "labels": torch.from_numpy(arrays[f"target_labels_{b}"]),
            "masks": torch.from_numpy(arrays[f"target_masks_{b}"]),
        }
        for b in range(num_images)
    ]
    predictions = _predictions(arrays, names)
    outputs = {**predictions["final"], "aux_outputs": [predictions[name] for name in names[1:]]}
    criterion = _build_criterion(params, _replay(arrays, names, num_images))
    yield GoldenRow("empty_weight", max_abs_error(criterion.empty_weight, arrays["empty_weight"]), 0)

    matches = []  # of every output, in the order of `names`
    matcher = criterion.matcher
    criterion.matcher = lambda *args: matches.append(matcher(*args)) or matches[-1]
    losses = criterion.unweighted(outputs, targets)
    yield from _check_matches(arrays, predictions, matches, matcher, targets, params)
    yield from _check_points(arrays, predictions, matches, params)
    for name, loss in losses.items():
        yield GoldenRow(f"loss/{name}", _relative_error(loss, arrays[f"loss/{name}"]), _LOSS_RTOL)

    criterion.draw_points = _replay(arrays, names, num_images)
    total = sum(criterion(outputs, targets).values())
    yield GoldenRow("loss_total_weighted", _relative_error(total, arrays["loss_total_weighted"]), _LOSS_RTOL)
    yield from _check_gradients(arrays, predictions, total)


def _check_matches(arrays, predictions, matches, matcher, targets, params) -> Iterator[GoldenRow]:
    flat = FlatTargets.from_list(targets, params["classes"])
    for (name, prediction), of_output in zip(predictions.items(), matches, strict=True):
        points = torch.from_numpy(np.stack([arrays[f"{name}/match_points_{b}"] for b in range(len(targets))]))
        costs = matcher.costs(prediction["pred_logits"], prediction["pred_masks"], flat, points)
        for b, (cost, (query, target)) in enumerate(zip(costs, of_output, strict=True)):
            yield GoldenRow(f"{name}/match_cost_{b}", max_abs_error(cost, arrays[f"{name}/match_cost_{b}"]), _COST_ATOL)
            yield GoldenRow(f"{name}/match_query_{b}", max_abs_error(query, arrays[f"{name}/match_query_{b}"]), 0)
            yield GoldenRow(f"{name}/match_target_{b}", max_abs_error(target, arrays[f"{name}/match_target_{b}"]), 0)


def _check_points(arrays, predictions, matches, params) -> Iterator[GoldenRow]:
    for (name, prediction), of_output in zip(predictions.items(), matches, strict=True):
        logits = torch.cat(
            [masks[query] for masks, (query, _) in zip(prediction["pred_masks"], of_output, strict=True)]
        )
        replayed = iter(torch.from_numpy(arrays[f"{name}/{points}"]) for points in _POINTS)
        ratios = params["oversample_ratio"], params["importance_sample_ratio"]
        points = uncertain_points(
            logits[:, None].detach(), params["num_points"], *ratios, lambda *_, replayed=replayed: next(replayed)
        )
        expected = arrays[f"{name}/loss_points_used"]
        yield GoldenRow(f"{name}/loss_points_used", max_abs_error(_ordered(points.numpy()), _ordered(expected)), 0)


def _ordered(points: np.ndarray) -> np.ndarray:
    """The points of each pair sorted, since their order means nothing: (M, P, 2)."""
    return np.stack([of_pair[np.lexsort(of_pair.T)] for of_pair in points])


def _check_gradients(arrays, predictions, total) -> Iterator[GoldenRow]:
    stored = [
        (name, key) for name in predictions for key in ("pred_masks", "pred_logits") if f"{name}/grad_{key}" in arrays
    ]
    gradients = torch.autograd.grad(total, [predictions[name][key] for name, key in stored])
    for (name, key), gradient in zip(stored, gradients, strict=True):
        expected = arrays[f"{name}/grad_{key}"]
        yield GoldenRow(
            f"{name}/grad_{key}", max_abs_error(gradient, expected) / float(np.abs(expected).max()), _GRAD_RTOL
        )


def _output_names(arrays: dict) -> list[str]:
    aux = sorted({name.split("/")[0] for name in arrays if name.startswith("aux_")}, key=lambda name: int(name[4:]))
    return ["final", *aux]


def _predictions(arrays: dict, names: list[str]) -> dict[str, dict]:
    """Leaf tensors of each output; an output that is not stored is the final one itself (case "maskclip")."""
    predictions = {}
    for name in names:
        if f"{name}/pred_masks" in arrays:
            keys = ("pred_logits", "pred_masks")
            predictions[name] = {key: torch.from_numpy(arrays[f"{name}/{key}"]).requires_grad_() for key in keys}
        else:
            predictions[name] = predictions["final"]
    return predictions


def _replay(arrays: dict, names: list[str], num_images: int):
    """The recorded points in the order of meta["random_order"], as a `draw_points`."""
    recorded = []
    for name in names:
        recorded += [arrays[f"{name}/match_points_{b}"][None] for b in range(num_images)]
        recorded += [arrays[f"{name}/{points}"] for points in _POINTS]
    remaining = iter(recorded)

    def draw_points(num_sets, num_points, device):
        points = torch.from_numpy(next(remaining))
        assert points.shape == (num_sets, num_points, 2), (points.shape, num_sets, num_points)
        return points.to(device)

    return draw_points


def _build_criterion(params: dict, draw_points) -> SetCriterion:
    weights = params["weights"]
    return SetCriterion(
        num_classes=params["classes"],
        matcher=HungarianMatcher(
            class_weight=weights["loss_ce"],
            mask_weight=weights["loss_mask"],
            dice_weight=weights["loss_dice"],
            num_points=params["num_points"],
        ),
        weights={name: weight for name, weight in weights.items() if not name[-1].isdigit()},
        aux_weights={name[:-2]: weight for name, weight in weights.items() if name.endswith("_0")},
        no_object_weight=params["no_object_weight"],
        num_points=params["num_points"],
        oversample_ratio=params["oversample_ratio"],
        importance_sample_ratio=params["importance_sample_ratio"],
        draw_points=draw_points,
    )


def _relative_error(actual: torch.Tensor, expected: np.ndarray) -> float:
    return abs(float(actual.detach()) - float(expected)) / max(abs(float(expected)), 1e-12)
