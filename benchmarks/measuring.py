"""Measurement of time and memory of a call."""

import os
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
