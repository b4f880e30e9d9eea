"""Importing the bundled Detectron2 does not import packages that only some functions need."""

from __future__ import annotations

import subprocess
import sys

import pytest

from masqclip_d2 import detectron2_backend

HEAVY = [
    "torchvision",
    "scipy",
    "matplotlib",
    "cv2",
    "pycocotools",
    "tensorboard",
    "torch.utils.tensorboard",
]
MODULES = [
    "engine", "evaluation", "checkpoint", "solver", "modeling", "data", "utils.visualizer", "projects.deeplab",
    "projects.point_rend",
]  # fmt: skip


@pytest.mark.skipif(detectron2_backend().kind == "real", reason="the real library imports most of them at once")
def test_heavy_packages_are_imported_when_they_are_used():
    lines = ["import sys, masqclip_d2", *(f"import detectron2.{module}" for module in MODULES)]
    lines.append(f"print([name for name in {HEAVY} if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
