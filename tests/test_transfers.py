"""Copies between host and GPU."""

from unittest import mock

import numpy as np
import torch

from masqclip_d2 import transfers
from masqclip_d2.transfers import device_constant, to_host
from tests.fake_gpu import Recorder, fake_gpu


def test_tensors_of_the_cpu_are_not_copied():
    first, second = torch.arange(3), torch.ones(2, dtype=torch.bool)
    copied = to_host(first, second)
    assert copied[0].tolist() == [0, 1, 2] and copied[0].dtype == np.int64
    assert copied[1].tolist() == [True, True] and copied[1].dtype == np.bool_


def test_several_tensors_are_one_copy():
    tensors = [torch.rand(3, 2), torch.tensor([True, False]), torch.tensor(-(2**40)), torch.zeros(0, 4)]
    copies = []

    class OnGpu(torch.Tensor):  # values of the CPU, a device that looks like a GPU
        device = torch.device("cuda")

        def reshape(self, *shape):
            return self.as_subclass(torch.Tensor).reshape(*shape)

    original = torch.Tensor.cpu
    with mock.patch.object(torch.Tensor, "cpu", lambda tensor: copies.append(tensor.shape) or original(tensor)):
        found = to_host(*(tensor.as_subclass(OnGpu) for tensor in tensors))
    assert copies == [(9,)]
    for before, after in zip(tensors, found, strict=True):
        assert after.dtype == before.numpy().dtype and after.shape == before.shape
        assert np.array_equal(after, before.numpy())


def test_constants():
    values = ((1, 2), (3, 4))
    constant = device_constant(values, torch.float32, torch.device("cpu"))
    assert constant.tolist() == [[1.0, 2.0], [3.0, 4.0]] and constant.dtype == torch.float32
    with fake_gpu(), Recorder() as recorder:
        device = torch.device("cuda")
        first, again = (device_constant((5.25, 7.5), torch.float32, device) for _ in range(2))
        assert first is again and first.shape == (2,)
        assert device_constant((5.25, 7.5), torch.float64, device).dtype == torch.float64
    assert recorder.to_gpu == [(2,), (2,)] and recorder.waiting == []


def test_constants_made_in_inference_mode_serve_training():
    with fake_gpu(), torch.inference_mode():
        made = device_constant((1.5, 2.5, 3.5), torch.float32, torch.device("cuda"))
    assert not made.is_inference()


def test_compiled_code_copies_no_constants(monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    values = ((0.5, 2), (3, 4))
    with fake_gpu(), Recorder() as recorder:
        constant = device_constant(values, torch.float32, torch.device("cuda"))
        assert constant.shape == (2, 2) and constant.dtype == torch.float32
    assert recorder.to_gpu == []
    assert device_constant(values, torch.float32, torch.device("cpu")).tolist() == [[0.5, 2.0], [3.0, 4.0]]
    assert transfers._filled(values, torch.float32, torch.device("cpu")).tolist() == [[0.5, 2.0], [3.0, 4.0]]
