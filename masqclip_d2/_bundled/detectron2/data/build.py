"""Train and test loaders from a config, or from explicit arguments."""

from __future__ import annotations

import itertools
import logging
import operator
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import torch
from detectron2.config import CfgNode, configurable
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Sampler

from .catalog import DatasetCatalog, MetadataCatalog
from .common import AspectRatioGroupedDataset, DatasetFromList, MapDataset, ToIterableDataset
from .dataset_mapper import DatasetMapper
from .detection_utils import check_metadata_consistency
from .samplers import InferenceSampler, TrainingSampler

_logger = logging.getLogger(__name__)


def get_detection_dataset_dicts(
    names: str | list[str] | tuple[str, ...],
    filter_empty: bool = True,
    min_keypoints: int = 0,
    proposal_files: list[str] | None = None,
    check_consistency: bool = True,
) -> list[dict] | Dataset:
    """Load and join registered datasets.

    Args:
        names: one or several dataset names.
        filter_empty: drop images that have only crowd annotations or none, if the first image has "annotations".
        min_keypoints, proposal_files: must be 0 and None; the bundled subset has neither keypoints nor proposals.
        check_consistency: require equal `thing_classes` in all datasets, and log the number of instances per class.

    Raises:
        AssertionError: no names, a dataset is empty, or no image is left.
        ValueError: the datasets' `thing_classes` differ.
    """
    if min_keypoints or proposal_files is not None:
        raise NotImplementedError("The bundled Detectron2 subset has neither keypoints nor precomputed proposals.")
    names = [names] if isinstance(names, str) else list(names)
    assert names, "Expected at least one dataset name (DATASETS.TRAIN or DATASETS.TEST is empty)."
    datasets = [DatasetCatalog.get(name) for name in names]
    if isinstance(datasets[0], Dataset):
        return datasets[0] if len(datasets) == 1 else ConcatDataset(cast("list[Dataset]", datasets))
    for name, dicts in zip(names, datasets, strict=True):
        assert len(dicts), f"Dataset '{name}' is empty."
    dicts = list(itertools.chain.from_iterable(datasets))
    if "annotations" in dicts[0]:
        if filter_empty:
            dicts = _drop_images_without_objects(dicts)
        if check_consistency and hasattr(MetadataCatalog.get(names[0]), "thing_classes"):
            check_metadata_consistency("thing_classes", names)
            _log_class_histogram(dicts, MetadataCatalog.get(names[0]).thing_classes)
    assert dicts, f"No image with a usable annotation in {', '.join(names)}."
    return dicts


def _drop_images_without_objects(dicts: list[dict]) -> list[dict]:
    kept = [d for d in dicts if any(a.get("iscrowd", 0) == 0 for a in d["annotations"])]
    _logger.info("Dropped %d images without usable annotations; %d left.", len(dicts) - len(kept), len(kept))
    return kept


def _log_class_histogram(dicts: list[dict], class_names: list[str]) -> None:
    from tabulate import tabulate

    counts = Counter(a["category_id"] for d in dicts for a in d["annotations"] if a.get("iscrowd", 0) == 0)
    assert not counts or 0 <= min(counts) <= max(counts) < len(class_names), (
        f"category_id runs from {min(counts)} to {max(counts)}, but there are {len(class_names)} thing_classes."
    )
    rows = [(name[:20], counts[i]) for i, name in enumerate(class_names)]
    _logger.info("Instances per category:\n%s", tabulate([*rows, ("total", counts.total())], ["category", "instances"]))


def trivial_batch_collator(batch: list[Any]) -> list[Any]:
    """Return the items as a list."""
    return batch


def worker_init_reset_seed(worker_id: int) -> None:
    """Seed a worker's random, numpy and torch; torch alone would leave all workers with the same numpy seed."""
    seed_all_rng(torch.initial_seed() % 2**31 + worker_id)


def build_batch_data_loader(
    dataset: Dataset,
    sampler: Sampler | None,
    total_batch_size: int,
    *,
    aspect_ratio_grouping: bool = False,
    num_workers: int = 0,
    collate_fn: Callable | None = None,
    drop_last: bool = True,
    **dataloader_kwargs: Any,
):
    """Infinite batches for training; arguments as in `build_detection_train_loader`, the dataset already mapped."""
    world_size = comm.get_world_size()
    assert total_batch_size > 0 and total_batch_size % world_size == 0, (
        f"Total batch size ({total_batch_size}) must be divisible by the number of processes ({world_size})."
    )
    batch_size = total_batch_size // world_size
    if isinstance(dataset, IterableDataset):
        assert sampler is None, "An iterable dataset takes no sampler."
    else:
        assert sampler is not None, "A map-style dataset needs a sampler."
        dataset = ToIterableDataset(dataset, sampler, shard_chunk_size=batch_size)
    dataloader_kwargs.update(num_workers=num_workers, worker_init_fn=worker_init_reset_seed)
    if not aspect_ratio_grouping:
        collate_fn = collate_fn or trivial_batch_collator
        return DataLoader(dataset, batch_size, drop_last=drop_last, collate_fn=collate_fn, **dataloader_kwargs)
    assert drop_last, "Aspect ratio grouping needs drop_last."
    # Workers return single items; this process groups them.
    loader = DataLoader(dataset, batch_size=1, collate_fn=operator.itemgetter(0), **dataloader_kwargs)
    grouped = AspectRatioGroupedDataset(loader, batch_size)
    return grouped if collate_fn is None else MapDataset(grouped, collate_fn)


def _train_loader_from_config(
    cfg: CfgNode, mapper: Callable | None = None, *, dataset: Any = None, sampler: Sampler | None = None
) -> dict[str, Any]:
    if cfg.MODEL.KEYPOINT_ON or cfg.MODEL.LOAD_PROPOSALS:
        raise NotImplementedError(
            "MODEL.KEYPOINT_ON and MODEL.LOAD_PROPOSALS must be False: the bundled Detectron2 subset has neither."
        )
    if dataset is None:
        dataset = get_detection_dataset_dicts(cfg.DATASETS.TRAIN, cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS)
    if sampler is None and not isinstance(dataset, IterableDataset):
        if cfg.DATALOADER.SAMPLER_TRAIN != "TrainingSampler":
            raise ValueError(
                f"DATALOADER.SAMPLER_TRAIN is {cfg.DATALOADER.SAMPLER_TRAIN!r}; the only one "
                "of the bundled Detectron2 subset is 'TrainingSampler'."
            )
        sampler = TrainingSampler(len(dataset), seed=cfg.SEED)
    return {
        "dataset": dataset,
        "sampler": sampler,
        "mapper": DatasetMapper(cfg, True) if mapper is None else mapper,
        "total_batch_size": cfg.SOLVER.IMS_PER_BATCH,
        "aspect_ratio_grouping": cfg.DATALOADER.ASPECT_RATIO_GROUPING,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
    }


@configurable(from_config=_train_loader_from_config)
def build_detection_train_loader(
    dataset: list[dict] | Dataset,
    *,
    mapper: Callable | None,
    sampler: Sampler | None = None,
    total_batch_size: int,
    aspect_ratio_grouping: bool = True,
    num_workers: int = 0,
    collate_fn: Callable | None = None,
    **dataloader_kwargs: Any,
):
    """An infinite iterable of batches, each a list of what `mapper` returns. Also: `(cfg, mapper=None, ...)`.

    Args:
        dataset: dataset dicts, or a map-style or iterable torch dataset.
        mapper: dataset dict -> model input; None returns the items unchanged.
        sampler: order of indices; None is a shuffled `TrainingSampler`. An iterable dataset has none.
        total_batch_size: images per step over all processes, which must divide it.
        aspect_ratio_grouping: batch landscape and portrait images separately; the result then has no length.
        num_workers: worker processes of each process; 0 loads in this one.
        collate_fn: list of items -> batch; None keeps the list.
        **dataloader_kwargs: to `torch.utils.data.DataLoader`.
    """
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset, copy=False)
    if mapper is not None:
        dataset = MapDataset(dataset, mapper)
    if not isinstance(dataset, IterableDataset):
        sampler = TrainingSampler(_length(dataset)) if sampler is None else sampler
        assert isinstance(sampler, Sampler), f"Expected a torch Sampler; got {type(sampler).__name__}."
    return build_batch_data_loader(
        dataset,
        sampler,
        total_batch_size,
        aspect_ratio_grouping=aspect_ratio_grouping,
        num_workers=num_workers,
        collate_fn=collate_fn,
        **dataloader_kwargs,
    )


def _length(dataset: Dataset) -> int:
    return len(dataset)  # pyright: ignore[reportArgumentType]  (torch types Dataset without __len__)


def _test_loader_from_config(
    cfg: CfgNode, dataset_name: str | list[str], mapper: Callable | None = None
) -> dict[str, Any]:
    return {
        "dataset": get_detection_dataset_dicts(dataset_name, filter_empty=False),
        "mapper": DatasetMapper(cfg, False) if mapper is None else mapper,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
    }


@configurable(from_config=_test_loader_from_config)
def build_detection_test_loader(
    dataset: list[dict] | Dataset,
    *,
    mapper: Callable | None,
    sampler: Sampler | None = None,
    batch_size: int = 1,
    num_workers: int = 0,
    collate_fn: Callable | None = None,
) -> DataLoader:
    """Every image once, in order, sharded over processes. Also: `(cfg, dataset_name, mapper=None)`.

    Arguments as in `build_detection_train_loader`; `batch_size` counts images of this process, the last batch may be
    smaller.
    """
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset, copy=False)
    if mapper is not None:
        dataset = MapDataset(dataset, mapper)
    if isinstance(dataset, IterableDataset):
        assert sampler is None, "An iterable dataset takes no sampler."
    elif sampler is None:
        sampler = InferenceSampler(_length(dataset))
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        drop_last=False,
        num_workers=num_workers,
        collate_fn=collate_fn or trivial_batch_collator,
    )
