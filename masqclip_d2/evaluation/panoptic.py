"""Evaluator of panoptic quality on a Detectron2 dataset; the rules are in `panoptic_quality`.

Shape shorthand: H x W pixels.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from ..data.annotation_files import require_entries, segments_of
from ..data.label_maps import LabelledImage, id2rgb
from ..data.panoptic_labels import LeftOut, read_panoptic_labels
from ..data.registration.image_folders import path_below
from ..files import FAST_PNG
from .dataset_metadata import category_groups, required, warn_of_left_out
from .panoptic_quality import PanopticQuality

logger = logging.getLogger(__name__)


class PanopticEvaluator(DatasetEvaluator):
    """PQ, SQ and RQ in percent: over all categories, things, stuff, and the groups of the dataset.

    Reads `outputs["panoptic_seg"]` = ((H, W) integer segment ids, 0 = none; list of dicts with `id`, `category_id` and
    `isthing`). `category_id` is contiguous; an entry without `isthing` has the dataset's own id (as in Detectron2).
    Inputs need `image_id`. Metadata: `panoptic_json`, `panoptic_root`, `thing_dataset_id_to_contiguous_id`,
    `stuff_dataset_id_to_contiguous_id`, and the vocabulary's groups for metrics such as PQ_base.

    Args:
        dataset_name: a registered dataset.
        output_dir: where predictions.json and the folder panoptic_png/ are written if `write_predictions`.
        write_predictions: write the predictions (COCO panoptic format).

    Raises:
        ValueError: metadata is missing.
        FileNotFoundError: the ground truth is missing.
    """

    def __init__(self, dataset_name: str, output_dir: str | None = None, write_predictions: bool = False) -> None:
        self._output_dir: Path | None = None
        if write_predictions:
            if output_dir is None:
                raise ValueError("PanopticEvaluator: write_predictions needs an output_dir.")
            self._output_dir = Path(output_dir)
        metadata = MetadataCatalog.get(dataset_name)
        self._dataset_name = dataset_name
        self._gt_root = Path(required(metadata, "panoptic_root", "panoptic evaluation"))
        path = Path(required(metadata, "panoptic_json", "panoptic evaluation"))
        if not path.is_file():
            raise FileNotFoundError(f"Panoptic ground truth {path} of dataset {dataset_name!r} is missing.")
        self._dataset_ids = {
            True: _inverse(required(metadata, "thing_dataset_id_to_contiguous_id", "panoptic evaluation")),
            False: _inverse(required(metadata, "stuff_dataset_id_to_contiguous_id", "panoptic evaluation")),
        }
        segments = segments_of(metadata.as_dict())
        segments.report.log()
        gt = segments.content
        require_entries(gt["categories"], ("isthing",), f"{path}: category")
        self._gt = {annotation["image_id"]: annotation for annotation in gt["annotations"]}
        self._images = [image for image in gt["images"] if image["id"] in self._gt]
        self._categories = {category["id"]: category for category in gt["categories"]}
        every_id = {**self._dataset_ids[False], **self._dataset_ids[True]}
        self._groups = {name: [every_id[i] for i in ids] for name, ids in category_groups(metadata).items()}
        self.reset()

    def reset(self) -> None:
        self._quality = PanopticQuality(self._categories)
        self._done: list[Any] = []
        self._predictions: list[dict] = []
        self._left_out = LeftOut()

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Match the segments of a batch.

        Raises:
            ValueError: an image or category is unknown, or segment ids and map disagree.
        """
        for record, output in zip(inputs, outputs, strict=True):
            annotation = self._gt.get(record["image_id"])
            if annotation is None:
                raise ValueError(
                    f"Dataset {self._dataset_name!r}: image {record['image_id']} ({record.get('file_name', '?')}) has "
                    "no panoptic ground truth."
                )
            segment_ids, segments = output["panoptic_seg"]
            segment_ids = np.asarray(segment_ids.cpu() if isinstance(segment_ids, torch.Tensor) else segment_ids)
            name = f"image {record['image_id']} ({annotation['file_name']})"
            segments = [self._with_dataset_id(segment, name) for segment in segments]
            path = path_below(str(self._gt_root), annotation["file_name"])
            image = LabelledImage.from_record(record)
            gt = read_panoptic_labels(path, annotation["segments_info"], image, annotation["ignored_segment_ids"])
            self._left_out.add(gt, path)
            self._quality.add_image(gt.ids, gt.segments, segment_ids, segments, name)
            self._done.append(record["image_id"])
            if self._output_dir is not None:
                _write_png(self._output_dir / "panoptic_png" / annotation["file_name"], segment_ids)
                self._predictions.append(
                    {"image_id": record["image_id"], "file_name": annotation["file_name"], "segments_info": segments}
                )

    def evaluate(self) -> dict | None:
        """{"panoptic_seg": metrics in percent, nan where undefined}; None on processes other than the first.

        A warning says what was left out of the ground truth.

        Keys: PQ, SQ, RQ; the same with _th (things), _st (stuff), _<group>; PQ-<name> of each category that occurs.

        Raises:
            ValueError: a ground-truth image has no prediction, or one image has two.
        """
        comm.synchronize()
        gathered = comm.gather((self._quality.state(), self._done, self._predictions, self._left_out))
        if not comm.is_main_process():
            return None
        quality = PanopticQuality(self._categories)
        for state, *_ in gathered:
            quality.merge(state)
        self._check_complete([image_id for _, done, *_ in gathered for image_id in done])
        if self._output_dir is not None:
            self._write_json(
                self._output_dir / "predictions.json",
                [prediction for _, _, predictions, _ in gathered for prediction in predictions],
            )
        warn_of_left_out(self._dataset_name, [left_out for *_, left_out in gathered])
        return {"panoptic_seg": self._metrics(quality)}

    def _metrics(self, quality: PanopticQuality) -> dict[str, float]:
        groups = {
            "": list(self._categories),
            "_th": [i for i, category in self._categories.items() if category["isthing"] == 1],
            "_st": [i for i, category in self._categories.items() if category["isthing"] != 1],
            **{f"_{name}": ids for name, ids in self._groups.items()},
        }
        metrics = {}
        for suffix, ids in groups.items():
            means = quality.result(ids)
            metrics.update({f"{key.upper()}{suffix}": 100 * means[key] for key in ("pq", "sq", "rq")})
        for category, values in quality.per_category().items():
            metrics[f"PQ-{self._categories[category]['name']}"] = 100 * values["pq"]
        return metrics

    def _with_dataset_id(self, segment: dict, name: str) -> dict:
        """Copy of a predicted segment with the dataset's own category id, as Python integers (for JSON)."""
        category = int(segment["category_id"])
        if "isthing" in segment:
            ids = self._dataset_ids[bool(segment["isthing"])]
            if category not in ids:
                kind = "thing" if segment["isthing"] else "stuff"
                raise ValueError(
                    f"{name}, prediction: segment {segment['id']} is {kind} of contiguous category {category}, which "
                    f"dataset {self._dataset_name!r} does not have; is the model's vocabulary that of the dataset?"
                )
            category = ids[category]
        return {"id": int(segment["id"]), "category_id": category}

    def _check_complete(self, done: list) -> None:
        missing = [i for i in self._gt if i not in set(done)]
        if missing:
            raise ValueError(
                f"Dataset {self._dataset_name!r}: no prediction for {len(missing)} of {len(self._gt)} ground-truth "
                f"images: {', '.join(str(i) for i in missing[:5])}{', ...' if len(missing) > 5 else ''}."
            )
        if len(done) != len(set(done)):
            twice = sorted({i for i in done if done.count(i) > 1}, key=str)
            raise ValueError(f"Dataset {self._dataset_name!r}: images {twice[:5]} were predicted more than once.")

    def _write_json(self, path: Path, predictions: list[dict]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "images": self._images,
            "annotations": predictions,
            "categories": list(self._categories.values()),
        }
        path.write_text(json.dumps(content))
        logger.info("Panoptic predictions of %s: %s", self._dataset_name, path)


def _inverse(mapping: dict[int, int]) -> dict[int, int]:
    return {contiguous: dataset_id for dataset_id, contiguous in mapping.items()}


def _write_png(path: Path, segment_ids: np.ndarray) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(id2rgb(segment_ids)).save(path, compress_level=FAST_PNG)
