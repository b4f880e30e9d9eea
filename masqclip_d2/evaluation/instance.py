"""Instance AP by COCO's rules, also for groups of categories (base, novel).

pycocotools does the matching; `instances_to_coco_json` is Detectron2's. Differences from Detectron2's COCOEvaluator:
category ids of things need not be 0..n-1 (in a panoptic dataset they may be anywhere among the contiguous ids); a model
without detections has AP 0, not nan, where there are objects; predictions of stuff are left out.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.utils import comm

from ..data.annotation_files import instances_of
from ..data.annotation_files.structure import shown
from ..files import save_json
from .dataset_metadata import (
    area_limits,
    area_ranges,
    category_groups,
    detections_per_image,
    require_predictions,
    required,
)
from .instance_results import checked_result, find

logger = logging.getLogger(__name__)

InstanceTask = Literal["bbox", "segm"]

_CPU = torch.device("cpu")
_AP50 = 0  # index of IoU 0.5 among COCO's thresholds 0.5, 0.55, ... 0.95
_AP75 = 5


class InstanceEvaluator(DatasetEvaluator):
    """Mask and box AP in percent on a Detectron2 dataset.

    Reads `outputs["instances"]`: Instances with `pred_boxes`, `scores`, `pred_classes` (contiguous ids), `pred_masks`.
    Inputs need `image_id`. Metadata: `json_file` (COCO instances), `thing_dataset_id_to_contiguous_id`,
    the vocabulary's groups for metrics such as AP_base, `area_limits` (pixels; default COCO's 32^2 and 96^2),
    `detections_per_image` (default 100).

    Args:
        dataset_name: a registered dataset.
        output_dir: where `results_file` is written; None writes nothing.
        tasks: "segm" for masks, "bbox" for boxes.

    Raises:
        ValueError: metadata is missing, the ground truth is inconsistent, or a task is unknown.
        FileNotFoundError: the ground truth is missing.
    """

    results_file = "coco_instances_results.json"

    def __init__(
        self, dataset_name: str, output_dir: str | None = None, tasks: Sequence[InstanceTask] = ("bbox", "segm")
    ) -> None:
        unknown = sorted(set(tasks) - {"bbox", "segm"})
        if unknown:
            raise ValueError(f"{type(self).__name__}: unknown tasks {unknown}; expected some of bbox, segm.")
        metadata = MetadataCatalog.get(dataset_name)
        self._dataset_name = dataset_name
        self._tasks = tuple(tasks)
        self._output_dir = Path(output_dir) if output_dir is not None else None
        self._ground_truth = self._load_ground_truth(metadata)
        to_contiguous = required(metadata, "thing_dataset_id_to_contiguous_id", "instance evaluation")
        self._dataset_ids = {contiguous: dataset_id for dataset_id, contiguous in to_contiguous.items()}
        self._stuff_ids = set((getattr(metadata, "stuff_dataset_id_to_contiguous_id", None) or {}).values())
        self._groups = {
            name: [self._dataset_ids[i] for i in ids if i in self._dataset_ids]
            for name, ids in category_groups(metadata).items()
        }
        self._area_ranges = area_ranges(area_limits(metadata))
        self._detections_per_image = detections_per_image(metadata)
        self.reset()

    def reset(self) -> None:
        self._results: list[dict] = []
        self._done: list[Any] = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Collect the instances of a batch, masks run-length encoded.

        Raises:
            ValueError: an image is not in the ground truth, or a predicted category is unknown.
        """
        for record, output in zip(inputs, outputs, strict=True):
            image_id = record["image_id"]
            self._require_known_image(image_id, record.get("file_name", "?"))
            results = instances_to_coco_json(output["instances"].to(_CPU), image_id)
            self._results.extend(self._with_dataset_ids(results))
            self._done.append(image_id)

    def add_results(self, results: Any, image_ids: Iterable[Any], owner: str = "Results") -> None:
        """Add saved results in place of a model's outputs.

        Args:
            results: the content of `results_file`: COCO's format, the dataset's own category ids.
            image_ids: all predicted images, with or without results.
            owner: the file, for error messages.

        Raises:
            ValueError: an image is not in the ground truth, a category is none of the dataset's, or see
                `checked_result`.
        """
        known = {category: category for category in self._dataset_ids.values()}
        for image_id in image_ids:
            self._require_known_image(image_id, "?")
            self._done.append(image_id)
        if not isinstance(results, list):
            raise ValueError(f"{owner}: expected a list of results in COCO's format, got {shown(results)}.")
        for position, result in enumerate(results):
            if not isinstance(result, dict) or not {"image_id", "category_id"} <= result.keys():
                raise ValueError(f"{owner}: result {position} has no image_id or category_id: {shown(result)}.")
            where = f"{owner}, result {position} (image {shown(result['image_id'])})"
            image = find(self._ground_truth.imgs, result["image_id"])
            if image is None:
                raise ValueError(f"{where} is of an image that dataset {self._dataset_name!r} does not have.")
            if find(known, result["category_id"]) is None:
                raise ValueError(
                    f"{where} has the category id {shown(result['category_id'])}, which is none of the {len(known)} "
                    f"thing categories of dataset {self._dataset_name!r}, such as {min(known)}; results have the "
                    "category ids of the annotation file, not positions."
                )
            self._results.append(checked_result(result, (image["height"], image["width"]), self._tasks, where))

    def evaluate(self) -> dict | None:
        """{"bbox": metrics, "segm": metrics}, as far as requested; None on processes other than the first.

        Keys: AP, AP50, AP75, APs, APm, APl; AP_<group>, AP50_<group>; AP-<name>. Percent, nan where the ground truth
        has no such object. Images without predictions count as images without detections, with a warning.

        Raises:
            ValueError: no image was predicted.
        """
        comm.synchronize()
        gathered = comm.gather((self._results, self._done))
        if not comm.is_main_process():
            return None
        results = list(itertools.chain.from_iterable(results for results, _ in gathered))
        self._check_done({i for _, done in gathered for i in done})
        if self._output_dir is not None:
            save_json(self._output_dir / self.results_file, results)
        return {task: self._metrics(results, task) for task in self._tasks}

    def _load_ground_truth(self, metadata: Any) -> Any:
        """The ground truth as an object with `imgs` and `cats`, dictionaries by id."""
        return load_coco_ground_truth(metadata)

    def _precision(self, results: list[dict], task: InstanceTask) -> tuple[np.ndarray, list[int]]:
        """(IoU thresholds, recalls, categories, areas) precision, -1 where undefined, and the category ids."""
        evaluation = run_coco_eval(self._ground_truth, results, task, self._area_ranges, self._detections_per_image)
        return evaluation.eval["precision"][..., -1], evaluation.params.catIds  # the last limit on detections

    def _category_subsets(self) -> dict[str, list[int]]:
        """Names of further APs -> the dataset's category ids that each is the mean of."""
        return {f"AP_{group}": ids for group, ids in self._groups.items()}

    def _require_known_image(self, image_id: Any, file_name: str) -> None:
        if image_id not in self._ground_truth.imgs:
            raise ValueError(
                f"Dataset {self._dataset_name!r}: image {image_id} ({file_name}) is not in its instance ground truth."
            )

    def _check_done(self, done: set) -> None:
        require_predictions(self._dataset_name, len(done))
        num_images = len(self._ground_truth.imgs)
        if len(done) < num_images:
            logger.warning(
                "%s: %d of %d images of the ground truth were not predicted; their objects count as missed.",
                self._dataset_name,
                num_images - len(done),
                num_images,
            )

    def _with_dataset_ids(self, results: list[dict]) -> list[dict]:
        kept = []
        for result in results:
            category = result["category_id"]
            if category in self._dataset_ids:
                kept.append({**result, "category_id": self._dataset_ids[category]})
            elif category not in self._stuff_ids:
                raise ValueError(
                    f"Dataset {self._dataset_name!r}: a prediction for image {result['image_id']} has the category "
                    f"{category}, but the things of the dataset are {sorted(self._dataset_ids)[:5]}...; is the model's "
                    "vocabulary that of the dataset?"
                )
        return kept

    def _metrics(self, results: list[dict], task: InstanceTask) -> dict[str, float]:
        precision, category_ids = self._precision(results, task)
        metrics = {
            "AP": _mean_precision(precision[:, :, :, 0]),
            "AP50": _mean_precision(precision[_AP50, :, :, 0]),
            "AP75": _mean_precision(precision[_AP75, :, :, 0]),
            "APs": _mean_precision(precision[:, :, :, 1]),
            "APm": _mean_precision(precision[:, :, :, 2]),
            "APl": _mean_precision(precision[:, :, :, 3]),
        }
        column = {category: i for i, category in enumerate(category_ids)}
        for name, ids in self._category_subsets().items():
            columns = [column[i] for i in ids if i in column]
            metrics[name] = _mean_precision(precision[:, :, columns, 0])
            metrics[name.replace("AP", "AP50", 1)] = _mean_precision(precision[_AP50][:, columns, 0])
        for category, i in column.items():
            metrics[f"AP-{self._ground_truth.cats[category]['name']}"] = _mean_precision(precision[:, :, i, 0])
        return metrics


def load_coco_ground_truth(metadata: Any) -> Any:
    """The dataset's metadata `json_file` as a `pycocotools.coco.COCO`, checked; pycocotools prints nothing.

    Raises:
        ValueError: see `read_ground_truth`.
        FileNotFoundError: the file is missing.
    """
    from pycocotools.coco import COCO

    coco: Any = COCO()
    coco.dataset = read_ground_truth(metadata)
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def read_ground_truth(metadata: Any) -> dict[str, Any]:
    """Read the dataset's metadata `json_file` as training reads it, see `instances_of`.

    Raises:
        ValueError: the metadata has no `json_file` or `thing_dataset_id_to_contiguous_id`; see `read_instances`.
        FileNotFoundError: the file is missing.
    """
    path = Path(required(metadata, "json_file", "evaluation of instances"))
    if not path.is_file():
        raise FileNotFoundError(f"Instance ground truth {path} of dataset {metadata.name!r} is missing.")
    required(metadata, "thing_dataset_id_to_contiguous_id", "evaluation of instances")
    instances = instances_of(metadata.as_dict())
    instances.report.log()
    return instances.content


def run_coco_eval(
    coco: Any,
    results: list[dict],
    task: InstanceTask,
    ranges: Mapping[str, tuple[float, float]],
    detections_per_image: int = 100,
) -> Any:
    """Match and accumulate with pycocotools, without its console output.

    Args:
        coco: ground truth, `pycocotools.coco.COCO`.
        results: COCO results in the dataset's category ids; may be empty.
        task: "segm" or "bbox".
        ranges: area ranges by name, "all" first.
        detections_per_image: number of the best results of each image and category that are counted.

    Returns:
        The accumulated `pycocotools.cocoeval.COCOeval`; its last limit is `detections_per_image`.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if task == "segm":  # pycocotools would use the area of the box for the mask
        results = [{key: value for key, value in result.items() if key != "bbox"} for result in results]
    else:  # pycocotools adds keys to its arguments
        results = [dict(result) for result in results]
    found: Any
    with contextlib.redirect_stdout(io.StringIO()):
        if results:
            found = coco.loadRes(results)
        else:  # loadRes fails on an empty list
            found = COCO()
            found.dataset = {**coco.dataset, "annotations": []}
            found.createIndex()
        evaluation = COCOeval(coco, found, task)
        evaluation.params.areaRng = [list(limits) for limits in ranges.values()]
        evaluation.params.areaRngLbl = list(ranges)
        evaluation.params.maxDets = [detections_per_image]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _mean_precision(precision: np.ndarray) -> float:
    """Mean in percent; pycocotools marks undefined entries (categories without ground truth) by -1."""
    known = precision[precision > -1]
    return 100 * float(known.mean()) if known.size else math.nan
