"""Which graphs are recorded, kept and used. The recorder of these tests calls the function again in place of a GPU."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from masqclip_d2.acceleration.cuda_graphs import GraphedForward, Recorded, record


@dataclass(frozen=True)
class Output:
    total: Tensor
    parts: tuple[Tensor, ...]
    name: str


class Recorder:
    """Replays by computing again, into the same tensors, as a graph does."""

    def __init__(self):
        self.recorded = 0
        self.replayed = 0

    def __call__(self, function, inputs):
        self.recorded += 1
        inputs = [tensor.clone() for tensor in inputs]
        outputs = function(inputs)

        def replay():
            self.replayed += 1
            new = function(inputs)
            outputs.total.copy_(new.total)
            for place, value in zip(outputs.parts, new.parts, strict=True):
                place.copy_(value)

        return Recorded(inputs, outputs, replay)


def forward(features, scale=1.0, offset=None):
    first, second = features["first"], features["second"]
    total = first.sum() * scale + second.sum() + (0 if offset is None else offset)
    return Output(total, (first + 1, second * 2), "output")


def features_of(size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(size, generator=generator) for name in ("first", "second")}


def assert_same(found, expected):
    assert found.name == expected.name
    for one, other in zip((found.total, *found.parts), (expected.total, *expected.parts), strict=True):
        assert torch.equal(one, other)


@pytest.fixture
def recorder():
    return Recorder()


@torch.no_grad()
def test_shapes_that_occur_again_are_recorded(recorder):
    graphed = GraphedForward(forward, recorder=recorder)
    results = []
    for seed in range(4):
        results.append(graphed(features_of(3, seed), scale=2.0))
        assert (recorder.recorded, recorder.replayed) == (min(seed, 1), seed)
    for seed, result in enumerate(results):  # later replays have not changed earlier results
        assert_same(result, forward(features_of(3, seed), scale=2.0))


@torch.no_grad()
def test_other_shapes_dtypes_and_numbers_have_their_own_graph(recorder):
    graphed = GraphedForward(forward, recorder=recorder)
    doubles = {name: value.double() for name, value in features_of(3).items()}
    calls = [
        ((features_of(3),), {}), ((features_of(4),), {}), ((doubles,), {}), ((features_of(3),), {"scale": 3.0}),
        ((features_of(3),), {"offset": torch.ones(())}),
    ]  # fmt: skip
    for number, (args, kwargs) in enumerate(calls, start=1):
        for _ in range(2):
            assert_same(graphed(*args, **kwargs), forward(*args, **kwargs))
        assert recorder.recorded == number


@torch.no_grad()
def test_the_graphs_used_last_are_kept(recorder):
    graphed = GraphedForward(forward, max_graphs=2, recorder=recorder)
    for size in (1, 2, 1, 2, 1, 3, 3):  # 2 is not used for longest
        graphed(features_of(size))
    assert recorder.recorded == 3
    graphed(features_of(1))
    assert recorder.recorded == 3
    assert_same(graphed(features_of(2)), forward(features_of(2)))
    assert recorder.recorded == 4


def test_training_is_not_recorded(recorder):
    graphed = GraphedForward(forward, recorder=recorder)
    features = {name: value.requires_grad_() for name, value in features_of(3).items()}
    for _ in range(3):
        graphed(features).total.backward()
    assert recorder.recorded == 0 and features["first"].grad.tolist() == [3.0, 3.0, 3.0]


@torch.no_grad()
def test_what_cannot_be_recorded_runs_as_usual(caplog):
    def refuse(function, inputs):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    graphed = GraphedForward(forward, recorder=refuse)
    for seed in range(4):
        assert_same(graphed(features_of(3, seed)), forward(features_of(3, seed)))
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["CUDA graphs have no effect on forward: operation not permitted when stream is capturing"]


@pytest.mark.gpu
@torch.no_grad()
def test_graphs_of_a_gpu():
    features = [{name: value.cuda() for name, value in features_of(100, seed).items()} for seed in range(3)]
    recorded = record(lambda inputs: forward(dict(zip(features[0], inputs, strict=True))), list(features[0].values()))
    for one in features:
        for place, value in zip(recorded.inputs, one.values(), strict=True):
            place.copy_(value)
        recorded.replay()
        torch.testing.assert_close(recorded.outputs.total, forward(one).total)
