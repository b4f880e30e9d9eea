"""Classification accuracy on ground-truth masks: the visual encoder and the text classifier without a proposer.

The size of an object is the longer side of the tight box of its mask, in pixels of the original image.

Shape shorthand: N masks, K categories, H x W pixels.
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

from ..fusion import boxes_from_masks
from ..vocabulary import Vocabulary
from .dataset_metadata import area_limits, category_groups


class MaskClassificationEvaluator(DatasetEvaluator):
    """Accuracy in percent of classifying ground-truth masks over the dataset's whole vocabulary.

    Reads `outputs["mask_classification"]`, a dict:
        scores      (N, K) any monotonous score, larger is better
        gt_classes  (N,) contiguous ids
        gt_masks    (N, H, W) bool in the frame of the input image; sides are scaled to the original image by the
                    input's `height` over the height of its `image`, and likewise for the width
        box_sides   (N,) pixels of the original image, instead of `gt_masks`
    An output without the entry (an image without objects) is not counted.

    Args:
        dataset_name: a registered dataset with a vocabulary and, for base and novel, its groups.
        side_limits: pixels, increasing; bounds of the accuracies by object size; None: the sides of squares of the
            metadata `area_limits`.
    """

    def __init__(self, dataset_name: str, side_limits: Sequence[float] | None = None) -> None:
        metadata = MetadataCatalog.get(dataset_name)
        vocabulary = Vocabulary.from_metadata(metadata)
        self._dataset_name = dataset_name
        self._num_categories = len(vocabulary.names)
        self._is_thing = np.array(vocabulary.is_thing, dtype=bool)
        self._groups = category_groups(metadata)
        self._side_limits = tuple(side_limits or (math.sqrt(area) for area in area_limits(metadata)))
        self.reset()

    def reset(self) -> None:
        self._rows: list[np.ndarray] = []  # (N, 3): category, longer side, number of categories that score higher

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Rank the true category of each mask of a batch.

        Raises:
            ValueError: the number of scores is not that of the dataset's categories, or a class is out of range.
        """
        for record, output in zip(inputs, outputs, strict=True):
            prediction = output.get("mask_classification")
            if prediction is None or len(prediction["gt_classes"]) == 0:
                continue
            scores, classes = prediction["scores"].float().cpu(), prediction["gt_classes"].cpu().long()
            if scores.shape[1] != self._num_categories:
                raise ValueError(
                    f"Dataset {self._dataset_name!r} has {self._num_categories} categories, but masks were classified "
                    f"over {scores.shape[1]}; set the model's vocabulary to that of the dataset."
                )
            if int(classes.min()) < 0 or int(classes.max()) >= self._num_categories:
                raise ValueError(
                    f"Dataset {self._dataset_name!r}, {record.get('file_name', '?')}: ground-truth classes "
                    f"{sorted(set(classes.tolist()))} are not all in 0..{self._num_categories - 1}."
                )
            own = scores.gather(1, classes[:, None])
            # Ties count against the model; otherwise equal scores of all categories would be a perfect prediction.
            rank = (scores >= own).sum(1) - 1
            rank[own[:, 0].isnan()] = self._num_categories
            self._rows.append(np.stack([classes.numpy(), _sides(record, prediction).numpy(), rank.numpy()], axis=1))

    def evaluate(self) -> dict | None:
        """{"mask_classification": metrics}; None on processes other than the first.

        Keys: top1, top5 over all masks; top1_per_category (mean over categories); top1_things, top1_stuff,
        top1_<group>; for things by size top1_lt48, top1_48to96, top1_ge96, top1_ge48 (pixels; by the limits).
        nan if there is no such mask.
        """
        comm.synchronize()
        gathered = comm.gather(self._rows)
        if not comm.is_main_process():
            return None
        rows = [row for rows in gathered for row in rows]
        table = np.concatenate(rows) if rows else np.zeros((0, 3))
        category, side, rank = table[:, 0].astype(np.int64), table[:, 1], table[:, 2]
        correct = rank < 1
        is_thing = self._is_thing[category]
        per_category = [correct[category == i].mean() for i in np.unique(category)]
        metrics = {
            "top1": _percent(correct),
            "top5": _percent(rank < 5),
            "top1_per_category": _percent(np.array(per_category)),
            "top1_things": _percent(correct[is_thing]),
            "top1_stuff": _percent(correct[~is_thing]),
        }
        for name, ids in self._groups.items():
            metrics[f"top1_{name}"] = _percent(correct[np.isin(category, ids)])
        for name, low, high in self._size_ranges():
            metrics[f"top1_{name}"] = _percent(correct[is_thing & (side >= low) & (side < high)])
        return {"mask_classification": metrics}

    def _size_ranges(self) -> Iterator[tuple[str, float, float]]:
        """Yield name, smallest side and first side above, in pixels."""
        limits = self._side_limits
        yield f"lt{limits[0]:g}", 0, limits[0]
        for low, high in zip(limits[:-1], limits[1:], strict=True):
            yield f"{low:g}to{high:g}", low, high
        for limit in reversed(limits):
            yield f"ge{limit:g}", limit, math.inf


def _sides(record: dict, prediction: dict) -> Tensor:
    """(N,) longer side of each mask's box, in pixels of the original image."""
    if "box_sides" in prediction:
        return torch.as_tensor(prediction["box_sides"]).float().cpu()
    boxes = boxes_from_masks(prediction["gt_masks"].bool()).cpu()
    sides = boxes[:, 2:] - boxes[:, :2]  # (N, 2) width, height
    if "image" in record and "height" in record and "width" in record:
        height, width = record["image"].shape[-2:]
        sides = sides * torch.tensor([record["width"] / width, record["height"] / height])
    return sides.amax(dim=1)


def _percent(correct: np.ndarray) -> float:
    return 100 * float(correct.mean()) if len(correct) else math.nan
