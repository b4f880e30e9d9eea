"""Dataset wrappers that `build` combines: list -> mapped -> iterated by a sampler -> grouped by aspect ratio."""

from __future__ import annotations

import copy
import itertools
import logging
import pickle
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.utils.serialize import PicklableWrapper
from torch.utils import data

_TRIES_BEFORE_WARNING = 3


class DatasetFromList(data.Dataset):
    """A list as a dataset.

    `serialize` keeps the items pickled in one byte tensor. Forked workers then share its memory, while the reference
    counts of many objects would make them copy it; spawned workers receive it as shared memory.
    """

    def __init__(self, lst: Sequence[Any], copy: bool = True, serialize: bool = True):
        """`copy` returns a deep copy on each access; serialized items are always new."""
        self._copy, self._serialize = copy, serialize
        if serialize:
            items = [np.frombuffer(pickle.dumps(item, protocol=-1), dtype=np.uint8) for item in lst]
            self._ends = torch.tensor([len(item) for item in items], dtype=torch.int64).cumsum(0)
            self._bytes = torch.from_numpy(np.concatenate(items)) if items else torch.empty(0, dtype=torch.uint8)
        else:
            self._list = lst

    def __len__(self) -> int:
        return len(self._ends) if self._serialize else len(self._list)

    def __getitem__(self, index: int) -> Any:
        if not self._serialize:
            return copy.deepcopy(self._list[index]) if self._copy else self._list[index]
        start = 0 if index == 0 else int(self._ends[index - 1])
        return pickle.loads(self._bytes[start : int(self._ends[index])].numpy().data)


class _MappedIterableDataset(data.IterableDataset):
    def __init__(self, dataset: Iterable[Any], map_func: Callable):
        self._dataset, self._map_func = dataset, PicklableWrapper(map_func)

    def __len__(self) -> int:
        return len(self._dataset)  # pyright: ignore[reportArgumentType]  (torch types Dataset and Sampler without __len__)

    def __iter__(self) -> Iterator[Any]:
        return (mapped for item in self._dataset if (mapped := self._map_func(item)) is not None)


class MapDataset(data.Dataset):
    """Apply a function to the items of a dataset, map-style or iterable; an item that it maps to None is skipped.

    A map-style dataset must return something: the item of another index, drawn at random.
    """

    def __new__(cls, dataset: data.Dataset, map_func: Callable):
        if isinstance(dataset, data.IterableDataset):
            return _MappedIterableDataset(dataset, map_func)
        return super().__new__(cls)

    def __init__(self, dataset: data.Dataset, map_func: Callable):
        self._dataset, self._map_func = dataset, PicklableWrapper(map_func)
        self._rng = random.Random(
            42
        )  # separate generator: a fallback must not change the random numbers of augmentations
        self._unusable: set[int] = set()  # indices that were mapped to None when last tried

    def __getnewargs__(self):
        return self._dataset, self._map_func

    def __len__(self) -> int:
        return len(self._dataset)  # pyright: ignore[reportArgumentType]  (torch types Dataset and Sampler without __len__)

    def __getitem__(self, index: int) -> Any:
        current = int(index)
        for attempt in itertools.count(1):
            mapped = self._map_func(self._dataset[current])
            if mapped is not None:
                self._unusable.discard(current)
                return mapped
            self._unusable.add(current)
            if len(self._unusable) == len(self):
                raise ValueError(f"The map function returned None for each of the {len(self)} items.")
            if attempt >= _TRIES_BEFORE_WARNING:
                logging.getLogger(__name__).warning("No usable item for index %d after %d tries.", index, attempt)
            while current in self._unusable:
                current = self._rng.randrange(len(self))


class ToIterableDataset(data.IterableDataset):
    """Iterate over a map-style dataset in a sampler's order, the sampler running inside the workers.

    Each worker takes every num_workers-th chunk of `shard_chunk_size` indices; with the batch size as the chunk,
    batches are the same for any number of workers.
    """

    def __init__(self, dataset: data.Dataset, sampler: data.Sampler, *, shard_chunk_size: int = 1):
        assert not isinstance(dataset, data.IterableDataset), "The dataset is already iterable."
        self._dataset, self._sampler, self._chunk_size = dataset, sampler, shard_chunk_size

    def __len__(self) -> int:
        return len(self._sampler)  # pyright: ignore[reportArgumentType]  (torch types Dataset and Sampler without __len__)

    def __iter__(self) -> Iterator[Any]:
        worker = data.get_worker_info()
        for position, index in enumerate(self._sampler):
            if worker is None or (position // self._chunk_size) % worker.num_workers == worker.id:
                yield self._dataset[index]


class AspectRatioGroupedDataset(data.IterableDataset):
    """Batches of landscape images or of portrait images only, for less padding. Items need "width" and "height"."""

    def __init__(self, dataset: Iterable[dict], batch_size: int):
        self.dataset, self.batch_size = dataset, batch_size

    def __iter__(self) -> Iterator[list[dict]]:
        groups: dict[bool, list[dict]] = {True: [], False: []}
        for item in self.dataset:
            wide = item["width"] > item["height"]
            groups[wide].append(item)
            if len(groups[wide]) == self.batch_size:
                yield groups[wide]
                groups[wide] = []
