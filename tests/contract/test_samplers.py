"""detectron2.data.samplers: the indices of each process."""

import masqclip_d2  # noqa: F401  isort: skip
import itertools

import pytest
from detectron2.data.samplers import InferenceSampler, TrainingSampler
from detectron2.utils import comm


def be(monkeypatch, rank, world_size):
    monkeypatch.setattr(comm, "get_rank", lambda: rank)
    monkeypatch.setattr(comm, "get_world_size", lambda: world_size)


def take(sampler, n):
    return list(itertools.islice(iter(sampler), n))


def test_training_sampler_is_an_infinite_stream_of_permutations():
    indices = take(TrainingSampler(7, seed=3), 21)
    assert [sorted(indices[i : i + 7]) for i in (0, 7, 14)] == [list(range(7))] * 3
    assert indices[:7] != indices[7:14]
    assert indices == take(TrainingSampler(7, seed=3), 21) != take(TrainingSampler(7, seed=4), 21)
    assert take(TrainingSampler(3, shuffle=False), 7) == [0, 1, 2, 0, 1, 2, 0]
    assert sorted(take(TrainingSampler(7), 7)) == list(range(7)), "without a seed"
    assert sorted(take(TrainingSampler(7, seed=-1), 7)) == list(range(7)), "cfg.SEED is -1 by default"


def test_training_sampler_shards_one_stream(monkeypatch):
    whole = take(TrainingSampler(7, seed=3), 12)
    for rank in range(3):
        be(monkeypatch, rank, 3)
        assert take(TrainingSampler(7, seed=3), 4) == whole[rank::3]


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (-2, ValueError), (2.0, TypeError), ("2", TypeError)])
def test_training_sampler_refuses(size, error):
    with pytest.raises(error):
        TrainingSampler(size)


@pytest.mark.parametrize(
    ("size", "world_size", "shards"),
    [
        (5, 1, [[0, 1, 2, 3, 4]]),
        (7, 3, [[0, 1, 2], [3, 4], [5, 6]]),
        (6, 3, [[0, 1], [2, 3], [4, 5]]),
        (2, 4, [[0], [1], [], []]),
    ],
)
def test_inference_sampler(monkeypatch, size, world_size, shards):
    for rank, shard in enumerate(shards):
        be(monkeypatch, rank, world_size)
        sampler = InferenceSampler(size)
        assert list(sampler) == shard and len(sampler) == len(shard)


def test_inference_sampler_refuses_nothing():
    with pytest.raises(AssertionError):
        InferenceSampler(0)
