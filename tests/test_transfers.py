"""Copies between host and GPU."""

import torch

from masqclip_d2.transfers import device_constant, to_host
from tests.fake_gpu import Recorder, fake_gpu


def test_tensors_of_the_cpu_are_not_copied():
    first, second = torch.arange(3), torch.ones(2, dtype=torch.bool)
    copied = to_host(first, second)
    assert copied[0] is first and copied[1] is second


def test_several_tensors_are_one_copy():
    with fake_gpu():
        tensors = [torch.zeros(3, 2, device="cuda"), torch.ones(4, dtype=torch.bool, device="cuda")]
        tensors.append(torch.zeros((), dtype=torch.int64, device="cuda"))
        with Recorder() as recorder:
            copied = to_host(*tensors)
        assert recorder.to_host == [(11,)]
        for before, after in zip(tensors, copied, strict=True):
            assert after.device.type == "cpu" and after.shape == before.shape and after.dtype == before.dtype


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
