"""Predictions on disk, so that an evaluation can be repeated without the model (key TEST.SAVE_PREDICTIONS).

A folder holds the predictions of one run on one dataset:
    coco_instances_results.json, lvis_instances_results.json   COCO's results, in the dataset's own category ids
    predictions.json with panoptic_png/                        COCO panoptic
    sem_seg_png/                                               label maps: contiguous ids, the dataset's ignore label
                                                               for "no category"; 8 bits, 16 where that needs them
    masqclip_predictions.json                                  which dataset, tasks and images; written last
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from ...data.label_maps import IGNORE_LABEL
from ...files import save_image, save_json
from ...vocabulary import Vocabulary
from ..semantic import predicted_labels

MANIFEST = "masqclip_predictions.json"
SEMANTIC_FOLDER = "sem_seg_png"
SAVED_TASKS = ("panoptic", "semantic", "instance")

_AGAIN = "evaluate the model again with TEST.SAVE_PREDICTIONS True"


@dataclass(frozen=True)
class Origin:
    """Where numbers come from.

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


@dataclass(frozen=True)
class Predictions:
    """What `MANIFEST` says of a folder.

    Args:
        folder: where it lies.
        dataset: name of the dataset.
        tasks: some of `SAVED_TASKS`.
        categories: the dataset's words at the time, by contiguous id.
        images: one dict per predicted image, in the order of prediction: image_id, file_name, and `sem_seg`, the file
            of its label map below `SEMANTIC_FOLDER`, where that was predicted.
        origin: of the run.
    """

    folder: Path
    dataset: str
    tasks: tuple[str, ...]
    categories: tuple[str, ...]
    images: tuple[Mapping[str, Any], ...]
    origin: Origin


class PredictionRecorder(DatasetEvaluator):
    """Writes what the evaluators of a dataset do not write themselves: label maps, and last of all the manifest.

    It has no numbers, and must come after the other evaluators, so that a folder with a manifest is whole.

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
        """{} when the manifest is written; None on processes other than the first."""
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
    """What tells the images of a dataset apart: `image_id`, else `file_name`."""
    return record.get("image_id", record["file_name"])


def prediction_folders(path: str | Path) -> list[Path]:
    """The folders of predictions at a path: itself, or those of a run's output folder (inference/<dataset>).

    Raises:
        FileNotFoundError: there is no such folder, or no predictions in it.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"There is no folder {path} of predictions.")
    if (path / MANIFEST).is_file():
        return [path]
    found = sorted(manifest.parent for manifest in path.glob(f"inference/*/{MANIFEST}"))
    if not found:
        raise FileNotFoundError(
            f"{path} holds no finished predictions (no {MANIFEST}, nor below inference/): they were not saved, or the "
            f"evaluation was broken off; {_AGAIN}."
        )
    return found


def read_predictions(folder: str | Path) -> Predictions:
    """Read the manifest of a folder, and look whether all that it names is there.

    Raises:
        FileNotFoundError: the manifest or another file is missing.
        ValueError: the manifest is damaged.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {MANIFEST}, so its predictions are not finished; {_AGAIN}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        predictions = Predictions(
            folder,
            content["dataset"],
            tuple(content["tasks"]),
            tuple(content["categories"]),
            tuple(content["images"]),
            Origin(**content["origin"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); {_AGAIN}.") from None
    missing = [file for file in _files(predictions) if not (folder / file).is_file()]
    if missing:
        raise FileNotFoundError(
            f"The predictions in {folder} are not whole: {len(missing)} files are missing, {missing[0]} among them; "
            f"{_AGAIN}."
        )
    return predictions


def _files(predictions: Predictions) -> list[str]:
    """Names below the folder; of the files with instances, that of the dataset's own kind is known to its evaluator."""
    files = []
    if "semantic" in predictions.tasks:
        files += [f"{SEMANTIC_FOLDER}/{image['sem_seg']}" for image in predictions.images]
    if "panoptic" in predictions.tasks:
        files.append("predictions.json")
    return files
