"""Training batches are functions of seed and number: whatever the number of workers, wherever a loader starts."""

import itertools
import logging
import random

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.data.samplers import TrainingSampler
from PIL import Image

from masqclip_d2.data.mappers import build_mapper
from masqclip_d2.data.training_loader import TrainingLoader, build_training_loader
from masqclip_d2.engine.trainer import Trainer
from masqclip_d2.evaluation import check_ground_truth
from tests.helpers import tiny_config


def records(count, **sizes):
    return [{"id": index, **sizes} for index in range(count)]


def with_randomness(record):
    return record["id"], random.random(), float(np.random.rand()), float(torch.rand(()))


def loader(dataset=None, mapper=with_randomness, num_workers=0, seed=5, **arguments):
    dataset = records(7) if dataset is None else dataset
    arguments = {"batch_size": 2, "num_workers": num_workers, "seed": seed, **arguments}
    return TrainingLoader(dataset, mapper, lambda: TrainingSampler(len(dataset), seed=1), **arguments)


def take(batches, count=6):
    return list(itertools.islice(iter(batches), count))


def test_batches_depend_on_seed_and_number_alone():
    first = take(loader())
    assert take(loader(num_workers=2)) == first
    later = loader(num_workers=1)
    later.start_at(4, seed=5)
    assert take(later, 2) == first[4:]
    other = loader()
    other.start_at(0, seed=6)
    others = take(other)
    assert [[each[0] for each in batch] for batch in others] == [[each[0] for each in batch] for batch in first]
    numbers = [each[1:] for batch in first + others for each in batch]
    assert len(set(itertools.chain.from_iterable(numbers))) == 3 * len(numbers), "every sample has its own randomness"


def test_loading_leaves_the_random_states_of_the_process_unchanged():
    states = random.getstate(), torch.get_rng_state()
    take(loader())
    assert random.getstate() == states[0] and torch.equal(torch.get_rng_state(), states[1])


def test_a_mapper_may_use_the_position_itself():
    class Positions:
        def __call__(self, record):
            raise AssertionError("the position is lost")

        def map_at(self, record, seed, position):
            return seed, position

    assert take(loader(mapper=Positions()), 2) == [[(5, 0), (5, 1)], [(5, 2), (5, 3)]]


def test_a_record_that_the_mapper_turns_down_is_replaced_by_the_same_one_each_time(caplog):
    def mapper(record):
        return None if record["id"] < 5 else record["id"]

    first = take(loader(mapper=mapper), 20)
    assert {each for batch in first for each in batch} == {5, 6}
    later = loader(mapper=mapper)
    later.start_at(9, seed=5)
    assert take(later, 11) == first[9:]
    assert "The mapper returned None for 3 records in a row." in caplog.text


def test_a_mapper_that_turns_down_everything_is_an_error():
    with pytest.raises(ValueError, match=r"returned None for each of 1000 records; check INPUT.DATASET_MAPPER_NAME"):
        take(loader(mapper=lambda record: None), 1)


@pytest.mark.parametrize("with_sizes", [True, False], ids=["sizes in records", "sizes in files"])
def test_batches_of_one_orientation(with_sizes, tmp_path):
    dataset = records(9)
    for index, record in enumerate(dataset):
        width, height = (30, 20) if index % 3 else (20, 20)
        if with_sizes:
            record.update(width=width, height=height)
            continue
        record["file_name"] = str(tmp_path / f"{index}.jpg")
        exif = Image.Exif()
        exif[0x0112] = 6  # turned by 90 degrees when it is read
        Image.new("RGB", (height, width)).save(record["file_name"], exif=exif)
    grouped = take(loader(dataset, aspect_ratio_grouping=True), 12)
    wide = [[each[0] % 3 > 0 for each in batch] for batch in grouped]
    assert all(len(set(batch)) == 1 for batch in wide) and {batch[0] for batch in wide} == {True, False}
    later = loader(dataset, aspect_ratio_grouping=True, num_workers=1)
    later.start_at(5, seed=5)
    assert take(later, 7) == grouped[5:]


def test_processes_share_one_stream(monkeypatch):
    whole = take(loader(batch_size=4), 3)
    for name, module in (("get_rank", 1), ("get_world_size", 2)):
        monkeypatch.setattr(f"detectron2.utils.comm.{name}", lambda value=module: value)
    half = take(loader(), 3)
    assert half == [batch[1::2] for batch in whole]


def test_the_loader_of_a_configuration(tmp_path, mini_shapes, caplog):
    opts = ("SOLVER.IMS_PER_BATCH", "3", "DATASETS.TRAIN", "('mini_shapes_train',)", "DATALOADER.NUM_WORKERS", "0")
    built = build_training_loader(tiny_config(tmp_path, "MaskProposer", *opts, "SEED", "8"), lambda record: record)
    assert (built.seed, built.batch_size, built.num_workers) == (8, 3, 0)
    assert all(set(record) >= {"file_name", "pan_seg_file_name"} for record in take(built, 1)[0])
    with caplog.at_level(logging.INFO):
        seeds = {
            build_training_loader(tiny_config(tmp_path, "MaskProposer", *opts, "SEED", "-1"), dict).seed
            for _ in range(3)
        }
    assert len(seeds) == 3, "a negative SEED is a random one"


@pytest.mark.usefixtures("forget")
@pytest.mark.parametrize("rows", [[], [{"iscrowd": 1}], [{"iscrowd": 1}, {"segmentation": []}]])
def test_a_dataset_without_objects_is_refused_before_the_first_step(tmp_path, rows):
    from masqclip_d2 import register_instances
    from tests.original_formats import write_image, write_json

    write_image(tmp_path / "a.png", 6, 4)
    mask = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 5, 1, 5, 3, 1, 3]]}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 4, "width": 6}],
        "annotations": [{**mask, "id": number, **row} for number, row in enumerate(rows, start=1)],
        "categories": [{"id": 1, "name": "cat"}],
    }
    write_json(tmp_path / "a.json", content)
    register_instances("empty", tmp_path, tmp_path / "a.json")
    opts = ("DATASETS.TRAIN", "('empty',)", "INPUT.DATASET_MAPPER_NAME", "instance", "SOLVER.IMS_PER_BATCH", "1")
    for filter_empty, message in (
        ("True", "usable annotation|No valid data"),
        ("False", "has no object to learn from"),
    ):
        cfg = tiny_config(tmp_path, "MaskProposer", *opts, "DATALOADER.FILTER_EMPTY_ANNOTATIONS", filter_empty)
        with pytest.raises(ValueError, match=message):
            build_training_loader(cfg, build_mapper(cfg, is_train=True))


def test_no_images_are_one_sentence(tmp_path):
    if "empty_set" not in DatasetCatalog.list():
        DatasetCatalog.register("empty_set", list)
    cfg = tiny_config(tmp_path, "MaskProposer", "DATASETS.TRAIN", "('empty_set',)", "SEED", "1")
    with pytest.raises(ValueError, match="DATASETS.TRAIN empty_set: Dataset 'empty_set' is empty"):
        build_training_loader(cfg, dict)
    for use in (Trainer.build_test_loader, check_ground_truth):
        with pytest.raises(ValueError, match="DATASETS.TEST empty_set: Dataset 'empty_set' is empty"):
            use(cfg, "empty_set")
