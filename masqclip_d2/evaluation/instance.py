"""Instance AP by COCO's rules, with rows for base, novel and all.

pycocotools does the matching; `instances_to_coco_json` is Detectron2's. Differs from Detectron2's COCOEvaluator:
category ids need not be 0..n-1 (in a panoptic dataset things may stand anywhere among the contiguous ids); a model that
finds nothing scores 0 where there is something to find, not nan; predictions of stuff are left out.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.utils import comm

from .dataset_facts import area_limits, area_ranges, category_groups, required

logger = logging.getLogger(__name__)

_CPU = torch.device("cpu")
_AP50 = 0  # index of IoU 0.5 among COCO's thresholds 0.5, 0.55, ... 0.95
_AP75 = 5


class InstanceEvaluator(DatasetEvaluator):
    """Mask and box AP in percent on a Detectron2 dataset.

    Takes `outputs["instances"]`: Instances with `pred_boxes`, `scores`, `pred_classes` (contiguous ids), `pred_masks`.
    Inputs need `image_id`. Metadata: `json_file` (COCO instances), `thing_dataset_id_to_contiguous_id`,
    `category_groups` for rows such as AP_base, `area_limits` (pixels; default COCO's 32^2 and 96^2).

    Args:
        dataset_name: a registered dataset.
        output_dir: where coco_instances_results.json goes; None writes nothing.
        tasks: "segm" for masks, "bbox" for boxes.

    Raises:
        ValueError: the metadata lacks something, or a task is unknown.
        FileNotFoundError: the ground truth is missing.
    """

    def __init__(
        self, dataset_name: str, output_dir: str | None = None, tasks: Sequence[str] = ("bbox", "segm")
    ) -> None:
        unknown = sorted(set(tasks) - {"bbox", "segm"})
        if unknown:
            raise ValueError(f"InstanceEvaluator: unknown tasks {unknown}; expected some of bbox, segm.")
        metadata = MetadataCatalog.get(dataset_name)
        self._dataset_name = dataset_name
        self._tasks = tuple(tasks)
        self._output_dir = Path(output_dir) if output_dir is not None else None
        self._coco = load_coco_ground_truth(metadata)
        to_contiguous = required(metadata, "thing_dataset_id_to_contiguous_id", "instance evaluation")
        self._dataset_ids = {contiguous: dataset_id for dataset_id, contiguous in to_contiguous.items()}
        self._stuff_ids = set((getattr(metadata, "stuff_dataset_id_to_contiguous_id", None) or {}).values())
        self._groups = {
            name: [self._dataset_ids[i] for i in ids if i in self._dataset_ids]
            for name, ids in category_groups(metadata).items()
        }
        self._area_ranges = area_ranges(area_limits(metadata))
        self.reset()

    def reset(self) -> None:
        self._results: list[dict] = []
        self._done: list[int] = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Keep the instances of a batch, masks run-length encoded.

        Raises:
            ValueError: an image is not in the ground truth, or a predicted category is unknown.
        """
        for record, output in zip(inputs, outputs, strict=True):
            image_id = record["image_id"]
            if image_id not in self._coco.imgs:
                raise ValueError(
                    f"Dataset {self._dataset_name!r}: image {image_id} ({record.get('file_name', '?')}) is not in its "
                    "instance ground truth."
                )
            results = instances_to_coco_json(output["instances"].to(_CPU), image_id)
            self._results.extend(self._with_dataset_ids(results))
            self._done.append(image_id)

    def evaluate(self) -> dict | None:
        """{"bbox": ..., "segm": ...} for the tasks asked for; None on processes other than the first.

        Keys: AP, AP50, AP75, APs, APm, APl; AP_<group>, AP50_<group>; AP-<name>. Percent, nan where the ground truth
        has nothing to find. Images that were not predicted count as images with nothing found, with a warning.
        """
        comm.synchronize()
        gathered = comm.gather((self._results, self._done))
        if not comm.is_main_process():
            return None
        results = list(itertools.chain.from_iterable(results for results, _ in gathered))
        missing = len(self._coco.imgs) - len({i for _, done in gathered for i in done})
        if missing:
            logger.warning(
                "%s: %d of %d images of the ground truth were not predicted; their objects count as missed.",
                self._dataset_name,
                missing,
                len(self._coco.imgs),
            )
        if self._output_dir is not None:
            self._output_dir.mkdir(parents=True, exist_ok=True)
            (self._output_dir / "coco_instances_results.json").write_text(json.dumps(results))
        return {task: self._numbers(results, task) for task in self._tasks}

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

    def _numbers(self, results: list[dict], task: str) -> dict[str, float]:
        evaluation = run_coco_eval(self._coco, results, task, self._area_ranges)
        precision = evaluation.eval["precision"][
            ..., -1
        ]  # (IoU thresholds, recalls, categories, areas), 100 detections
        numbers = {
            "AP": _mean_precision(precision[:, :, :, 0]),
            "AP50": _mean_precision(precision[_AP50, :, :, 0]),
            "AP75": _mean_precision(precision[_AP75, :, :, 0]),
            "APs": _mean_precision(precision[:, :, :, 1]),
            "APm": _mean_precision(precision[:, :, :, 2]),
            "APl": _mean_precision(precision[:, :, :, 3]),
        }
        column = {category: i for i, category in enumerate(evaluation.params.catIds)}
        for group, ids in self._groups.items():
            columns = [column[i] for i in ids if i in column]
            numbers[f"AP_{group}"] = _mean_precision(precision[:, :, columns, 0])
            numbers[f"AP50_{group}"] = _mean_precision(precision[_AP50][:, columns, 0])
        for category, i in column.items():
            numbers[f"AP-{self._coco.cats[category]['name']}"] = _mean_precision(precision[:, :, i, 0])
        return numbers


def load_coco_ground_truth(metadata):
    """`pycocotools.coco.COCO` of the dataset's metadata `json_file`, without its prints.

    Raises:
        ValueError: the metadata has no `json_file`.
        FileNotFoundError: the file is missing.
    """
    from pycocotools.coco import COCO

    path = Path(required(metadata, "json_file", "evaluation of instances"))
    if not path.is_file():
        raise FileNotFoundError(f"Instance ground truth {path} of dataset {metadata.name!r} is missing.")
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def run_coco_eval(coco, results: list[dict], task: str, ranges: Mapping[str, tuple[float, float]]):
    """Match and accumulate with pycocotools, without its prints.

    Args:
        coco: ground truth, `pycocotools.coco.COCO`.
        results: COCO results in the dataset's category ids; may be empty.
        task: "segm" or "bbox".
        ranges: area ranges by name, "all" first.

    Returns:
        The accumulated `pycocotools.cocoeval.COCOeval`.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if task == "segm":  # with a box in the result, pycocotools would take its area for that of the mask
        results = [{key: value for key, value in result.items() if key != "bbox"} for result in results]
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
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _mean_precision(precision: np.ndarray) -> float:
    """Percent; pycocotools marks what is undefined (a category without ground truth) by -1."""
    known = precision[precision > -1]
    return 100 * float(known.mean()) if known.size else math.nan
