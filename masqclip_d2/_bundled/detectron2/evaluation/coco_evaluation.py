"""COCO's average precision of boxes and masks, through pycocotools."""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import json
import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.data.datasets.coco import convert_to_coco_json
from detectron2.structures import BoxMode, Instances
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import create_small_table

from .evaluator import DatasetEvaluator

if TYPE_CHECKING:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

_logger = logging.getLogger(__name__)
_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")  # the first six of COCOeval.stats
_DEFAULT_MAX_DETS = 100


class COCOEvaluator(DatasetEvaluator):
    """Average precision of `instances` on a dataset in COCO format, or on one that can be converted to it.

    `process` needs "image_id" in each input, and "instances" in each output: `pred_boxes`, `scores`, `pred_classes`
    (contiguous ids), and `pred_masks` (N, H, W) for the task "segm".

    Args:
        tasks: of "bbox" and "segm"; None = "bbox", and "segm" if any prediction has a mask.
        distributed: collect the predictions of all processes; else each process evaluates its predictions alone.
        output_dir: gets instances_predictions.pth and coco_instances_results.json; required for datasets without
            `json_file` in their metadata, whose annotations are converted to a file there.
        max_dets_per_image: predictions per image that count; None = 100.
        use_fast_impl: accepted for compatibility; pycocotools is the only implementation.
        kpt_oks_sigmas: must be empty: keypoints are not in the bundled detectron2.
        allow_cached_coco: reuse annotations converted by an earlier run.
    """

    def __init__(
        self,
        dataset_name: str,
        tasks: Sequence[str] | None = None,
        distributed: bool = True,
        output_dir: str | None = None,
        *,
        max_dets_per_image: int | None = None,
        use_fast_impl: bool = True,
        kpt_oks_sigmas: Sequence[float] = (),
        allow_cached_coco: bool = True,
    ) -> None:
        from pycocotools.coco import COCO

        unknown = set(tasks or ()) - {"bbox", "segm"}
        if unknown or kpt_oks_sigmas:
            raise ValueError(
                f"Tasks {sorted(unknown) or ['keypoints']} are not in the bundled detectron2; use bbox, segm."
            )
        self._tasks = tasks
        self._distributed = distributed
        self._output_dir = output_dir
        self._max_dets_per_image = max_dets_per_image
        self._metadata = MetadataCatalog.get(dataset_name)
        if not hasattr(self._metadata, "json_file"):
            if output_dir is None:
                raise ValueError(
                    f"{dataset_name} has no json_file; pass output_dir, for its annotations in COCO format."
                )
            path = os.path.join(output_dir, f"{dataset_name}_coco_format.json")
            convert_to_coco_json(dataset_name, path, allow_cached=allow_cached_coco)
            self._metadata.json_file = path
        with contextlib.redirect_stdout(io.StringIO()):
            self._coco_gt = COCO(PathManager.get_local_path(self._metadata.json_file))
        self._has_annotations = "annotations" in self._coco_gt.dataset
        self._predictions: list[dict] = []

    def reset(self) -> None:
        self._predictions = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        for input, output in zip(inputs, outputs, strict=True):
            if "proposals" in output:
                raise ValueError("Box proposals are not evaluated by the bundled detectron2; remove 'proposals'.")
            if "instances" in output:
                instances = output["instances"].to(torch.device("cpu"))
                image_id = input["image_id"]
                self._predictions.append(
                    {"image_id": image_id, "instances": instances_to_coco_json(instances, image_id)}
                )

    def evaluate(self, img_ids: Sequence[int] | None = None) -> dict[str, dict[str, float]]:
        """Return task -> metric -> percent, nan if undefined; {} without predictions, and on ranks other than 0.

        Args:
            img_ids: evaluate these images only; None = all images of the dataset.
        """
        predictions = self._predictions
        if self._distributed:
            predictions = list(itertools.chain.from_iterable(comm.gather(predictions)))
            if not comm.is_main_process():
                return {}
        if not predictions:
            _logger.warning("COCOEvaluator got no predictions.")
            return {}
        if self._output_dir:
            PathManager.mkdirs(self._output_dir)
            with PathManager.open(os.path.join(self._output_dir, "instances_predictions.pth"), "wb") as f:
                torch.save(predictions, f)
        results = list(itertools.chain.from_iterable(prediction["instances"] for prediction in predictions))
        has_masks = any("segmentation" in result for result in results)
        tasks = self._tasks or (("bbox", "segm") if has_masks else ("bbox",))
        results = self._with_dataset_ids(results)
        if self._output_dir:
            with PathManager.open(os.path.join(self._output_dir, "coco_instances_results.json"), "w") as f:
                json.dump(results, f)
        if not self._has_annotations:
            _logger.info("The dataset has no annotations; no metrics are computed.")
            return {}
        return {task: self._evaluate_task(task, results, img_ids) for task in tasks}

    def _with_dataset_ids(self, results: list[dict]) -> list[dict]:
        """Replace contiguous category ids by those of the dataset's JSON."""
        to_contiguous = getattr(self._metadata, "thing_dataset_id_to_contiguous_id", None)
        if to_contiguous is None:
            return results
        num_classes = len(to_contiguous)
        assert sorted(to_contiguous.values()) == list(range(num_classes)), (
            f"The contiguous ids of {self._metadata.name} are not 0 to {num_classes - 1}: {to_contiguous}."
        )
        to_dataset = {contiguous: dataset_id for dataset_id, contiguous in to_contiguous.items()}
        largest = max((result["category_id"] for result in results), default=0)
        assert largest < num_classes, (
            f"A prediction has class {largest}, but {self._metadata.name} has only {num_classes} classes."
        )
        return [{**result, "category_id": to_dataset[result["category_id"]]} for result in results]

    def _evaluate_task(self, task: str, results: list[dict], img_ids: Sequence[int] | None) -> dict[str, float]:
        coco_eval = None
        if results:
            coco_eval = _evaluate_predictions_on_coco(
                self._coco_gt, results, task, img_ids=img_ids, max_dets_per_image=self._max_dets_per_image
            )
        return _metrics(coco_eval, task, getattr(self._metadata, "thing_classes", ()))


def instances_to_coco_json(instances: Instances, img_id: int) -> list[dict]:
    """Convert predictions of one image (CPU) to COCO's result format; category ids are unchanged.

    Returns:
        Per instance: image_id, category_id, bbox [x, y, width, height], score, and segmentation (RLE) if the instances
        have `pred_masks`.
    """
    if len(instances) == 0:
        return []
    boxes = BoxMode.convert(instances.pred_boxes.tensor, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS).tolist()
    results = [
        {"image_id": img_id, "category_id": category_id, "bbox": box, "score": score}
        for category_id, box, score in zip(
            instances.pred_classes.tolist(), boxes, instances.scores.tolist(), strict=True
        )
    ]
    if instances.has("pred_masks"):
        from pycocotools import mask as mask_util

        for result, mask in zip(results, instances.pred_masks, strict=True):
            rle: Any = mask_util.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
            rle["counts"] = rle["counts"].decode("ascii")  # JSON has no bytes
            result["segmentation"] = rle
    return results


def _evaluate_predictions_on_coco(
    coco_gt: COCO,
    coco_results: Any,
    iou_type: str,
    kpt_oks_sigmas: Sequence[float] | None = None,
    cocoeval_fn: type[COCOeval] | None = None,
    img_ids: Sequence[int] | None = None,
    max_dets_per_image: Sequence[int] | int | None = None,
) -> COCOeval:
    """Run COCO's evaluation and its summary.

    Args:
        coco_results: in COCO's result format, at least one.
        iou_type: "bbox" or "segm"; for "segm", areas come from the masks.
        cocoeval_fn: the class to use; None = pycocotools.
        max_dets_per_image: the largest number of predictions per image, or three limits; None = [1, 10, 100].
    """
    from pycocotools.cocoeval import COCOeval

    if iou_type not in ("bbox", "segm") or kpt_oks_sigmas:
        raise ValueError(
            f"iou_type {iou_type!r} with keypoint sigmas {kpt_oks_sigmas}; expected bbox or segm, and none."
        )
    assert coco_results, "There are no results to evaluate."
    if iou_type == "segm":
        # pycocotools computes areas (small, medium, large objects) from boxes if there are any.
        coco_results = [{key: value for key, value in each.items() if key != "bbox"} for each in coco_results]
    if max_dets_per_image is None:
        max_dets = [1, 10, _DEFAULT_MAX_DETS]
    elif isinstance(max_dets_per_image, int):
        max_dets = [1, 10, max_dets_per_image]
    else:
        max_dets = list(max_dets_per_image)

    # pycocotools adds keys to the results.
    coco_dt = coco_gt.loadRes(copy.deepcopy(coco_results))
    coco_eval = (cocoeval_fn or COCOeval)(coco_gt, coco_dt, iou_type)
    coco_eval.params.maxDets = max_dets
    if img_ids is not None:
        coco_eval.params.imgIds = list(img_ids)
    coco_eval.evaluate()
    coco_eval.accumulate()
    coco_eval.summarize()
    if max_dets[2] != _DEFAULT_MAX_DETS:
        # The summary's AP is always that of 100 predictions per image; without that limit it is -1.
        coco_eval.stats[0] = _mean_of_valid(coco_eval.eval["precision"][..., 0, -1])
    return coco_eval


def _mean_of_valid(values: np.ndarray) -> float:
    """Mean of the defined values; -1, as in pycocotools, if there are none."""
    valid = values[values > -1]
    return float(valid.mean()) if valid.size else -1.0


def _metrics(coco_eval: COCOeval | None, task: str, class_names: Sequence[str]) -> dict[str, float]:
    """The summary metrics and, for more than one class, "AP-<class>", in percent."""
    if coco_eval is None:
        _logger.warning("No predictions for %s: all its metrics are nan.", task)
        return dict.fromkeys(_METRICS, float("nan"))
    metrics = {name: _percent(value) for name, value in zip(_METRICS, coco_eval.stats, strict=False)}
    _logger.info("Evaluation results for %s:\n%s", task, create_small_table(metrics))
    if len(class_names) > 1:
        precision = coco_eval.eval["precision"]  # (IoU thresholds, recall thresholds, K, areas, detection limits)
        assert precision.shape[2] == len(class_names), (
            f"{precision.shape[2]} categories in the annotations, {len(class_names)} in the metadata."
        )
        per_class = {
            f"AP-{name}": _percent(_mean_of_valid(precision[:, :, index, 0, -1]))
            for index, name in enumerate(class_names)
        }
        _logger.info("AP per class for %s:\n%s", task, create_small_table(per_class))
        metrics.update(per_class)
    return metrics


def _percent(value: float) -> float:
    return float(value) * 100 if value >= 0 else float("nan")
