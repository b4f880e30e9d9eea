"""The check of kernels finds wrong results; here plain PyTorch stands in for the kernels."""

from dataclasses import replace

import pytest
import torch

from benchmarks.gpu_sections import parity
from benchmarks.gpu_sections.settings import Settings
from benchmarks.op_cases import TINY, op_cases


@pytest.fixture
def settings(monkeypatch):
    monkeypatch.setattr(Settings, "require_kernels", lambda self: None)
    return Settings.of("cpu", tiny=True)


def with_kernels(case, change=lambda output: output):
    """The case with plain PyTorch, changed, in place of its kernels."""

    def plain(implementation):
        return "torch" if implementation == "triton" else implementation

    def compute(inputs, implementation):
        output = case.compute(inputs, plain(implementation))
        return change(output) if implementation == "triton" else output

    return replace(case, compute=compute, prepare=lambda inputs, name: case.prepare(inputs, plain(name)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("case", op_cases(TINY), ids=lambda case: case.name)
def test_right_results_pass(settings, case, dtype):
    values = parity.compare(with_kernels(case), dtype, settings)
    assert "failure" not in values
    names = {name for name in values["all"]["triton"] if name.startswith("gradient of")}
    assert bool(names) == case.has_gradients and "gradient of features" not in names


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("change", [lambda x: 1.1 * x, lambda x: x * torch.nan], ids=["10 percent", "nan"])
def test_wrong_results_fail(settings, dtype, change):
    for case in op_cases(TINY):
        assert "is larger than allowed" in parity.compare(with_kernels(case, change), dtype, settings)["failure"]


def test_wrong_gradients_fail(settings):
    case = op_cases(TINY)[0]

    def change(output):
        return output.detach() + 1.1 * (output - output.detach())  # the same value, another gradient

    values = parity.compare(with_kernels(case, change), torch.float32, settings)
    assert values["failure"] and values["worst result"].startswith("gradient of")
