"""detectron2.data.build and detectron2.data.common: from dataset dicts to batches."""

import masqclip_d2  # noqa: F401  isort: skip
import itertools
import random

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import (
    DatasetCatalog,
    DatasetFromList,
    MapDataset,
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.data.common import AspectRatioGroupedDataset, ToIterableDataset
from detectron2.data.samplers import TrainingSampler
from detectron2.utils import comm

# 12 images, alternately landscape and portrait.
DICTS = [{"id": i, "width": 20 if i % 2 else 10, "height": 15} for i in range(12)]


def ids(batch):
    return [item["id"] for item in batch]


def batches(loader, n):
    return [ids(batch) for batch in itertools.islice(iter(loader), n)]


def same(item):
    return item


def train_loader(**kwargs):
    arguments = {"mapper": same, "sampler": TrainingSampler(12, shuffle=False, seed=0), "total_batch_size": 3}
    return build_detection_train_loader(DICTS, **{**arguments, **kwargs})


@pytest.mark.parametrize("num_workers", [0, 2])
def test_train_batches_do_not_depend_on_workers(num_workers):
    loader = train_loader(aspect_ratio_grouping=False, num_workers=num_workers)
    expected = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11], [0, 1, 2]]
    assert batches(loader, 5) == expected


@pytest.mark.parametrize("num_workers", [0, 2])
def test_aspect_ratio_grouping(num_workers):
    loader = train_loader(num_workers=num_workers)
    assert isinstance(loader, AspectRatioGroupedDataset)
    found = batches(loader, 4)
    assert sorted(sum(found, [])) == list(range(12)), "nothing is lost or repeated"
    for batch in found:
        assert len({i % 2 for i in batch}) == 1
    if num_workers == 0:
        assert found == [[0, 2, 4], [1, 3, 5], [6, 8, 10], [7, 9, 11]]


def test_loader_arguments_are_passed_to_torch():
    loader = train_loader(
        aspect_ratio_grouping=False, num_workers=2, prefetch_factor=3, persistent_workers=True, collate_fn=ids
    )
    assert (loader.prefetch_factor, loader.persistent_workers) == (3, True)
    assert next(iter(loader)) == [0, 1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_lambdas_work_in_spawned_workers(context):
    loader = train_loader(
        mapper=lambda d: {**d, "id": -d["id"]},
        aspect_ratio_grouping=False,
        num_workers=1,
        multiprocessing_context=context,
    )
    assert batches(loader, 1) == [[0, -1, -2]]


def test_batch_size_is_shared_by_processes(monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 3)
    monkeypatch.setattr("detectron2.data.build.get_world_size", lambda: 3, raising=False)  # the name in the real one
    monkeypatch.setattr(comm, "get_rank", lambda: 1)
    loader = train_loader(total_batch_size=6, aspect_ratio_grouping=False)
    assert batches(loader, 2) == [[1, 4], [7, 10]]
    with pytest.raises(AssertionError, match="divisible"):
        train_loader(total_batch_size=4)


def draw(item):
    return {"id": item["id"], "numbers": (random.random(), float(np.random.rand()), float(torch.rand(())))}


def test_workers_have_different_random_numbers():
    loader = train_loader(mapper=draw, aspect_ratio_grouping=False, num_workers=2)
    numbers = [d["numbers"] for batch in itertools.islice(iter(loader), 4) for d in batch]
    for column in zip(*numbers, strict=True):
        assert len(set(column)) == 12


def test_train_loader_without_sampler_covers_everything():
    loader = build_detection_train_loader(DICTS, mapper=None, total_batch_size=4, aspect_ratio_grouping=False)
    assert sorted(sum(batches(loader, 3), [])) == list(range(12))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_test_loader_keeps_order(num_workers):
    loader = build_detection_test_loader(DICTS[:7], mapper=same, num_workers=num_workers)
    assert len(loader) == 7 and batches(loader, 99) == [[i] for i in range(7)]
    loader = build_detection_test_loader(DICTS[:7], mapper=same, num_workers=num_workers, batch_size=3)
    assert len(loader) == 3 and batches(loader, 99) == [[0, 1, 2], [3, 4, 5], [6]]


class TestFromConfig:
    @pytest.fixture
    def cfg(self, synthetic_coco, dataset_name):
        from detectron2.data.datasets import register_coco_instances

        register_coco_instances(dataset_name, {}, synthetic_coco.instances_json, synthetic_coco.image_root)
        cfg = get_cfg()
        cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (dataset_name,)
        cfg.DATALOADER.NUM_WORKERS = 0
        cfg.SOLVER.IMS_PER_BATCH = 2
        cfg.INPUT.MIN_SIZE_TRAIN = (24,)
        cfg.INPUT.MIN_SIZE_TEST = 24
        return cfg

    def test_train(self, cfg):
        found = list(itertools.islice(iter(build_detection_train_loader(cfg)), 6))
        assert all(len(batch) == 2 for batch in found)
        assert {d["image_id"] for batch in found for d in batch} == {3, 7, 20, 40}, "crowd only and empty images go"
        for batch in found:
            assert len({d["width"] > d["height"] for d in batch}) == 1
            assert all(min(d["image"].shape[1:]) == 24 and d["instances"].has("gt_boxes") for d in batch)

    def test_own_mapper_and_unfiltered(self, cfg):
        cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
        cfg.DATALOADER.ASPECT_RATIO_GROUPING = False
        loader = build_detection_train_loader(cfg, mapper=lambda d: {"id": d["image_id"]})
        assert sorted(sum(batches(loader, 3), [])) == [3, 7, 12, 20, 31, 40]

    def test_unknown_sampler(self, cfg):
        cfg.DATALOADER.SAMPLER_TRAIN = "NoSuchSampler"
        with pytest.raises(ValueError, match="NoSuchSampler"):
            build_detection_train_loader(cfg)

    def test_test(self, cfg, dataset_name):
        loader = build_detection_test_loader(cfg, dataset_name)
        assert [d["image_id"] for batch in loader for d in batch] == [3, 7, 12, 20, 31, 40]
        assert len(loader) == 6


class TestGetDatasetDicts:
    def register(self, name, dicts, **metadata):
        DatasetCatalog.register(name, lambda: dicts)
        MetadataCatalog.get(name).set(**metadata)

    @pytest.fixture
    def second_name(self):
        yield "contract_dataset_2"
        for catalog in (DatasetCatalog, MetadataCatalog):
            catalog.pop("contract_dataset_2", None)

    def test_filter(self, dataset_name):
        keep = {"annotations": [{"iscrowd": 1, "category_id": 0}, {"category_id": 0}]}
        crowd = {"annotations": [{"iscrowd": 1, "category_id": 0}]}
        empty = {"annotations": []}
        self.register(dataset_name, [crowd, keep, empty], thing_classes=["a"])
        assert get_detection_dataset_dicts(dataset_name) == [keep]
        assert get_detection_dataset_dicts([dataset_name], filter_empty=False) == [crowd, keep, empty]

    def test_dicts_without_annotations_stay(self, dataset_name):
        self.register(dataset_name, [{"file_name": "a"}])
        assert get_detection_dataset_dicts(dataset_name) == [{"file_name": "a"}]

    def test_several(self, dataset_name, second_name):
        one = {"annotations": [{"category_id": 0}]}
        self.register(dataset_name, [one], thing_classes=["a"])
        self.register(second_name, [one, one], thing_classes=["b"])
        with pytest.raises(ValueError, match="thing_classes"):
            get_detection_dataset_dicts([dataset_name, second_name])
        both = get_detection_dataset_dicts((dataset_name, second_name), check_consistency=False)
        assert len(both) == 3

    def test_empty(self, dataset_name):
        self.register(dataset_name, [])
        with pytest.raises(AssertionError, match="empty"):
            get_detection_dataset_dicts(dataset_name)
        with pytest.raises(AssertionError):
            get_detection_dataset_dicts([])


@pytest.mark.parametrize("serialize", [True, False])
def test_dataset_from_list_returns_copies(serialize):
    items = [{"a": [1]}, {"a": [2, 3]}, "x"]
    dataset = DatasetFromList(items, copy=True, serialize=serialize)
    dataset[0]["a"].append(5)
    assert len(dataset) == 3 and [dataset[i] for i in range(3)] == [{"a": [1]}, {"a": [2, 3]}, "x"]


def test_map_dataset_replaces_what_maps_to_none():
    mapped = MapDataset([1, 2, 3, 4], lambda x: 10 * x if x % 2 else None)
    assert mapped[0] == 10 and mapped[2] == 30
    assert mapped[1] in (10, 30) and mapped[3] in (10, 30)


def test_map_dataset_that_maps_all_to_none():
    with pytest.raises(ValueError):
        MapDataset([1, 2, 3], lambda x: None)[0]


def test_iterable_datasets():
    iterable = ToIterableDataset(list("abcd"), TrainingSampler(4, shuffle=False))
    mapped = MapDataset(iterable, lambda x: x.upper() if x != "b" else None)
    assert list(itertools.islice(iter(mapped), 5)) == ["A", "C", "D", "A", "C"]
