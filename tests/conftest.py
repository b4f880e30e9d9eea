"""Fixed seeds and one thread count for every test; the Detectron2 choice happens before anything imports detectron2."""

import os

os.environ.setdefault("MASQCLIP_D2", "auto")

import masqclip_d2  # noqa: E402, F401  isort: skip  (decides which Detectron2 is used)
import pytest
import torch


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)
