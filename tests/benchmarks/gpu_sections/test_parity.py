"""The check of kernels finds wrong results; here plain PyTorch stands in for the kernels."""

import math
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
        outputs = case.outputs(inputs, plain(implementation))
        return tuple(change(output) if implementation == "triton" else output for output in outputs)

    return replace(case, compute=compute, prepare=lambda inputs, name: case.prepare(inputs, plain(name)))


@pytest.mark.parametrize(
    "case, dtype",
    [(case, dtype) for case in op_cases(TINY) for dtype in case.dtypes],
    ids=lambda value: str(value)[:60],
)
def test_right_results_pass(settings, case, dtype):
    values = parity.compare(with_kernels(case), dtype, settings)
    assert "failure" not in values
    names = {name for name in values["all"]["triton"] if name.startswith("gradient of")}
    assert bool(names) == (case.op not in ("semantic_labels", "panoptic_winners"))
    assert "gradient of features" not in names


@pytest.mark.parametrize("case", op_cases(TINY), ids=lambda case: case.name)
def test_results_are_not_trivial(case):
    for output in case.outputs(case.inputs(2, torch.float32, torch.device("cpu")), "reference"):
        assert len(output.unique()) > 1


def test_wrong_labels_fail(settings):
    """Scores are right, and one label of an image is not."""
    (case,) = [case for case in op_cases(TINY) if case.op == "semantic_labels"]

    def change(output):
        changed = output.clone()
        if not output.is_floating_point():
            changed[0, 0] += 1
        return changed

    values = parity.compare(with_kernels(case, change), torch.float32, settings)
    assert values["failure"] and values["kernels"] == pytest.approx(1 / math.prod(TINY.frame[-1]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("change", [lambda x: 1.1 * x, lambda x: x * torch.nan], ids=["10 percent", "nan"])
def test_wrong_results_fail(settings, dtype, change):
    for case in op_cases(TINY):
        if dtype not in case.dtypes:
            continue
        assert "is larger than allowed" in parity.compare(with_kernels(case, change), dtype, settings)["failure"]


def test_wrong_gradients_fail(settings):
    case = op_cases(TINY)[0]

    def change(output):
        return output.detach() + 1.1 * (output - output.detach())  # the same value, another gradient

    values = parity.compare(with_kernels(case, change), torch.float32, settings)
    assert values["failure"] and values["worst result"].startswith("gradient of")
