"""Samplers: which indices of a dataset a process reads, and in which order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from detectron2.utils import comm
from torch.utils.data import Sampler


class TrainingSampler(Sampler):
    """Infinite permutations of `size` indices; each process takes every world_size-th index of one shared stream."""

    def __init__(self, size: int, shuffle: bool = True, seed: int | None = None):
        """With seed None the processes agree on a random one, so all of them must create their sampler."""
        if not isinstance(size, int):
            raise TypeError(f"TrainingSampler needs an int size; got {size!r}.")
        if size <= 0:
            raise ValueError(f"TrainingSampler needs a positive size; got {size}.")
        self._size = size
        self._shuffle = shuffle
        self._seed = comm.shared_random_seed() if seed is None else int(seed)
        self._rank, self._world_size = comm.get_rank(), comm.get_world_size()

    def __iter__(self) -> Iterator[int]:
        yield from itertools.islice(self._shared_stream(), self._rank, None, self._world_size)

    def _shared_stream(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed)
        while True:
            order = torch.randperm(self._size, generator=generator) if self._shuffle else torch.arange(self._size)
            yield from order.tolist()


class InferenceSampler(Sampler):
    """Each index once: contiguous shards in rank order, the first `size % world_size` ranks one longer."""

    def __init__(self, size: int):
        assert size > 0, f"InferenceSampler needs a positive size; got {size}."
        rank, world_size = comm.get_rank(), comm.get_world_size()
        shard, longer = divmod(size, world_size)
        begin = shard * rank + min(rank, longer)
        self._indices = range(begin, begin + shard + (rank < longer))

    def __iter__(self) -> Iterator[int]:
        yield from self._indices

    def __len__(self) -> int:
        return len(self._indices)
