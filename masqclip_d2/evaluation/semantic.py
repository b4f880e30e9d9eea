"""Semantic segmentation: one confusion matrix and the metrics computed from it.

There are two definitions of mIoU in use; they differ on datasets in which some categories are absent:
    mIoU             over the categories that occur in the ground truth (Detectron2 since July 2022)
    mIoU_gt_or_pred  over the categories that occur in the ground truth or are predicted (Detectron2 up to v0.6); a
                     category that is only predicted has IoU 0
Both are reported; compare results of the same definition only.

Shape shorthand: K categories, H x W pixels.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from ..data.label_maps import LabelledImage, read_semantic_labels
from ..data.panoptic_labels import LeftOut, read_panoptic_labels
from ..vocabulary import Vocabulary
from .dataset_metadata import category_groups, require_predictions, warn_of_left_out

_DEFAULT_IGNORE_LABEL = 255

logger = logging.getLogger(__name__)


def confusion_matrix(gt: np.ndarray, prediction: np.ndarray, num_categories: int, ignore_label: int) -> np.ndarray:
    """Count pixels by true and predicted category.

    Args:
        gt: (H, W) integers in [0, K), or `ignore_label` for pixels that are not counted.
        prediction: (H, W) integers in [0, K), or `ignore_label` for "no category", which is wrong everywhere.
        num_categories: K.
        ignore_label: at least K.

    Returns:
        (K, K + 1) int64: true x predicted category; the last column is "no category".

    Raises:
        ValueError: sizes differ, or a label is out of range (the message contains it).
    """
    if gt.shape != prediction.shape:
        raise ValueError(f"the prediction has {prediction.shape} pixels, the ground truth {gt.shape}")
    counted = gt != ignore_label
    gt, prediction = gt[counted].astype(np.int64), prediction[counted].astype(np.int64)
    prediction = np.where(prediction == ignore_label, num_categories, prediction)
    for what, labels, limit in (("ground truth", gt, num_categories), ("prediction", prediction, num_categories + 1)):
        wrong = np.unique(labels[(labels < 0) | (labels >= limit)])
        if len(wrong):
            raise ValueError(
                f"the {what} holds label {', '.join(map(str, wrong[:5].tolist()))}, but there are {num_categories} "
                f"categories (0..{num_categories - 1}) and the ignore label is {ignore_label}"
            )
    pairs = np.bincount(gt * (num_categories + 1) + prediction, minlength=num_categories * (num_categories + 1))
    return pairs.reshape(num_categories, num_categories + 1)


def semantic_metrics(
    confusion: np.ndarray, names: Sequence[str], groups: Mapping[str, Sequence[int]] | None = None
) -> dict[str, float]:
    """Compute the usual metrics from a confusion matrix.

    Args:
        confusion: (K, K + 1) as `confusion_matrix` returns, summed over images.
        names: K category names.
        groups: category ids of named groups.

    Returns:
        Percent, plain floats, nan where undefined:
            mIoU, mIoU_gt_or_pred: see the module docstring
            fwIoU: IoU weighted by the category's share of the ground truth
            mACC: mean recall of the categories in the ground truth; pACC: share of correct pixels
            mIoU_<group>, mACC_<group>: over the categories of a group; of a dataset also th (things) and st (stuff)
            IoU-<name>, ACC-<name>: of one category
    """
    num_categories = len(names)
    true_positives = confusion[:, :num_categories].diagonal().astype(np.float64)
    gt_pixels, pred_pixels = confusion.sum(1), confusion[:, :num_categories].sum(0)
    in_gt, in_either = gt_pixels > 0, (gt_pixels + pred_pixels) > 0
    undefined = np.full(num_categories, np.nan)
    iou = np.divide(true_positives, gt_pixels + pred_pixels - true_positives, out=undefined.copy(), where=in_either)
    accuracy = np.divide(true_positives, gt_pixels, out=undefined.copy(), where=in_gt)
    share = gt_pixels / max(gt_pixels.sum(), 1)

    fractions = {
        "mIoU": _mean(iou[in_gt]),
        "mIoU_gt_or_pred": _mean(iou[in_either]),
        "fwIoU": float((iou * share)[in_gt].sum()) if in_gt.any() else math.nan,
        "mACC": _mean(accuracy[in_gt]),
        "pACC": float(true_positives.sum() / gt_pixels.sum()) if in_gt.any() else math.nan,
    }
    for group, ids in (groups or {}).items():
        present = [i for i in ids if in_gt[i]]
        fractions[f"mIoU_{group}"] = _mean(iou[present])
        fractions[f"mACC_{group}"] = _mean(accuracy[present])
    for name, category_iou, category_accuracy, known in zip(names, iou, accuracy, in_gt, strict=True):
        fractions[f"IoU-{name}"] = float(category_iou) if known else math.nan
        fractions[f"ACC-{name}"] = float(category_accuracy)
    return {key: 100 * value for key, value in fractions.items()}


def meaningless_semantics(metrics: Mapping[str, float]) -> str:
    """Why metrics of `semantic_metrics` say nothing about a model; "" if two categories or more occur."""
    accuracies = {name.removeprefix("ACC-"): value for name, value in metrics.items() if name.startswith("ACC-")}
    known = [name for name, value in accuracies.items() if not math.isnan(value)]
    if len(known) > 1 or not accuracies:
        return ""
    if not known:
        return (
            f"no pixel of the ground truth has one of the {len(accuracies)} categories, so that no metric is defined; "
            "look at the values of the label maps"
        )
    return (
        f"the only category in the ground truth is {known[0]!r}, of {len(accuracies)}: mIoU of one category means "
        "nothing, since a model that sees it everywhere has 100; look at the values of the label maps"
    )


def _things_and_stuff(vocabulary: Vocabulary) -> dict[str, list[int]]:
    """Groups "th" and "st"; {} if there is only one kind."""
    kinds = {
        name: [index for index, is_thing in enumerate(vocabulary.is_thing) if is_thing is kind]
        for name, kind in (("th", True), ("st", False))
    }
    return kinds if all(kinds.values()) else {}


def predicted_labels(output: Mapping[str, Any]) -> np.ndarray:
    """(H, W) integers: the label map in a model's output for one image.

    Args:
        output: with `sem_seg_labels`, (H, W) integers, as of this project's models; else with `sem_seg`, either
            (K, H, W) scores, as of Detectron2's models, or (H, W) integers.
    """
    labels = output["sem_seg_labels"] if "sem_seg_labels" in output else output["sem_seg"]
    labels = torch.as_tensor(labels)
    return (labels.argmax(dim=0) if labels.dim() == 3 else labels).cpu().numpy()


class SemanticEvaluator(DatasetEvaluator):
    """mIoU and related metrics on a Detectron2 dataset; see `semantic_metrics`.

    Reads outputs by `predicted_labels`. Ground truth is the label map `sem_seg_file_name` of the input, or of the
    dataset's record with the same `file_name`; without it, `pan_seg_file_name` with `segments_info`. Metadata: the
    vocabulary with its groups, and `ignore_label` (default 255; 65535 for more than 255 categories).

    Args:
        dataset_name: a registered dataset.
    """

    def __init__(self, dataset_name: str) -> None:
        metadata = MetadataCatalog.get(dataset_name)
        self._dataset_name = dataset_name
        vocabulary = Vocabulary.from_metadata(metadata)
        self._names = vocabulary.names
        self._groups = {**_things_and_stuff(vocabulary), **category_groups(metadata)}
        self._ignore_label = int(getattr(metadata, "ignore_label", _DEFAULT_IGNORE_LABEL))
        if self._ignore_label < len(self._names):
            raise ValueError(
                f"Dataset {dataset_name!r}: ignore_label {self._ignore_label} is also the id of category "
                f"{self._names[self._ignore_label]!r}; set the metadata 'ignore_label' to 65535 and use 16-bit "
                "label maps."
            )
        self._records: dict[str, dict] | None = None
        self.reset()

    def reset(self) -> None:
        self._confusion = np.zeros((len(self._names), len(self._names) + 1), dtype=np.int64)
        self._num_done = 0
        self._left_out = LeftOut()

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Add a batch to the confusion matrix.

        Raises:
            ValueError: a prediction or ground truth has a wrong size or label; the message contains file and value.
        """
        for record, output in zip(inputs, outputs, strict=True):
            gt, source = self._ground_truth(record)
            try:
                self._check_channels(output)
                prediction = predicted_labels(output)
                self._confusion += confusion_matrix(gt, prediction, len(self._names), self._ignore_label)
            except ValueError as error:
                raise ValueError(f"Dataset {self._dataset_name!r}, {source}: {error}.") from None
            self._num_done += 1

    def evaluate(self) -> dict | None:
        """{"sem_seg": `semantic_metrics`}; None on processes other than the first.

        A warning says what was left out, and that the metrics mean nothing if fewer than two categories occur.

        Raises:
            ValueError: no image was predicted.
        """
        comm.synchronize()
        gathered = comm.gather((self._confusion, self._num_done, self._left_out))
        if not comm.is_main_process():
            return None
        confusions, num_done, left_out = zip(*gathered, strict=True)
        require_predictions(self._dataset_name, sum(num_done))
        warn_of_left_out(self._dataset_name, left_out)
        metrics = semantic_metrics(np.sum(confusions, axis=0), self._names, self._groups)
        if remark := meaningless_semantics(metrics):
            logger.warning("%s: %s.", self._dataset_name, remark)
        return {"sem_seg": metrics}

    def _check_channels(self, output: Mapping[str, Any]) -> None:
        sem_seg = output.get("sem_seg")
        if sem_seg is not None and sem_seg.ndim == 3 and len(sem_seg) != len(self._names):
            raise ValueError(
                f"the prediction has {len(sem_seg)} channels, but the dataset {len(self._names)} categories; is the "
                "model's vocabulary that of the dataset"
            )

    def _ground_truth(self, record: dict) -> tuple[np.ndarray, str]:
        """(H, W) labels, and the file that they were read from."""
        image = LabelledImage.from_record(record)
        if "sem_seg_file_name" not in record and "pan_seg_file_name" not in record:
            record = self._dataset_record(record["file_name"])
        if "sem_seg_file_name" in record:
            path = record["sem_seg_file_name"]
            return read_semantic_labels(path, len(self._names), self._ignore_label, image), path
        path = record["pan_seg_file_name"]
        labels = read_panoptic_labels(path, record["segments_info"], image, record.get("ignored_segment_ids", ()))
        self._left_out.add(labels, path)
        return labels.categories(self._ignore_label), path

    def _dataset_record(self, file_name: str) -> dict:
        if self._records is None:  # mappers may drop ground-truth files
            self._records = {r["file_name"]: r for r in DatasetCatalog.get(self._dataset_name)}
        record = self._records.get(file_name, {})
        if "sem_seg_file_name" not in record and "pan_seg_file_name" not in record:
            raise ValueError(
                f"Dataset {self._dataset_name!r}: {file_name} has no ground truth ('sem_seg_file_name'); register the "
                "dataset with it, or switch semantic evaluation off."
            )
        return record


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan
