"""The Triton kernels without a GPU: their numbers by Triton's interpreter, and what a GPU would run by compilation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_python(*words, **environment):
    """Run Python with the words in the root folder, with the variables changed; returns its output."""
    variables = {name: value for name, value in os.environ.items() if name not in ("TRITON_INTERPRET", "MASQCLIP_OPS")}
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env={**variables, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.mark.slow
def test_numbers_by_the_interpreter():
    pytest.importorskip("triton")
    run_python("-m", "pytest", "tests/ops/interpreted", "-n", "0", "-p", "no:cacheprovider", TRITON_INTERPRET="1")


@pytest.mark.slow
def test_every_kernel_compiles_for_gpus_without_spilled_registers(tmp_path):
    pytest.importorskip("triton")
    from tests.ops.ahead_of_time import ARCHITECTURES, ROWS, few

    # Two rows of each kernel; MASQCLIP_TEST_KERNELS=all: all rows for all architectures, which takes some minutes.
    every = os.environ.get("MASQCLIP_TEST_KERNELS") == "all"
    words = ["-m", "tests.ops.ahead_of_time", *([] if every else ["--few"])]
    rows = [json.loads(line) for line in run_python(*words, TRITON_CACHE_DIR=str(tmp_path)).splitlines()]
    assert len(rows) == (len(ROWS) * len(ARCHITECTURES) if every else len(few()))
    assert {row["architecture"] for row in rows} == set(ARCHITECTURES)
    for row in rows:
        assert row["spills"] == 0, row
        assert row["shared"] <= ARCHITECTURES[row["architecture"]], row
        assert (row["tensor_core"] > 0) == row["expects"], row


def test_every_kernel_has_a_row():
    """Kernels are the functions named *_kernel under `triton.jit`; others are inlined into them."""
    pytest.importorskip("triton")
    from tests.ops.ahead_of_time import ROWS

    defined = set()
    for path in sorted((ROOT / "masqclip_d2" / "ops").glob("*/kernels.py")):
        lines = path.read_text().splitlines()
        names = [line.split("(")[0].removeprefix("def ") for line in lines if line.startswith("def ")]
        defined |= {(path.parent.name, name) for name in names if name.endswith("_kernel")}
    compiled = {(row.kernel.fn.__module__.split(".")[-2], row.kernel.fn.__name__) for row in ROWS}
    assert compiled == defined and defined
