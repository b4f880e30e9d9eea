"""Saving of predictions during an evaluation (key TEST.SAVE_PREDICTIONS), to evaluate them again without the model.

A folder holds the predictions of one run on one dataset:
    coco_instances_results.json, lvis_instances_results.json   COCO's results, in the dataset's own category ids
    predictions.json with panoptic_png/                        COCO panoptic
    sem_seg_png/                                               label maps: contiguous ids, the dataset's ignore label
                                                               for "no category"; 8 bits, or 16 if necessary
    masqclip_predictions.json                                  manifest: dataset, tasks and images; written last
`report.saved_predictions` reads it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from ..data.label_maps import IGNORE_LABEL
from ..files import save_image, save_json
from ..vocabulary import Vocabulary
from .semantic import predicted_labels

MANIFEST = "masqclip_predictions.json"
SEMANTIC_FOLDER = "sem_seg_png"
SAVED_TASKS = ("panoptic", "semantic", "instance")


@dataclass(frozen=True)
class Origin:
    """Configuration, seed and weights of a run.

    Args:
        config: the whole configuration as YAML text.
        seed: cfg.SEED; negative means not fixed.
        weights: cfg.MODEL.WEIGHTS.
    """

    config: str = ""
    seed: int | None = None
    weights: str = ""

    @classmethod
    def from_config(cls, cfg: Any) -> Origin:
        return cls(cfg.dump(), cfg.SEED, cfg.MODEL.WEIGHTS)


class PredictionRecorder(DatasetEvaluator):
    """Writes label maps and the manifest, which the other evaluators of a dataset do not write.

    It has no metrics. It must be the last of the evaluators, so that a folder with a manifest is complete.

    Args:
        dataset_name: a registered dataset.
        output_dir: the folder; a manifest of an earlier run there is removed when the evaluation starts.
        tasks: which of `SAVED_TASKS` the evaluators before it write, and "semantic" for label maps.
        origin: of the run.
    """

    def __init__(self, dataset_name: str, output_dir: str | Path, tasks: Collection[str], origin: Origin) -> None:
        metadata = MetadataCatalog.get(dataset_name)
        self._dataset_name = dataset_name
        self._folder = Path(output_dir)
        self._tasks = tuple(task for task in SAVED_TASKS if task in tasks)
        self._categories = Vocabulary.from_metadata(metadata).names
        ignore_label = int(getattr(metadata, "ignore_label", IGNORE_LABEL))
        self._label_type = np.uint8 if ignore_label <= np.iinfo(np.uint8).max else np.uint16
        self._origin = origin
        self._images: list[dict[str, Any]] = []

    def reset(self) -> None:
        self._images = []
        if comm.is_main_process():
            (self._folder / MANIFEST).unlink(missing_ok=True)

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Write the label maps of a batch."""
        for record, output in zip(inputs, outputs, strict=True):
            image = {"image_id": image_id_of(record), "file_name": record["file_name"]}
            if "semantic" in self._tasks:
                image["sem_seg"] = f"{quote(str(image['image_id']), safe='')}.png"
                labels = predicted_labels(output).astype(self._label_type)
                save_image(self._folder / SEMANTIC_FOLDER / image["sem_seg"], labels)
            self._images.append(image)

    def evaluate(self) -> dict | None:
        """Write the manifest and return {}; None on processes other than the first."""
        comm.synchronize()
        gathered = comm.gather(self._images)
        if not comm.is_main_process():
            return None
        content = {
            "dataset": self._dataset_name,
            "tasks": self._tasks,
            "categories": self._categories,
            "images": [image for images in gathered for image in images],
            "origin": asdict(self._origin),
        }
        save_json(self._folder / MANIFEST, content)
        return {}


def image_id_of(record: Mapping[str, Any]) -> Any:
    """The id of an image in its dataset: `image_id`, else `file_name`."""
    return record.get("image_id", record["file_name"])
