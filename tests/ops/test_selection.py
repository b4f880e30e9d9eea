import pytest
import torch

from masqclip_d2.ops import selection
from masqclip_d2.ops.selection import deterministic_problem, dtype_problem, explain_selection, select_implementation

IMPLEMENTATIONS = {"reference": min, "torch": max}
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_auto_is_torch_where_there_is_no_kernel(monkeypatch):
    monkeypatch.delenv("MASQCLIP_OPS", raising=False)
    assert select_implementation("op", IMPLEMENTATIONS, CPU) is max
    assert select_implementation("op", IMPLEMENTATIONS, CUDA) is max


WITH_KERNELS = {**IMPLEMENTATIONS, "triton": sum}


@pytest.fixture
def recent_gpu(monkeypatch):
    """Kernels can run on CUDA devices."""
    monkeypatch.setattr(selection, "triton_problem", lambda device: "" if device == CUDA else "there is no GPU")
    monkeypatch.delenv("MASQCLIP_OPS", raising=False)


def test_auto_is_triton_on_cuda_only(recent_gpu):
    assert select_implementation("op", WITH_KERNELS, CUDA) is sum
    assert select_implementation("op", WITH_KERNELS, CPU) is max
    assert select_implementation("op", WITH_KERNELS, CUDA, unsupported="too large") is max


@pytest.mark.parametrize(
    "implementations, device, unsupported, selection",
    [
        (WITH_KERNELS, CUDA, "", ("triton", "auto selects kernels on CUDA devices")),
        (WITH_KERNELS, CUDA, "too large", ("torch", "too large")),
        (WITH_KERNELS, CPU, "", ("torch", "auto selects kernels on CUDA devices only")),
        (IMPLEMENTATIONS, CUDA, "", ("torch", "it has no kernels")),
    ],
)
def test_reason_of_an_automatic_selection(recent_gpu, implementations, device, unsupported, selection):
    assert explain_selection("op", implementations, device, unsupported=unsupported) == selection


def test_reason_of_a_selection_where_kernels_cannot_run(recent_gpu, monkeypatch):
    monkeypatch.setattr(selection, "triton_problem", lambda device: "the GPU is too old")
    assert explain_selection("op", WITH_KERNELS, CUDA) == ("torch", "the GPU is too old")


def test_reason_of_a_choice(monkeypatch):
    assert explain_selection("op", WITH_KERNELS, CPU, "reference").reason == "implementation is 'reference'"
    monkeypatch.setenv("MASQCLIP_OPS", "torch")
    assert explain_selection("op", WITH_KERNELS, CUDA).reason == "the environment variable MASQCLIP_OPS is 'torch'"


def test_kernels_that_cannot_run_are_an_error_with_the_reason(recent_gpu, monkeypatch):
    with pytest.raises(ValueError, match="implementation is 'triton', but op cannot use it: there is no GPU. Use auto"):
        select_implementation("op", WITH_KERNELS, CPU, "triton")
    monkeypatch.setenv("MASQCLIP_OPS", "triton")
    with pytest.raises(ValueError, match="MASQCLIP_OPS is 'triton', but op cannot use it: too large"):
        select_implementation("op", WITH_KERNELS, CUDA, unsupported="too large")


def test_deterministic_algorithms_exclude_sums_by_atomics():
    weight = torch.ones(1, requires_grad=True)
    assert deterministic_problem(weight) == ""
    torch.use_deterministic_algorithms(True)
    try:
        assert "deterministic algorithms are on" in deterministic_problem(None, weight)
        assert deterministic_problem(None, weight.detach()) == ""
        with torch.no_grad():
            assert deterministic_problem(weight) == ""
    finally:
        torch.use_deterministic_algorithms(False)


def test_argument_beats_environment(monkeypatch):
    monkeypatch.setenv("MASQCLIP_OPS", "reference")
    assert select_implementation("op", IMPLEMENTATIONS, CPU) is min
    assert select_implementation("op", IMPLEMENTATIONS, CPU, "torch") is max


def test_missing_implementation_is_an_error_that_names_the_others(monkeypatch):
    monkeypatch.setenv("MASQCLIP_OPS", "triton")
    with pytest.raises(
        ValueError, match="MASQCLIP_OPS is 'triton', but op has no such .* expected auto, reference, torch."
    ):
        select_implementation("op", IMPLEMENTATIONS, CPU)


def test_kernels_compute_in_float32_and_half_precision():
    assert dtype_problem(torch.zeros(1), None, torch.zeros(1, dtype=torch.bfloat16)) == ""
    assert "not with torch.float64" in dtype_problem(torch.zeros(1), torch.zeros(1, dtype=torch.float64))
