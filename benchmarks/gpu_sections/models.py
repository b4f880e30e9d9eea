"""Section 4: MasQCLIP, MaskCLIP and the proposer, from pixels to predictions.

Wall-clock time of `Predictor`, with host work; memory is the peak beyond the weights. Add a variant by an entry in
`VARIANTS`.
"""

from __future__ import annotations

import collections
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch

from masqclip_d2 import Predictor
from masqclip_d2.acceleration import Acceleration, accelerated
from masqclip_d2.ops.triton_support import triton_problem
from masqclip_d2.precision import autocast_to, inference_dtype

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
    """A way to run a model.

    Args:
        name: unique.
        how: dtype, compilation and CUDA graphs.
        kernels: whether kernels are used.
        all_sizes: measured with every number of categories, else with the usual one.
    """

    name: str
    how: Acceleration
    kernels: bool
    all_sizes: bool = False

    def problem(self, settings: Settings) -> str:
        """Why this variant cannot run here; "" if it can."""
        if (self.how.compile or self.how.cuda_graphs) and not settings.on_gpu:
            return "it needs a CUDA device"
        return triton_problem(settings.device) if self.kernels else ""


_BF16 = Acceleration("bf16")
VARIANTS = [
    Variant("bf16, kernels", _BF16, kernels=True, all_sizes=True),
    Variant("bf16, plain torch", _BF16, kernels=False, all_sizes=True),
    Variant("bf16, kernels, CUDA graphs", replace(_BF16, cuda_graphs=True), kernels=True),
    Variant("fp32, plain torch", Acceleration("fp32"), kernels=False),
]
# After all others, since the first image takes a minute or more.
COMPILED = [
    Variant("bf16, kernels, compiled", replace(_BF16, compile=True), kernels=True),
    Variant("bf16, kernels, compiled, CUDA graphs", replace(_BF16, compile=True, cuda_graphs=True), kernels=True),
]
METHODS = ("MasQCLIP", "MaskCLIP")


def measure(report: Report, settings: Settings) -> None:
    """Rows of each variant and method."""
    models = RandomModels(settings)
    predictors: dict[str, Predictor] = {}
    for variants in (VARIANTS, COMPILED):
        for name in METHODS:
            for variant in variants:
                with _Running(models, predictors, name, variant) as running:
                    _rows(report, running, f"{name}, {variant.name}")
                settings.release()


def _rows(report: Report, running: _Running, title: str) -> None:
    settings, variant = running.models.settings, running.variant
    if reason := variant.problem(settings):
        report.row(title, partial(_skip, reason))
        return
    usual = settings.categories[len(settings.categories) // 2]
    sizes = settings.categories if variant.all_sizes else (usual,)
    semantic = [("semantic", size, batch) for size in sizes for batch in settings.batches]
    for task, size, batch in [*semantic, ("panoptic", usual, settings.batches[0])]:
        row = f"{title}, {task}, {size} categories, batch {batch}"
        report.row(row, partial(_speed, running, task, size, batch))
    report.row(f"{title}, semantic, {usual} categories, counts", partial(_counts, running, usual))
    if running.name == METHODS[0]:  # the same network in both
        for batch in settings.batches:
            report.row(f"proposer alone, {variant.name}, batch {batch}", partial(_proposer, running, batch))


def _skip(reason: str) -> NoReturn:
    raise Skip(reason)


class _Running(ExitStack):
    """A method that runs as a variant, for all rows in this context; its predictor is built for the first one."""

    def __init__(self, models: RandomModels, predictors: dict[str, Predictor], name: str, variant: Variant) -> None:
        super().__init__()
        self.models, self.name, self.variant = models, name, variant
        self._predictors = predictors
        self._entered = False

    def predictor(self) -> Predictor:
        """The predictor, with the implementations and the acceleration of the variant."""
        if not self._entered:
            if self.name not in self._predictors:
                self._predictors[self.name] = self.models.predictor(self.name)
            self.enter_context(accelerated(self._predictors[self.name].model, self.variant.how))
            self.enter_context(ops_implementation(self.models.settings, self.variant.kernels))
            self._entered = True
        return self._predictors[self.name]


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


def _speed(running: _Running, task: str, size: int, batch: int) -> dict:
    images, categories = running.models.images(batch), vocabulary(size)
    run = partial(_segment, running.predictor(), images, categories, task)
    return _rates(running.models.settings, batch, run)


def _segment(predictor: Predictor, images: list, categories, task: str) -> None:
    if len(images) == 1:
        predictor(images[0], categories, task=task)
    else:
        predictor.batch(images, categories, task=task, batch_size=len(images))


@torch.no_grad()
def _proposer(running: _Running, batch: int) -> dict:
    settings, proposer = running.models.settings, running.predictor().model.proposer
    images = [torch.from_numpy(image).permute(2, 0, 1).to(settings.device) for image in running.models.images(batch)]
    records = [{"image": image} for image in images]
    with autocast_to(inference_dtype(running.variant.how.dtype, settings.device), settings.device):
        return _rates(settings, batch, lambda: proposer.propose(records))


def _rates(settings: Settings, batch: int, run: Callable[[], Any]) -> dict:
    """Images per second of repeated calls by the wall clock, and peak memory."""
    for _ in range(0 if settings.tiny else 2):
        run()  # compiles kernels, embeds the categories; CUDA graphs are recorded when a shape occurs again
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


def _counts(running: _Running, size: int) -> dict:
    """Launches and host synchronizations of one image."""
    running.models.settings.require_cuda("a count of launches")
    images, categories = running.models.images(1), vocabulary(size)
    run = partial(_segment, running.predictor(), images, categories, "semantic")
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
