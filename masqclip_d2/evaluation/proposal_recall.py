"""Class-agnostic mask average recall of proposals.

AR@n is the recall of the n best proposals of each image, averaged over the IoU thresholds 0.5, 0.55, ... 0.95, as COCO
defines it (equal to pycocotools with useCats = 0); R50@n and R80@n are the recalls at the IoUs 0.5 and 0.8 alone. The
recall of a subset of the objects (small, novel) matches proposals with these objects only. Counts are summed image by
image, so that no masks are kept or sent between processes.

Shape shorthand: Q mask proposals, G objects of the ground truth, T IoU thresholds, L limits on Q, H x W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from torch import Tensor

from ..coco_masks import from_segmentation
from .dataset_metadata import area_limits, area_ranges, category_groups, require_predictions, required
from .instance import load_coco_ground_truth

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_SINGLE_THRESHOLDS = {"R50": 0, "R80": 6}  # positions in IOU_THRESHOLDS
_NOT_SMALL = "medium or large"
_AREA_SUFFIX = {"small": "s", "medium": "m", "large": "l"}  # as in Detectron2: ARs@100, ...


def mask_iou(masks: Tensor, others: Tensor) -> Tensor:
    """IoU of all pairs of binary masks.

    Args:
        masks: (Q, H, W) bool.
        others: (G, H, W) bool.

    Returns:
        (Q, G) float64 in [0, 1]; 0 for two empty masks.
    """
    # Products of 0 and 1 are exact in float32 up to 2^24 pixels; larger masks are summed in float64.
    dtype = torch.float32 if masks[0:1].numel() < 2**24 and others[0:1].numel() < 2**24 else torch.float64
    flat, other_flat = masks.flatten(1).to(dtype), others.flatten(1).to(dtype)
    intersection = (flat @ other_flat.T).double()  # (Q, G)
    union = flat.sum(1).double()[:, None] + other_flat.sum(1).double()[None] - intersection
    return torch.where(union > 0, intersection / union.clamp(min=1), torch.zeros_like(intersection))


def count_found(iou: np.ndarray, thresholds: np.ndarray, limits: Sequence[int]) -> np.ndarray:
    """Greedy matching: each proposal, best first, takes the free object of largest IoU if that reaches the threshold.

    Args:
        iou: (Q, G), proposals in order of decreasing score.
        thresholds: (T,); an IoU equal to the threshold is a match.
        limits: (L,) increasing numbers of proposals.

    Returns:
        (L, T) int64: objects found by the first `limit` proposals.
    """
    num_thresholds, num_objects = len(thresholds), iou.shape[1]
    rows = np.arange(num_thresholds)
    free = np.ones((num_thresholds, num_objects), dtype=bool)
    found = np.zeros((len(limits), num_thresholds), dtype=np.int64)
    if num_objects == 0:
        return found
    for proposal in range(min(len(iou), max(limits))):
        candidates = np.where(free, iou[proposal], -1.0)  # (T, G)
        # Of equal IoUs the last, as in pycocotools.
        best = num_objects - 1 - candidates[:, ::-1].argmax(1)
        taken = candidates[rows, best] >= thresholds
        free[rows[taken], best[taken]] = False
        found[np.asarray(limits) > proposal] += taken
    return found


class ProposalRecallEvaluator(DatasetEvaluator):
    """Class-agnostic average recall of mask proposals on a Detectron2 dataset, in percent.

    Reads `outputs["proposals"]`: Instances, or anything with `pred_masks` (Q, H, W) bool at the size of the ground
    truth and `scores` (Q,). Inputs need `image_id`. Metadata: `json_file` (COCO instances; crowds are left out),
    `thing_dataset_id_to_contiguous_id`, the vocabulary's groups, `area_limits` (pixels; default COCO's 32^2 and 96^2).

    Args:
        dataset_name: a registered dataset.
        limits: numbers of proposals per image, increasing; the recall by object size uses the last.

    Raises:
        ValueError: metadata is missing, or the limits do not increase.
        FileNotFoundError: the ground truth is missing.
    """

    def __init__(self, dataset_name: str, limits: Sequence[int] = (1, 10, 100)) -> None:
        if not limits or any(a >= b for a, b in zip((0, *limits[:-1]), limits, strict=True)):
            raise ValueError(f"limits must be increasing positive numbers of proposals, got {tuple(limits)}.")
        metadata = MetadataCatalog.get(dataset_name)
        self._dataset_name = dataset_name
        self._limits = tuple(limits)
        self._coco = load_coco_ground_truth(metadata)
        to_contiguous = required(metadata, "thing_dataset_id_to_contiguous_id", "evaluation of proposals")
        limits_of_area = area_limits(metadata)
        self._ranges = {**area_ranges(limits_of_area), _NOT_SMALL: (limits_of_area[0], math.inf)}
        self._groups = {
            name: {dataset_id for dataset_id, contiguous in to_contiguous.items() if contiguous in ids}
            for name, ids in category_groups(metadata).items()
        }
        self.reset()

    def reset(self) -> None:
        num_subsets = len(self._ranges) + len(self._groups)
        self._found = np.zeros((num_subsets, len(self._limits), len(IOU_THRESHOLDS)), dtype=np.int64)
        self._num_objects = np.zeros(num_subsets, dtype=np.int64)
        self._num_done = 0

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Match the proposals of a batch.

        Raises:
            ValueError: an image is unknown, or its proposals have another size than the ground truth.
        """
        for record, output in zip(inputs, outputs, strict=True):
            annotations, gt_masks = self._ground_truth(record)
            proposals = output["proposals"]
            if proposals.pred_masks.shape[-2:] != gt_masks.shape[-2:]:
                raise ValueError(
                    f"Dataset {self._dataset_name!r}, image {record['image_id']}: proposals have "
                    f"{tuple(proposals.pred_masks.shape[-2:])} pixels, the ground truth {tuple(gt_masks.shape[-2:])}."
                )
            order = proposals.scores.argsort(descending=True, stable=True)[: self._limits[-1]]
            masks = proposals.pred_masks[order]
            iou = mask_iou(masks, gt_masks.to(masks.device)).cpu().numpy()
            for index, members in enumerate(self._subsets(annotations)):
                self._num_objects[index] += members.sum()
                self._found[index] += count_found(iou[:, members], IOU_THRESHOLDS, self._limits)
            self._num_done += 1

    def evaluate(self) -> dict | None:
        """{"proposals": metrics}; None on processes other than the first.

        Keys: AR@n and AR@n_<group> for every limit n; for the largest ARs@n, ARm@n, ARl@n, and at one IoU R50@n, R80@n
        of all objects, R50ml@n, R80ml@n of medium and large ones. nan without such objects.

        Raises:
            ValueError: no image was predicted.
        """
        comm.synchronize()
        gathered = comm.gather((self._found, self._num_objects, self._num_done))
        if not comm.is_main_process():
            return None
        founds, nums_objects, nums_done = zip(*gathered, strict=True)
        found, num_objects = np.sum(founds, axis=0), np.sum(nums_objects, axis=0)
        require_predictions(self._dataset_name, sum(nums_done))
        recalls = [
            [100 * float(f.mean()) / int(n) if n else math.nan for f in found_by_limit]
            for found_by_limit, n in zip(found, num_objects, strict=True)
        ]
        largest = self._limits[-1]
        metrics = {f"AR@{limit}": recall for limit, recall in zip(self._limits, recalls[0], strict=True)}
        by_range = {name: index for index, name in enumerate(self._ranges)}
        metrics.update({f"AR{s}@{largest}": recalls[by_range[name]][-1] for name, s in _AREA_SUFFIX.items()})
        for key, position in _SINGLE_THRESHOLDS.items():
            for name, suffix in (("all", ""), (_NOT_SMALL, "ml")):
                count, total = found[by_range[name], -1, position], num_objects[by_range[name]]
                metrics[f"{key}{suffix}@{largest}"] = 100 * float(count) / int(total) if total else math.nan
        for group, recall in zip(self._groups, recalls[len(self._ranges) :], strict=True):
            metrics.update({f"AR@{limit}_{group}": part for limit, part in zip(self._limits, recall, strict=True)})
        return {"proposals": metrics}

    def _ground_truth(self, record: dict) -> tuple[list[dict], Tensor]:
        """Annotations and (G, H, W) bool masks of one image without crowds."""
        image = self._coco.imgs.get(record["image_id"])
        if image is None:
            raise ValueError(
                f"Dataset {self._dataset_name!r}: image {record['image_id']} ({record.get('file_name', '?')}) is not "
                "in its instance ground truth."
            )
        annotations = [a for a in self._coco.imgToAnns.get(image["id"], []) if not a.get("iscrowd", 0)]
        gt_hw = (image["height"], image["width"])
        masks = np.zeros((len(annotations), *gt_hw), dtype=bool)
        for mask, annotation in zip(masks, annotations, strict=True):
            mask[:] = from_segmentation(annotation["segmentation"], gt_hw, str(record.get("file_name", image["id"])))
        return annotations, torch.from_numpy(masks)

    def _subsets(self, annotations: list[dict]) -> Iterator[np.ndarray]:
        """Yield (G,) bool arrays: the annotations of each area range, then of each group."""
        areas = np.array([a["area"] for a in annotations], dtype=np.float64)
        for low, high in self._ranges.values():
            yield (areas >= low) & (areas <= high)
        for ids in self._groups.values():
            yield np.array([a["category_id"] in ids for a in annotations], dtype=bool)
