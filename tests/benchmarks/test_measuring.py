import time

import pytest
import torch

from benchmarks import measuring
from benchmarks.measuring import median_seconds

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_median_of_repeated_calls_after_a_warm_up():
    calls = []

    def run():
        calls.append(1)
        time.sleep(0.2 if len(calls) <= 2 else 0.01)  # the warm-up is slow

    seconds, peak = median_seconds(run, CPU, longest=0.05)
    assert 0.01 <= seconds < 0.1 and peak >= 0
    assert 4 <= len(calls) <= 7


def test_one_call_is_enough():
    calls = []
    median_seconds(lambda: calls.append(1), CPU, most=1, warm_up=0)
    assert len(calls) == 1


def test_events_on_cuda_with_flushed_caches(monkeypatch):
    """With a clock that the call and the flush move in place of a GPU: the time of the flush is left out."""
    now = [0.0]

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.time = now[0]

        def elapsed_time(self, end):
            return end.time - self.time

    class Flush:
        def zero_(self):
            now[0] += 100.0

    def run():
        now[0] += 4.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(measuring, "measured", lambda run, device: (run(), 0.004, 5))
    assert median_seconds(run, CUDA, flush=Flush()) == (pytest.approx(0.004), 5)
    assert now[0] == 3 * 4.0 + 30 * 104.0
