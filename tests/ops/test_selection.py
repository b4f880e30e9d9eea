import pytest
import torch

from masqclip_d2.ops.selection import select_implementation

IMPLEMENTATIONS = {"reference": min, "torch": max}
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_auto_is_torch_where_there_is_no_kernel(monkeypatch):
    monkeypatch.delenv("MASQCLIP_OPS", raising=False)
    assert select_implementation("op", IMPLEMENTATIONS, CPU) is max
    assert select_implementation("op", IMPLEMENTATIONS, CUDA) is max


def test_auto_is_triton_on_cuda_only(monkeypatch):
    monkeypatch.delenv("MASQCLIP_OPS", raising=False)
    implementations = {**IMPLEMENTATIONS, "triton": sum}
    assert select_implementation("op", implementations, CUDA) is sum
    assert select_implementation("op", implementations, CPU) is max


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
