"""Section 1: the GPU, driver and versions, and the rates that bound everything else."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from typing import Any

import torch

from benchmarks.roofline import H200, Rates

from .report import Report, Skip
from .settings import Settings

TITLE = "Machine and ceilings"
COLUMNS = {"value": "{}"}
_PRODUCT_SIDE = {torch.bfloat16: 8192, torch.float16: 8192, torch.float32: 4096}
_COPY_BYTES = 4 * 2**30


def measure(report: Report, settings: Settings) -> None:
    """Add the rows; the rates go into `report.values`."""
    report.row("device", lambda: {"value": _device(settings)})
    report.row("driver", lambda: {"value": _driver(settings)})
    report.row("versions", lambda: {"value": _versions()})
    report.row("copy", lambda: _copy(report, settings))
    for dtype in _PRODUCT_SIDE:
        report.row(f"matrix product, {str(dtype)[6:]}", lambda dtype=dtype: _product(report, settings, dtype))


def rates_of(report: Report) -> Rates:
    """Measured rates; those assumed for an H200 where one was not measured."""
    found = report.values
    half = found.get("bfloat16", H200.half)
    return Rates(found.get("bandwidth", H200.bandwidth), half, found.get("float32", H200.float32))


def _device(settings: Settings) -> str:
    if not settings.on_gpu:
        return f"CPU, {platform.machine()}, {torch.get_num_threads()} threads"
    found = torch.cuda.get_device_properties(settings.device)
    return (
        f"{found.name}, compute capability {found.major}.{found.minor}, {found.multi_processor_count} multiprocessors, "
        f"{found.total_memory / 2**30:.0f} GiB"
    )


def _driver(settings: Settings) -> str:
    settings.require_cuda("the driver's version")
    command = ["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm,power.limit", "--format=csv,noheader"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.strip()


def _versions() -> str:
    cudnn: Any = torch.backends.cudnn
    parts = [f"Python {platform.python_version()}", f"torch {torch.__version__}", f"CUDA {torch.version.cuda}"]
    parts.append(f"cuDNN {cudnn.version()}")
    for name in ("triton", "torchvision", "numpy"):
        try:
            parts.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            parts.append(f"no {name}")
    tf32 = (
        f"TF32 in cuDNN {'on' if cudnn.allow_tf32 else 'off'}, float32 products: {torch.get_float32_matmul_precision()}"
    )
    return ", ".join([*parts, tf32])


def _copy(report: Report, settings: Settings) -> dict:
    size = 2**20 if settings.tiny else _COPY_BYTES
    source = torch.randint(0, 255, (size,), dtype=torch.uint8, device=settings.device)
    target = torch.empty_like(source)
    seconds, _ = settings.time(lambda: target.copy_(source), longest=0.5, flushed=False)
    report.values["bandwidth"] = rate = 2 * size / seconds
    return {"value": f"{rate / 1e12:.3f} TB/s, bytes read and written, {size / 2**20:.0f} MiB"}


def _product(report: Report, settings: Settings, dtype: torch.dtype) -> dict:
    if dtype == torch.float16 and not settings.on_gpu:
        raise Skip("CPUs are slower in float16")
    side = 64 if settings.tiny else _PRODUCT_SIDE[dtype]
    left, right = (torch.randn(side, side, device=settings.device, dtype=dtype) for _ in range(2))
    seconds, _ = settings.time(lambda: left @ right, longest=0.5, flushed=False)
    report.values[str(dtype)[6:]] = rate = 2 * side**3 / seconds
    return {"value": f"{rate / 1e12:.4g} TFLOP/s, random values, {side} x {side} x {side}"}
