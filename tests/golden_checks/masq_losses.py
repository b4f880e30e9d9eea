"""Labels of proposals and the loss of MasQ-Tuning, against the published implementation."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from masqclip_d2.losses.masq_tuning import assign_labels, masq_tuning_loss

from . import GoldenRow, max_abs_error

WHAT = ("MasQCLIP label assignment",)

LOSS_TOLERANCE = 1e-5


def check(arrays, meta) -> Iterator[GoldenRow]:
    arrays = {name: torch.from_numpy(array) for name, array in arrays.items()}
    threshold = 1 - meta["dice_cost_threshold"]
    num_classes, side = meta["classes"], meta["train_mask_resolution"]

    def labels_of(mask_logits, masks, classes):
        return assign_labels(mask_logits, masks, classes, num_classes, threshold)

    def expected_labels(case: str, image: int, num_queries: int) -> torch.Tensor:
        labels = torch.full((num_queries,), num_classes)
        query, target = arrays[f"{case}/assigned_query_{image}"], arrays[f"{case}/assigned_target_{image}"]
        labels[query] = arrays[f"{case}/target_labels_{image}"][target]
        return labels

    predictions = arrays["a/pred_mask_logits"]
    labels = torch.stack(
        [labels_of(p, arrays[f"a/target_masks_{i}"], arrays[f"a/target_labels_{i}"]) for i, p in enumerate(predictions)]
    )
    yield GoldenRow("a/target_class_map", max_abs_error(labels, arrays["a/target_class_map"]), 0)
    for name in ("a/class_logits", "a/class_log_prob"):  # a log-soft-max does not change log probabilities
        loss = masq_tuning_loss(arrays[name], labels, meta["no_object_weight"])
        yield GoldenRow(
            f"a/loss_ce_unweighted from {name}", max_abs_error(loss, arrays["a/loss_ce_unweighted"]), LOSS_TOLERANCE
        )
    predictions = arrays["b/pred_mask_logits"]
    labels = []
    for image, prediction in enumerate(predictions):
        masks = arrays[f"b/target_masks_{image}"].float()
        masks = F.interpolate(masks[None], (side, side), mode="nearest")[0]
        prediction = F.interpolate(prediction[None], (side, side), mode="bilinear", align_corners=False)[0]
        labels.append(labels_of(prediction, masks, arrays[f"b/target_labels_{image}"]))
        expected = expected_labels("b", image, len(prediction))
        yield GoldenRow(f"b/assigned of image {image}", max_abs_error(labels[-1], expected), 0)
    loss = meta["class_weight"] * masq_tuning_loss(
        arrays["b/class_logits"], torch.stack(labels), meta["no_object_weight"]
    )
    yield GoldenRow("b/loss_ce_weighted", max_abs_error(loss, arrays["b/loss_ce_weighted"]), LOSS_TOLERANCE)
