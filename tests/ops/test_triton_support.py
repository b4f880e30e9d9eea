import contextlib
from collections.abc import Sequence

import torch

from masqclip_d2.ops import triton_support
from masqclip_d2.ops.triton_support import num_multiprocessors, power_of_two, triton_problem, with_dense_rows

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_where_kernels_run(monkeypatch):
    monkeypatch.setattr(triton_support.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(triton_support, "INTERPRETING", False)
    assert "run on CUDA devices" in triton_problem(CPU)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert "compute capability 7.5" in triton_problem(CUDA)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert triton_problem(CUDA) == ""
    monkeypatch.setattr(triton_support, "INTERPRETING", True)
    assert triton_problem(CPU) == "" and "on the CPU only" in triton_problem(CUDA)
    monkeypatch.setattr(triton_support.importlib.util, "find_spec", lambda name: None)
    assert triton_problem(CUDA) == "the package triton is not installed"


def test_sizes_of_tiles():
    assert [power_of_two(size) for size in (0, 1, 16, 17, 100)] == [16, 16, 16, 32, 128]
    assert [power_of_two(size, 1) for size in (1, 2, 3, 9)] == [1, 2, 4, 16]
    assert num_multiprocessors(CPU) == 132


def test_only_sparse_rows_are_copied():
    tensor = torch.randn(3, 4, 5)
    assert with_dense_rows(tensor.transpose(0, 1)) is not None
    assert with_dense_rows(tensor.transpose(0, 1)).data_ptr() == tensor.data_ptr()
    copied = with_dense_rows(tensor.transpose(1, 2))
    assert copied.stride(-1) == 1 and torch.equal(copied, tensor.transpose(1, 2))


def test_kernels_are_launched_on_the_device_of_their_tensors(monkeypatch):
    entered = []
    monkeypatch.setattr(torch.cuda, "device", lambda device: entered.append(device) or contextlib.nullcontext())
    for name in ("cpu", "cuda:1"):
        with triton_support._current(torch.device(name)):
            pass
    assert entered == [torch.device("cuda:1")]


def test_an_operator_has_the_signature_of_its_function():
    @triton_support.kernel_op("masqclip::test_of_kernel_op")
    def plus(tensor: torch.Tensor, number: float, names: Sequence[int]) -> torch.Tensor:
        return tensor + number + sum(names)

    assert torch.ops.masqclip.test_of_kernel_op(torch.ones(2), 1.0, [2, 3]).tolist() == [7.0, 7.0]
    assert str(torch.ops.masqclip.test_of_kernel_op.default._schema).endswith(
        "(Tensor tensor, float number, SymInt[] names) -> Tensor"
    )
