"""Annotation files with odd values: registration, training, evaluation and check-data read them alike."""

import contextlib
import io
import itertools
import json
import re
import tempfile
from pathlib import Path

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from detectron2.structures import Instances
from hypothesis import given, reject
from PIL import Image

from masqclip_d2 import load_config, register_instances, register_panoptic, register_semantic
from masqclip_d2.data.label_maps import id2rgb
from masqclip_d2.data.mappers import build_mapper
from masqclip_d2.data.training_loader import empty_datasets_named
from masqclip_d2.diagnostics.datasets import check_dataset
from masqclip_d2.evaluation.build import build_task_evaluator

from .answers import answered, require_answer
from .strategies import arrays, changed_json

HEIGHT, WIDTH = 24, 20
INSTANCES = {
    "images": [
        {"id": index, "file_name": f"{index}.jpg", "height": HEIGHT, "width": WIDTH} for index in (1, 2)
    ],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 8, 8], "area": 64, "iscrowd": 0,
         "segmentation": [[1, 1, 9, 1, 9, 9, 1, 9]]},
        {"id": 2, "image_id": 2, "category_id": 2, "bbox": [0, 0, 2, 20], "area": 40, "iscrowd": 1,
         "segmentation": {"size": [HEIGHT, WIDTH], "counts": [0, 20, 4, 20, 436]}},
        {"id": 3, "image_id": 2, "category_id": 1, "bbox": [5, 5, 5, 10], "area": 50,
         "segmentation": [[5, 5, 10, 5, 10, 15, 5, 15]]},
    ],
}  # fmt: skip
PANOPTIC = {
    "images": INSTANCES["images"],
    "categories": [{"id": 1, "name": "cat", "isthing": 1}, {"id": 2, "name": "grass", "isthing": 0}],
    "annotations": [
        {"image_id": index, "file_name": f"{index}.png", "segments_info": [
            {"id": 5, "category_id": 1, "area": 240, "iscrowd": 0, "bbox": [0, 0, 20, 12]},
            {"id": 300, "category_id": 2, "area": 240, "iscrowd": 0, "bbox": [0, 12, 20, 12]},
        ]}
        for index in (1, 2)
    ],
}  # fmt: skip
SEGMENTS = np.repeat([5, 300], HEIGHT * WIDTH // 2).reshape(HEIGHT, WIDTH)
NOTHING_TO_LEARN = re.compile("All annotations|has no annotations")
_numbers = itertools.count()


@contextlib.contextmanager
def dataset(register):
    """A folder with two images; `register(name, folder)` registers the dataset, which is gone afterwards."""
    name = f"fuzzed_{next(_numbers)}"
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "images").mkdir()
        for index in (1, 2):
            Image.new("RGB", (WIDTH, HEIGHT), (90, 60, 30)).save(folder / "images" / f"{index}.jpg")
        try:
            register(name, folder)
            yield name
        finally:
            if name in DatasetCatalog.list():
                DatasetCatalog.remove(name)
                MetadataCatalog.remove(name)


def used(name, mapper, prediction):
    """Train on the dataset and evaluate a prediction: the error that a user sees first, or None."""
    cfg = load_config("base/shapes", [
        "DATASETS.TRAIN", f"('{name}',)", "DATASETS.TEST", f"('{name}',)", "INPUT.DATASET_MAPPER_NAME", mapper,
        "OUTPUT_DIR", tempfile.gettempdir(),
    ])  # fmt: skip
    try:
        with empty_datasets_named("DATASETS.TRAIN", [name]):
            records = get_detection_dataset_dicts(name, filter_empty=False, check_consistency=False)
        map_record = build_mapper(cfg, is_train=True)
        inputs = [map_record(record) for record in records]
        evaluator = build_task_evaluator(mapper, name, None)
        evaluator.reset()
        for record, mapped in zip(records, inputs, strict=True):
            assert mapped["image"].shape[0] == 3
            evaluator.process([record], [prediction(record)])
        evaluator.evaluate()
    except Exception as error:
        require_answer(error)
        return error
    return None


def agrees(name, mapper, prediction):
    """What can be used passes the checks, and what cannot is found by them; so are files with nothing to learn from."""
    error = used(name, mapper, prediction)
    failed = [result for result in check_dataset(name) if not result.ok]
    if error is None and failed and all(NOTHING_TO_LEARN.search(result.message) for result in failed):
        return
    assert (error is None) == (not failed), f"use: {error!r}; checks: {failed}"


def no_instances(record):
    instances = Instances((record["height"], record["width"]))
    instances.pred_masks = torch.zeros(0, record["height"], record["width"], dtype=torch.bool)
    instances.scores, instances.pred_classes = torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    return {"instances": instances}


@given(changed_json(INSTANCES))
def test_instances(content):
    def register(name, folder):
        (folder / "instances.json").write_text(json.dumps(content))
        register_instances(name, folder / "images", folder / "instances.json")

    with answered(), dataset(register) as name:
        agrees(name, "instance", no_instances)


@given(changed_json(PANOPTIC))
def test_panoptic(content):
    def register(name, folder):
        (folder / "panoptic").mkdir()
        for index in (1, 2):
            Image.fromarray(id2rgb(SEGMENTS)).save(folder / "panoptic" / f"{index}.png")
        (folder / "panoptic.json").write_text(json.dumps(content))
        register_panoptic(name, folder / "images", folder / "panoptic.json", folder / "panoptic")

    def nothing(record):
        return {"panoptic_seg": (torch.zeros(record["height"], record["width"], dtype=torch.int32), [])}

    with answered(), dataset(register) as name:
        agrees(name, "panoptic", nothing)


SHAPES = [(HEIGHT, WIDTH), (HEIGHT, WIDTH), (HEIGHT, WIDTH, 3), (HEIGHT, WIDTH, 4), (WIDTH, HEIGHT), (1, 1)]


@given(arrays(SHAPES, ["uint8", "uint8", "bool", "uint16"]))
def test_semantic(labels):
    png = io.BytesIO()
    try:
        Image.fromarray(np.ascontiguousarray(labels)).save(png, "PNG")
    except (TypeError, ValueError, KeyError, OSError):
        reject()  # Pillow has no PNG of this type

    def register(name, folder):
        (folder / "labels").mkdir()
        for index in (1, 2):
            (folder / "labels" / f"{index}.png").write_bytes(png.getvalue())
        register_semantic(name, folder / "images", folder / "labels", "cat,dog,grass", stuff="grass")

    def first(record):
        return {"sem_seg": torch.ones(3, HEIGHT, WIDTH)}

    with answered(), dataset(register) as name:
        agrees(name, "semantic", first)
