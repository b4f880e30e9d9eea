"""What all sections of the GPU benchmark share: device, sizes, repetitions."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmarks.measuring import median_seconds
from benchmarks.op_cases import REAL, TINY, Sizes
from masqclip_d2.ops.triton_support import triton_problem

from .report import Skip

_FLUSH_BYTES = 256 * 2**20  # several times the L2 cache of any GPU


@dataclass(frozen=True)
class Settings:
    """Device, sizes of the ops and models, and how often a call is repeated."""

    device: torch.device
    tiny: bool
    sizes: Sizes
    batches: tuple[int, ...]
    categories: tuple[int, ...]
    flush: Tensor | None = field(default=None, compare=False)

    @classmethod
    def of(cls, device: str, tiny: bool) -> Settings:
        """Settings of the command line."""
        where = torch.device(device)
        if where.type == "cuda" and not torch.cuda.is_available():
            raise SystemExit("There is no CUDA device here; --device cpu --tiny is a rehearsal without one.")
        flush = torch.empty(_FLUSH_BYTES // 4, device=where) if where.type == "cuda" else None
        batches, categories = ((1,), (3,)) if tiny else ((1, 8), (10, 847, 10_000))
        return cls(where, tiny, TINY if tiny else REAL, batches, categories, flush)

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def time(self, run, longest: float = 0.3, flushed: bool = True) -> tuple[float, int]:
        """Median seconds and peak bytes of a call, see `median_seconds`; the tiny form calls it once."""
        if self.tiny:
            return median_seconds(run, self.device, most=1, warm_up=0)
        return median_seconds(run, self.device, longest, flush=self.flush if flushed else None)

    def require_cuda(self, what: str) -> None:
        """Skip the row without a CUDA device."""
        if not self.on_gpu:
            raise Skip(f"{what} needs a CUDA device")

    def require_kernels(self) -> None:
        """Skip the row where kernels cannot run."""
        if problem := triton_problem(self.device):
            raise Skip(problem)

    def require_memory(self, needed: float, what: str) -> None:
        """Skip the row if a GPU has not as many free bytes."""
        if self.on_gpu and needed > torch.cuda.mem_get_info(self.device)[0]:
            raise Skip(f"{what} needs {needed / 1e9:.0f} GB")

    def compiled(self, function):
        """`torch.compile` of a function; without a GPU traced but not translated, which needs no C++ compiler."""
        torch.compiler.reset()
        return torch.compile(function, dynamic=False, backend="inductor" if self.on_gpu else "eager")

    def release(self) -> None:
        """Free memory, that of cycles of objects too; RuntimeError if the CUDA context is lost."""
        gc.collect()  # takes a tenth of a second, too long for each row
        self.release_cached()

    def release_cached(self) -> None:
        """Give memory that torch keeps for later back to the GPU."""
        if self.on_gpu:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
