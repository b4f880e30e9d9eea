"""Which graphs are recorded, kept and used. The recorder of these tests calls the function again in place of a GPU."""

import concurrent.futures
import contextlib
import time
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from masqclip_d2.acceleration import cuda_graphs
from masqclip_d2.acceleration.cuda_graphs import GraphedForward, Recorded, record
from masqclip_d2.transfers import device_constant
from tests.fake_gpu import fake_gpu


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


@torch.no_grad()
def test_what_failed_frees_earlier_graphs():
    recorders = [Recorder(), None]

    def out_of_memory(function, inputs):
        recorder = recorders.pop(0)
        if recorder is None:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return recorder(function, inputs)

    graphed = GraphedForward(forward, recorder=out_of_memory)
    for size in (1, 1, 2, 2, 1):
        assert_same(graphed(features_of(size)), forward(features_of(size)))
    assert not graphed._graphs


def test_threads_do_not_write_over_the_inputs_of_each_other():
    class Slow(Recorder):
        def __call__(self, function, inputs):
            recorded = super().__call__(function, inputs)
            return replace(recorded, replay=lambda: (time.sleep(0.002), recorded.replay()))

    graphed = GraphedForward(forward, recorder=Slow())

    @torch.no_grad()
    def call(seed):
        return graphed(features_of(3, seed))

    call(0)
    call(1)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for seed, found in enumerate(pool.map(call, range(20))):
            assert_same(found, forward(features_of(3, seed)))


class FakeCuda:
    """Stands for `torch.cuda`; notes on which device work is recorded, and runs it."""

    def __init__(self):
        self.current = 0
        self.recorded_on = []
        self.default_stream = SimpleNamespace(device=torch.device("cuda", 0))

    @contextlib.contextmanager
    def device(self, device):
        before, self.current = self.current, device.index or 0
        yield
        self.current = before

    def stream(self, stream):
        return self.device(stream.device)

    @contextlib.contextmanager
    def graph(self, graph, stream: Any = None, capture_error_mode="global"):
        self.recorded_on.append((graph.device_index, (stream or self.default_stream).device.index, capture_error_mode))
        yield

    def __getattr__(self, name):
        if name == "CUDAGraph":
            return lambda: SimpleNamespace(replay=lambda: None, device_index=self.current)
        if name in ("Stream", "current_stream"):
            return lambda device=None: SimpleNamespace(
                device=device or torch.device("cuda", self.current), wait_stream=lambda other: None
            )
        raise AttributeError(name)


@pytest.fixture
def fake_cuda(monkeypatch):
    fake = FakeCuda()
    monkeypatch.setattr(cuda_graphs, "torch", SimpleNamespace(**{**vars(torch), "cuda": fake}))
    return fake


def test_graphs_are_recorded_on_the_device_of_the_tensors(fake_cuda):
    with fake_gpu():
        recorded = record(lambda inputs: inputs[0] + 1, [torch.zeros(3, device="cuda:1")])
    assert recorded.outputs.device.index == 1 and fake_cuda.current == 0
    assert fake_cuda.recorded_on == [(1, 1, "thread_local")]


def test_graphs_recorded_in_inference_mode_run_outside_of_it(fake_cuda):
    with fake_gpu(), torch.inference_mode():
        recorded = record(lambda inputs: inputs[0] + 1, [torch.zeros(3, 2, device="cuda").T])
    assert not recorded.inputs[0].is_inference() and recorded.inputs[0].stride() == (1, 2)


def test_constants_live_as_long_as_a_graph_that_reads_them(fake_cuda):
    with fake_gpu():
        device = torch.device("cuda")
        inputs = [torch.zeros(2, device="cuda")]
        recorded = record(lambda inputs: inputs[0] * device_constant((0.5, 7.25), torch.float32, device), inputs)
        assert recorded.constants[0] is device_constant((0.5, 7.25), torch.float32, device)
        device_constant((0.5, 8.25), torch.float32, device)
    assert len(recorded.constants) == 1


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
