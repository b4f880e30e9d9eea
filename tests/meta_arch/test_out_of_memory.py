"""Out of memory: one retry in pieces, with the same result, then an error that names the size."""

import pytest
import torch

from masqclip_d2.fusion import instance_inference
from masqclip_d2.meta_arch.out_of_memory import in_smaller_pieces, on_cpu_if_necessary


def _limited(limit):
    """Squares at most `limit` numbers at a time."""
    calls = []

    def square(items):
        calls.append(len(items))
        if len(items) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")
        return [item * item for item in items]

    return square, calls


def test_all_items_at_once_if_they_fit():
    square, calls = _limited(8)
    assert in_smaller_pieces(square, [1, 2, 3], "images") == [1, 4, 9] and calls == [3]


def test_one_retry_in_pieces_has_the_same_result():
    square, calls = _limited(1)
    assert in_smaller_pieces(square, [1, 2, 3], "images") == [1, 4, 9] and calls == [3, 1, 1, 1]


def test_the_error_names_the_size():
    square, calls = _limited(0)
    with pytest.raises(RuntimeError, match=r"single one of 2 images of 640 x 480 pixels.*MIN_SIZE_TEST.*2.00 GiB"):
        in_smaller_pieces(square, [1, 2], "images of 640 x 480 pixels")
    assert calls == [2, 1]


def test_other_errors_are_not_retried():
    def broken(items):
        raise ValueError("no")

    with pytest.raises(ValueError, match="^no$"):
        in_smaller_pieces(broken, [1], "images")


def test_tensors_are_pieces_too():
    square, _ = _limited(1)
    assert torch.stack(in_smaller_pieces(square, torch.tensor([2, 3]), "masks")).tolist() == [4, 9]


def test_memory_of_the_machine_counts_too():
    calls = []

    def full(items):
        calls.append(len(items))
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried")

    with pytest.raises(RuntimeError, match=r"^Out of memory with a single one of 2 images"):
        in_smaller_pieces(full, [1, 2], "images")
    assert calls == [2, 1]


def _full_on(*devices):
    """Returns the name of its device, unless that is full."""
    calls = []

    def run(device):
        calls.append(device.type)
        if device.type in devices:
            raise MemoryError if device.type == "cpu" else torch.OutOfMemoryError("CUDA out of memory. 1.20 GiB\nmore")
        return device.type

    return run, calls


def test_a_full_gpu_is_replaced_by_the_cpu(caplog):
    run, calls = _full_on("cuda")
    assert on_cpu_if_necessary(run, torch.device("cuda"), "9 masks at 3 x 4 pixels") == "cpu"
    assert calls == ["cuda", "cpu"] and "Out of memory with 9 masks at 3 x 4 pixels on cuda" in caplog.text
    run, calls = _full_on()
    assert on_cpu_if_necessary(run, torch.device("cuda"), "masks") == "cuda" and calls == ["cuda"]


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_a_full_machine_is_one_sentence(device):
    run, _ = _full_on("cuda", "cpu")
    with pytest.raises(RuntimeError, match=r"^Out of memory with 9 masks.*DETECTIONS_PER_IMAGE.*\(MemoryError\)$"):
        on_cpu_if_necessary(run, torch.device(device), "9 masks at 3 x 4 pixels")


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_other_errors_of_a_device_are_not_retried(device):
    def broken(device):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="^mat1"):
        on_cpu_if_necessary(broken, torch.device(device), "masks")


def test_instances_that_do_not_fit_are_one_sentence(monkeypatch):
    monkeypatch.setattr("masqclip_d2.fusion.instance._available_memory", lambda: 10)
    with pytest.raises(RuntimeError, match=r"^Out of memory with 2 masks.*DETECTIONS_PER_IMAGE.*\(the instances need"):
        on_cpu_if_necessary(
            lambda _: instance_inference(torch.rand(2, 1), torch.rand(2, 4, 4)), torch.device("cpu"), "2 masks"
        )
