"""benchmarks/visual_encoder.py on small sizes: its ratios follow from its times, and both implementations agree."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "visual_encoder.py"


@pytest.fixture
def benchmark(monkeypatch):
    spec = importlib.util.spec_from_file_location("visual_encoder_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("MASQCLIP_OPS", "auto")  # restored after the test
    return module


@pytest.fixture
def run(benchmark, monkeypatch, capsys):
    def run(*words):
        words = ("--architecture", "shapes-tiny", "--repeats", "1", *words)
        monkeypatch.setattr(sys, "argv", ["visual_encoder.py", *words])
        benchmark.main()
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("dtype", ["float32", "bf16"])
def test_times_ratios_and_differences(run, dtype):
    printed = run("--masks", "8", "--dtype", dtype)
    assert f"shapes-tiny, 8 masks, {dtype}" in printed
    row = re.compile(r"^(\w+) +([\d.]+) s +([\d.]+) x floor +(-?\d+) MiB", flags=re.MULTILINE)
    seconds = {name: float(value) for name, value, *_ in row.findall(printed)}
    assert list(seconds) == ["floor", "RMA", "plain", "baseline"] and min(seconds.values()) > 0

    def times(what):
        return float(re.search(rf"^{what} ([\d.]+) times faster", printed, flags=re.MULTILINE)[1])

    assert times("RMA is") == pytest.approx(seconds["plain"] / seconds["RMA"], rel=0.1)
    assert times("mask class tokens are") == pytest.approx(seconds["baseline"] / seconds["floor"], rel=0.1)
    differences = re.findall(r"largest difference of (\w+): ([\d.e+-]+), of values up to ([\d.e+-]+)", printed)
    assert [name for name, *_ in differences] == ["mask_embeddings", "refined_mask_logits"]
    for _, difference, largest in differences:
        assert float(difference) < (1e-4 if dtype == "float32" else 0.05) * float(largest)


@pytest.mark.parametrize("masks", [2, 40])
def test_the_baseline_is_scaled_to_all_masks(benchmark, run, monkeypatch, masks):
    """At most four masks are timed, and the time is scaled to all; here each mask takes a second."""

    def measured(run, device):
        result = run()
        return result, float(len(result)) if isinstance(result, torch.Tensor) else 1.0, 0

    monkeypatch.setattr(benchmark, "measured", measured)
    assert float(re.search(r"baseline +([\d.]+) s", run("--masks", str(masks)))[1]) == masks
