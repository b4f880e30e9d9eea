"""Measurement of time and memory of a call."""

import os
import statistics
import threading
import time
from pathlib import Path

import torch


def measured(run, device):
    """Return the result of `run`, its seconds, and its peak memory in bytes above the memory in use before."""
    if device.type == "cpu":
        with PeakOfProcess() as peak:
            start = time.perf_counter()
            result = run()
            took = time.perf_counter() - start
        return result, took, peak.bytes
    torch.accelerator.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before, start = torch.cuda.memory_allocated(), time.perf_counter()
    result = run()
    torch.accelerator.synchronize()
    return result, time.perf_counter() - start, torch.cuda.max_memory_allocated() - before


def median_seconds(run, device, longest=0.3, most=30, warm_up=2, flush=None):
    """Return the median seconds of repeated calls after a warm-up, and the peak memory in bytes above that in use.

    Args:
        run: the call.
        device: times are those of CUDA events on a CUDA device, of the wall clock elsewhere.
        longest: seconds for all repetitions together, as far as the warm-up tells; there is at least one.
        most: repetitions; warm_up: calls before them.
        flush: a tensor larger than the caches, written before each call so that inputs come from memory; None: no
            flush. CUDA only.
    """
    for _ in range(warm_up):
        run()
    on_gpu = device.type == "cuda"
    _, took, peak = measured(run, device)
    repeats = max(1, min(most, int(longest / max(took, 1e-6))))
    if not on_gpu:
        return statistics.median([took, *(measured(run, device)[1] for _ in range(repeats - 1))]), peak
    pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    for start, end in pairs:
        if flush is not None:
            flush.zero_()
        start.record()
        run()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(end) for start, end in pairs) / 1000, peak


@torch.no_grad()
def least_cpu_seconds(rows, repeats):
    """Least CPU seconds of each call of `rows` (name -> call), which alternate after a warm-up."""
    seconds = {name: [] for name in rows}
    for round_ in range(repeats + 1):
        for name, run in rows.items():
            start = time.process_time()
            run()
            if round_:
                seconds[name].append(time.process_time() - start)
    return {name: min(values) for name, values in seconds.items()}


class PeakOfProcess:
    """Samples the resident memory of this process every millisecond."""

    def __enter__(self):
        self._before, self.bytes, self._stop = self._resident(), 0, False
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop = True
        self._thread.join()

    def _watch(self):
        while not self._stop:
            self.bytes = max(self.bytes, self._resident() - self._before)
            time.sleep(0.001)

    @staticmethod
    def _resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
