"""Section 4: MasQCLIP, MaskCLIP and the proposer, from pixels to predictions.

Wall-clock time of `Predictor`, with host work; memory is the peak beyond the weights. Add a variant by an entry in
`VARIANTS`; one whose arguments this version of `Predictor` lacks is skipped.
"""

from __future__ import annotations

import collections
import inspect
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch

from masqclip_d2 import Predictor
from masqclip_d2.ops.triton_support import triton_problem

from .random_models import RandomModels, vocabulary
from .report import Report, Skip
from .settings import Settings

TITLE = "Models: images per second, memory, launches"
COLUMNS = {
    "images/s": "{:.2f}", "ms/image": "{:.2f}", "MB": "{:.0f}", "launches": "{}", "synchronizations": "{}",
    "note": "{}",
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """A way to run a model: dtype, whether kernels are used, further arguments of `Predictor`."""

    name: str
    dtype: str
    kernels: bool
    arguments: dict[str, Any] = field(default_factory=dict)

    def problem(self, settings: Settings) -> str:
        """Why this variant cannot run here; "" if it can."""
        missing = set(self.arguments) - set(inspect.signature(Predictor.__init__).parameters)
        if missing:
            return f"Predictor has no argument {', '.join(sorted(missing))}"
        if self.arguments and not settings.on_gpu:
            return "it needs a CUDA device"
        return triton_problem(settings.device) if self.kernels else ""


VARIANTS = [
    Variant("bf16, kernels", "bf16", True),
    Variant("bf16, plain torch", "bf16", False),
    Variant("fp32, plain torch", "fp32", False),
    Variant("bf16, kernels, compiled", "bf16", True, {"compile": True}),
    Variant("bf16, kernels, CUDA graphs", "bf16", True, {"cuda_graphs": True}),
]


def measure(report: Report, settings: Settings) -> None:
    """Rows of each variant, method by method."""
    models = RandomModels(settings)
    usual = settings.categories[len(settings.categories) // 2]
    for name in ("MasQCLIP", "MaskCLIP"):
        for variant in VARIANTS:
            found = _Lazy(models, name, variant)
            title = f"{name}, {variant.name}"
            if reason := variant.problem(settings):
                report.row(title, partial(_skip, reason))
                continue
            for task, sizes in (("semantic", settings.categories), ("panoptic", (usual,))):
                for size in sizes:
                    for batch in settings.batches:
                        row = f"{title}, {task}, {size} categories, batch {batch}"
                        report.row(row, partial(_speed, found, task, size, batch))
            report.row(f"{title}, semantic, {usual} categories, counts", partial(_counts, found, usual))
            if name == "MasQCLIP":
                for batch in settings.batches:
                    report.row(f"proposer alone, {variant.name}, batch {batch}", partial(_proposer, found, batch))
            found.release()


def _skip(reason: str) -> NoReturn:
    raise Skip(reason)


class _Lazy:
    """A predictor that is built for the first row that needs it, and the variant's choice of kernels."""

    def __init__(self, models: RandomModels, name: str, variant: Variant) -> None:
        self.models, self.variant = models, variant
        self._name = name
        self._predictor: Predictor | None = None

    @property
    def settings(self) -> Settings:
        return self.models.settings

    def predictor(self) -> Predictor:
        if self._predictor is None:
            self._predictor = self.models.predictor(self._name, self.variant.dtype, **self.variant.arguments)
        return self._predictor

    @contextmanager
    def running(self) -> Iterator[Predictor]:
        """The predictor, with MASQCLIP_OPS set to the variant's choice."""
        found = self.predictor()
        with ops_implementation(self.settings, self.variant.kernels):
            yield found

    def release(self) -> None:
        self._predictor = None
        self.settings.release()


@contextmanager
def ops_implementation(settings: Settings, kernels: bool) -> Iterator[None]:
    """MASQCLIP_OPS for kernels, as users have it on a GPU, or for plain PyTorch."""
    before = os.environ.get("MASQCLIP_OPS")
    os.environ["MASQCLIP_OPS"] = ("auto" if settings.on_gpu else "triton") if kernels else "torch"
    try:
        yield
    finally:
        if before is None:
            del os.environ["MASQCLIP_OPS"]
        else:
            os.environ["MASQCLIP_OPS"] = before


def _speed(found: _Lazy, task: str, size: int, batch: int) -> dict:
    images, categories = found.models.images(batch), vocabulary(size)
    with found.running() as predictor:
        return _rates(found.settings, batch, partial(_segment, predictor, images, categories, task))


def _segment(predictor: Predictor, images: list, categories, task: str) -> None:
    if len(images) == 1:
        predictor(images[0], categories, task=task)
    else:
        predictor.batch(images, categories, task=task, batch_size=len(images))


@torch.inference_mode()
def _proposer(found: _Lazy, batch: int) -> dict:
    records = [{"image": torch.from_numpy(image).permute(2, 0, 1)} for image in found.models.images(batch)]
    with found.running() as predictor:
        device, dtype = found.settings.device, found.variant.dtype
        low = torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bf16")
        with low:
            return _rates(found.settings, batch, lambda: predictor.model.proposer.propose(records))


def _rates(settings: Settings, batch: int, run: Callable[[], Any]) -> dict:
    """Images per second of repeated calls by the wall clock, and peak memory."""
    if not settings.tiny:
        run()  # compiles kernels, embeds the categories
    seconds: list[float] = []
    before = 0
    if settings.on_gpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    while not seconds or (not settings.tiny and sum(seconds) < 1.0 and len(seconds) < 10):
        start = time.perf_counter()
        run()
        if settings.on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    middle = sorted(seconds)[len(seconds) // 2]
    values: dict[str, Any] = {"images/s": batch / middle, "ms/image": 1e3 * middle / batch}
    if settings.on_gpu:
        values["MB"] = (torch.cuda.max_memory_allocated() - before) / 1e6
    return values


def _counts(found: _Lazy, size: int) -> dict:
    """Launches and host synchronizations of one image."""
    found.settings.require_cuda("a count of launches")
    images, categories = found.models.images(1), vocabulary(size)
    with found.running() as predictor:
        run = partial(_segment, predictor, images, categories, "semantic")
        for _ in range(2):
            run()
        launches, graphs, copies = _launches(run)
        places = _synchronizations(run)
    most = ", ".join(f"{place} {count}" for place, count in places.most_common(6))
    note = f"{graphs} graphs, {copies} copies; synchronizations: {most}"
    return {"launches": launches, "synchronizations": places.total(), "note": note}


def _launches(run: Callable[[], Any]) -> tuple[int, int, int]:
    """Numbers of kernel launches, graph launches and asynchronous copies that the host makes."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        run()
        torch.cuda.synchronize()
    names = [event.name for event in profile.events() or ()]
    launches = sum("LaunchKernel" in name for name in names)
    if not launches:
        raise RuntimeError("the profiler recorded no launches on this machine")
    return launches, sum("GraphLaunch" in name for name in names), sum("cudaMemcpyAsync" in name for name in names)


def _synchronizations(run: Callable[[], Any]) -> collections.Counter:
    """Number of calls that wait for the device, by the line that makes them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return collections.Counter(
        f"{Path(each.filename).parent.name}/{Path(each.filename).name}:{each.lineno}"
        for each in caught
        if "synchronizing" in str(each.message)
    )
