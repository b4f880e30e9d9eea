"""Endless training batches that depend on the seed and on their number alone.

A training that is resumed at batch n continues with batch n: the order of the images comes from Detectron2's sampler,
which is advanced, and the randomness of each sample (augmentations) from the seed and the sample's position in the
stream of all processes. So nothing of a data loader has to be stored, neither its random states nor what its workers
have loaded ahead, and the number of workers has no influence.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from detectron2.data import DatasetFromList, build_detection_train_loader
from detectron2.utils import comm
from detectron2.utils.serialize import PicklableWrapper
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from ..image_files import image_size
from .file_checks import check_before_run, require_objects
from .mappers import SegmentationMapper
from .random_states import seeded
from .worker_transfer import set_up_workers

_SAMPLE, _OTHER_RECORDS = 0, 1  # uses of the seed
_MAX_TRIES = 1000  # records that a mapper may turn down one after the other
_TRIES_BEFORE_WARNING = 3

logger = logging.getLogger(__name__)

Position = tuple[int, int]
"""(position of a sample in the stream of all processes, index of its record)."""


@runtime_checkable
class MapsByPosition(Protocol):
    """A mapper that needs more than random states that were seeded, such as one that reuses parts of other samples."""

    def map_at(self, record: dict[str, Any], seed: int, position: int) -> dict[str, Any] | None:
        """As `mapper(record)`; the result must depend on the arguments only."""
        ...


class TrainingLoader:
    """Batches of this process, each a list of what the mapper returns.

    Args:
        dataset: records; a list or a map-style dataset.
        mapper: record -> model input. One that returns None is given another record, drawn at random.
        make_sampler: returns the sampler of this process, which must be the same each time.
        batch_size: images of this process in a batch.
        num_workers: processes that load; 0: this one.
        aspect_ratio_grouping: batches of landscape images and batches of the others, by the sizes in the records.
        seed: of the samples, at least 0 and the same in all processes.
    """

    def __init__(
        self,
        dataset: list[dict] | Dataset,
        mapper: Callable[[dict], Any],
        make_sampler: Callable[[], Sampler],
        *,
        batch_size: int,
        num_workers: int = 0,
        aspect_ratio_grouping: bool = False,
        seed: int = 0,
    ) -> None:
        self.seed = seed
        self.first_batch = 0
        self.batch_size = batch_size
        self.num_workers = num_workers
        self._mapper = mapper
        self._make_sampler = make_sampler
        self._is_wide = _Orientations(dataset) if aspect_ratio_grouping else None
        self._records = DatasetFromList(dataset, copy=False) if isinstance(dataset, list) else dataset

    def start_at(self, batch: int, seed: int) -> None:
        """Let the next iteration begin with this batch of the stream that has this seed."""
        self.first_batch, self.seed = batch, seed

    def __iter__(self) -> Iterator[list[Any]]:
        batches = itertools.islice(self._batches(), self.first_batch, None)
        loader = DataLoader(
            _MappedRecords(self._records, self._mapper, self.seed),
            batch_sampler=batches,
            num_workers=self.num_workers,
            generator=torch.Generator(),  # the global one would be advanced here, in the first step of each run
        )
        set_up_workers(loader)
        return iter(loader)

    def _batches(self) -> Iterator[list[Position]]:
        """All batches of this process."""
        with seeded(self.seed):  # some samplers draw their own seed
            sampler = self._make_sampler()
        rank, world_size = comm.get_rank(), comm.get_world_size()
        stream = ((rank + number * world_size, int(index)) for number, index in enumerate(sampler))
        if self._is_wide is not None:
            yield from _grouped(stream, self.batch_size, self._is_wide)
        else:
            while batch := list(itertools.islice(stream, self.batch_size)):
                yield batch


def build_training_loader(cfg, mapper: Callable[[dict], Any]) -> Iterable[list[Any]]:
    """The loader of DATASETS.TRAIN, with the sampler and batch size that Detectron2 derives from the configuration.

    A dataset that is an iterable of PyTorch gets Detectron2's loader: it has no positions to continue from. Of others,
    the files are looked at first, see `check_before_run`.
    """
    seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
    arguments = _loader_arguments(cfg, mapper)
    dataset = arguments["dataset"]
    if isinstance(dataset, IterableDataset):
        return build_detection_train_loader(cfg, mapper=mapper)  # pyright: ignore[reportCallIssue]  # @configurable
    if isinstance(mapper, SegmentationMapper) and isinstance(dataset, list):
        require_objects(cfg.DATASETS.TRAIN, dataset, mapper.ground_truth_keys)
        check_before_run(cfg.DATASETS.TRAIN, dataset, mapper.ground_truth_keys, cfg.INPUT.MAX_MEGAPIXELS)
    return TrainingLoader(
        dataset,
        mapper,
        lambda: _loader_arguments(cfg, mapper, dataset=dataset)["sampler"],
        batch_size=arguments["total_batch_size"] // comm.get_world_size(),
        num_workers=arguments["num_workers"],
        aspect_ratio_grouping=arguments["aspect_ratio_grouping"],
        seed=seed,
    )


def _loader_arguments(cfg, mapper: Callable, **known: Any) -> dict[str, Any]:
    """Arguments of Detectron2's loader; ValueError if there are no images."""
    build: Any = build_detection_train_loader
    with empty_datasets_named("DATASETS.TRAIN", cfg.DATASETS.TRAIN):
        return build.from_config(cfg, mapper=mapper, **known)


@contextmanager
def empty_datasets_named(key: str, names: Sequence[str]) -> Iterator[None]:
    """Turn Detectron2's AssertionError, such as "Dataset 'NAME' is empty", into a ValueError that names the key."""
    try:
        yield
    except AssertionError as error:
        raise ValueError(f"{key} {', '.join(names)}: {error}") from None


class _MappedRecords(Dataset):
    """Mapped records by `Position`."""

    def __init__(self, records: Dataset, mapper: Callable[[dict], Any], seed: int) -> None:
        self._records = records
        self._map = PicklableWrapper(_mapped_at(mapper, seed))  # workers may be spawned, and a mapper may be a lambda
        self._seed = seed

    def __getitem__(self, place: Position) -> Any:
        """The mapped record.

        Raises:
            ValueError: the mapper returned None for this record and all that were tried in its place.
        """
        position, index = place
        others = np.random.default_rng([self._seed, position, _OTHER_RECORDS])
        size = len(self._records)  # pyright: ignore[reportArgumentType]  (torch types Dataset without __len__)
        with seeded(self._seed, position, _SAMPLE):
            for attempt in range(1, _MAX_TRIES + 1):
                mapped = self._map(self._records[index], position)
                if mapped is not None:
                    return mapped
                if attempt == _TRIES_BEFORE_WARNING:
                    logger.warning("The mapper returned None for %d records in a row.", attempt)
                index = int(others.integers(size))
        raise ValueError(
            f"The mapper returned None for each of {_MAX_TRIES} records; check INPUT.DATASET_MAPPER_NAME and the "
            "annotations of DATASETS.TRAIN."
        )


def _mapped_at(mapper: Callable[[dict], Any], seed: int) -> Callable[[dict, int], Any]:
    """The mapper as a function of record and position."""
    if isinstance(mapper, MapsByPosition):
        return lambda record, position: mapper.map_at(record, seed, position)
    return lambda record, position: mapper(record)


class _Orientations:
    """Whether images are wider than high: from the records, or from the files' headers when first needed."""

    def __init__(self, dataset: list[dict] | Dataset) -> None:
        self._dataset = dataset
        self._known: dict[int, bool] = {}

    def __call__(self, index: int) -> bool:
        if index not in self._known:
            record: Any = self._dataset[index]
            if "width" in record and "height" in record:
                height, width = record["height"], record["width"]
            else:
                width, height = image_size(record["file_name"])
            self._known[index] = width > height
        return self._known[index]


def _grouped(stream: Iterable[Position], batch_size: int, is_wide: Callable[[int], bool]) -> Iterator[list[Position]]:
    """Batches of landscape images and batches of the others, each as soon as it is full."""
    groups: dict[bool, list[Position]] = {True: [], False: []}
    for place in stream:
        wide = is_wide(place[1])
        groups[wide].append(place)
        if len(groups[wide]) == batch_size:
            yield groups[wide]
            groups[wide] = []
