import pytest
import torch

from masqclip_d2.ops.selection import select_implementation

FORMS = {"reference": min, "torch": max}
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_auto_is_torch_where_there_is_no_kernel(monkeypatch):
    monkeypatch.delenv("MASQCLIP_OPS", raising=False)
    assert select_implementation("op", FORMS, CPU) is max
    assert select_implementation("op", FORMS, CUDA) is max


def test_auto_is_triton_on_cuda_only(monkeypatch):
    monkeypatch.delenv("MASQCLIP_OPS", raising=False)
    forms = {**FORMS, "triton": sum}
    assert select_implementation("op", forms, CUDA) is sum
    assert select_implementation("op", forms, CPU) is max


def test_argument_beats_environment(monkeypatch):
    monkeypatch.setenv("MASQCLIP_OPS", "reference")
    assert select_implementation("op", FORMS, CPU) is min
    assert select_implementation("op", FORMS, CPU, "torch") is max


def test_missing_form_is_an_error_that_names_the_others(monkeypatch):
    monkeypatch.setenv("MASQCLIP_OPS", "triton")
    with pytest.raises(ValueError, match="MASQCLIP_OPS is 'triton', but op has these forms: auto, reference, torch"):
        select_implementation("op", FORMS, CPU)
