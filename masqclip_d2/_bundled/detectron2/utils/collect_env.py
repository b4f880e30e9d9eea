"""Versions and devices of a run, for its log."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

__all__ = ["collect_env_info"]

_PACKAGES = ("torchvision", "numpy", "pillow", "fvcore", "iopath", "pycocotools", "opencv-python-headless")


def collect_env_info() -> str:
    """Versions of Python, torch, this library and its dependencies, and the CUDA devices, as a table."""
    import detectron2
    from tabulate import tabulate

    rows = [
        ("platform", platform.platform()),
        ("Python", platform.python_version()),
        ("detectron2", f"{detectron2.__version__} ({os.path.dirname(detectron2.__file__)})"),
        ("torch", torch.__version__),
    ]
    for package in _PACKAGES:
        try:
            rows.append((package, version(package)))
        except PackageNotFoundError:
            rows.append((package, "not installed"))
    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    rows.append(("CUDA", f"{torch.version.cuda}: {', '.join(devices)}" if devices else "no device"))
    return tabulate(rows)
