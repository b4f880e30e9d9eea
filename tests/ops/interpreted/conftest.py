"""Tests of the Triton kernels by Triton's interpreter, for a process of their own.

Triton reads TRITON_INTERPRET when a kernel is defined, so these tests run with it and all others without it:
tests/ops/test_kernels.py starts them. By hand:

    TRITON_INTERPRET=1 python -m pytest tests/ops/interpreted -n 0
"""

import os

collect_ignore_glob = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["test_*.py"]
