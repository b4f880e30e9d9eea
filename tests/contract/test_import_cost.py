"""Importing the package and the bundled Detectron2 imports no package that only some functions need.

So they also work without the optional ones, OpenCV and Triton.
"""

from __future__ import annotations

import os
import subprocess
import sys

HEAVY = [
    "torchvision",
    "scipy",
    "matplotlib",
    "cv2",
    "triton",
    "open_clip",
    "pycocotools",
    "tensorboard",
    "torch.utils.tensorboard",
]
MODULES = [
    "engine", "evaluation", "checkpoint", "solver", "modeling", "data", "utils.visualizer", "projects.deeplab",
    "projects.point_rend",
]  # fmt: skip


def test_heavy_packages_are_imported_when_they_are_used():
    lines = ["import sys, masqclip_d2", *(f"import detectron2.{module}" for module in MODULES)]
    lines.append(f"print([name for name in {HEAVY} if name in sys.modules])")
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], env={**os.environ, "MASQCLIP_D2": "bundled"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_segmenting_an_image_imports_none_of_them():
    """Of the large packages only torch is needed; the others would double the time of a start."""
    names = [name for name in HEAVY if "tensorboard" not in name] + ["timm", "transformers", "torch._dynamo"]
    code = f"""
import sys
from masqclip_d2 import Predictor
from masqclip_d2.batch.inputs import SAMPLES
result = Predictor(device="cpu")(SAMPLES / "shapes_1.png", "striped circle,dotted star", stuff="grass")
print(result.task, [name for name in {names} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "MASQCLIP_D2": "bundled"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "panoptic []"
