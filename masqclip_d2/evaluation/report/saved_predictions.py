"""Reading of saved predictions; their format: `evaluation.prediction_recorder`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...json_data import read_json
from ..prediction_recorder import MANIFEST, SAVED_TASKS, SEMANTIC_FOLDER, Origin

EVALUATE_AGAIN = "evaluate the model again with TEST.SAVE_PREDICTIONS True"


@dataclass(frozen=True)
class Predictions:
    """Content of the manifest of a folder.

    Args:
        folder: that was read.
        dataset: name of the dataset.
        tasks: some of `SAVED_TASKS`.
        categories: the dataset's category names when they were saved, by contiguous id.
        images: one dict per predicted image, in the order of prediction: image_id, file_name, and `sem_seg`, the file
            of its label map below `SEMANTIC_FOLDER`, if that was predicted.
        origin: of the run.
        file: the results or segments of another program; None: those of this one in `folder`.
        png_folder: of label maps or of `file`; None: those of this program in `folder`.
    """

    folder: Path
    dataset: str
    tasks: tuple[str, ...]
    categories: tuple[str, ...]
    images: tuple[Mapping[str, Any], ...]
    origin: Origin
    file: Path | None = None
    png_folder: Path | None = None


def prediction_folders(path: str | Path) -> list[Path]:
    """The folders of predictions at a path: the path itself, or those of a run's output folder (inference/<dataset>).

    Raises:
        FileNotFoundError: there is no such folder, or no predictions in it.
        ValueError: it is a file.
    """
    path = Path(path)
    if not path.is_dir():
        if path.is_file():
            raise ValueError(f"{path} is a file of predictions; pass --dataset NAME, of the dataset that they are of.")
        raise FileNotFoundError(f"There is no folder {path} of predictions.")
    if (path / MANIFEST).is_file():
        return [path]
    found = sorted(manifest.parent for manifest in path.glob(f"inference/*/{MANIFEST}"))
    if not found:
        raise FileNotFoundError(
            f"{path} has no complete predictions (no {MANIFEST}, nor below inference/): they were not saved, or the "
            f"evaluation was interrupted; {EVALUATE_AGAIN}. For predictions of another program pass --dataset NAME."
        )
    return found


def read_predictions(folder: str | Path) -> Predictions:
    """Read the manifest of a folder and check that the files it names exist.

    Raises:
        FileNotFoundError: the manifest or another file is missing.
        ValueError: the manifest is damaged.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {MANIFEST}, so its predictions are incomplete; {EVALUATE_AGAIN}.")
    content = read_json(path)
    try:
        predictions = Predictions(
            folder,
            content["dataset"],
            tuple(content["tasks"]),
            tuple(content["categories"]),
            tuple(content["images"]),
            Origin(**content["origin"]),
        )
    except KeyError as error:
        raise ValueError(f"{path} is damaged: it has no {error}; {EVALUATE_AGAIN}.") from None
    except TypeError as error:
        raise ValueError(f"{path} is damaged ({error}); {EVALUATE_AGAIN}.") from None
    if fault := _fault(predictions):
        raise ValueError(f"{path} is damaged: {fault}; {EVALUATE_AGAIN}.")
    missing = [file for file in _files(predictions) if not (folder / file).is_file()]
    if missing:
        raise FileNotFoundError(
            f"The predictions in {folder} are incomplete: {len(missing)} files are missing, {missing[0]} among them; "
            f"{EVALUATE_AGAIN}."
        )
    return predictions


def _fault(predictions: Predictions) -> str:
    """What is wrong with the values of a manifest; "" if nothing is."""
    if not isinstance(predictions.dataset, str):
        return "'dataset' is no name"
    if not predictions.tasks or not set(map(str, predictions.tasks)) <= set(SAVED_TASKS):
        return f"'tasks' must be some of {', '.join(SAVED_TASKS)}"
    required = ("image_id", "sem_seg") if "semantic" in predictions.tasks else ("image_id",)
    for image in predictions.images:
        if not isinstance(image, Mapping) or any(not isinstance(image.get(key), (str, int)) for key in required):
            return f"an entry of 'images' has no {' or '.join(required)}"
    ids = [image["image_id"] for image in predictions.images]
    return "'images' has an image twice" if len(set(ids)) < len(ids) else ""


def _files(predictions: Predictions) -> list[str]:
    """Required files below the folder; those of instances depend on the dataset and are left to its evaluator."""
    files = []
    if "semantic" in predictions.tasks:
        files += [f"{SEMANTIC_FOLDER}/{image['sem_seg']}" for image in predictions.images]
    if "panoptic" in predictions.tasks:
        files.append("predictions.json")
    return files
