"""Tests of the Triton kernels by Triton's interpreter, for a process of their own.

Triton reads TRITON_INTERPRET when a kernel is defined, so these tests run with it and all others without it:
tests/ops/test_kernels.py starts them. By hand:

    TRITON_INTERPRET=1 python -m pytest tests/ops/interpreted -n 0
"""

import importlib
import os
from pathlib import Path

import pytest

from masqclip_d2 import ops

collect_ignore_glob = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["test_*.py"]


@pytest.fixture(autouse=True, scope="session")
def _registered_operators():
    """Operators are registered at their first use; tests of the registration need no other test before them."""
    for path in sorted(Path(ops.__file__).parent.glob("*/*.py")):
        if path.stem in ("autograd", "operator"):
            importlib.import_module(f"{ops.__name__}.{path.parent.name}.{path.stem}")
