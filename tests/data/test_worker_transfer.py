"""Batches arrive equal whether shared memory is used or not."""

import os
import signal

import pytest
import torch
from detectron2.structures import BitMasks, Instances
from torch.utils.data import DataLoader

from masqclip_d2.data.worker_transfer import set_up_workers, usable_workers
from masqclip_d2.error_report import error_report, is_user_error


def record(index):
    masks = torch.rand(2, 50, 60) > 0.5
    return {"image": torch.full((3, 50, 60), index), "instances": Instances((50, 60), gt_masks=BitMasks(masks))}


class Records(torch.utils.data.Dataset):
    def __init__(self, fault=None):
        self.fault = fault

    def __len__(self):
        return 4

    def __getitem__(self, index):
        if self.fault:
            os.kill(os.getpid(), self.fault)
        return record(index)


def loader(num_workers=1, **arguments):
    made = DataLoader(Records(**arguments), batch_size=2, num_workers=num_workers)
    set_up_workers(made)
    return made


@pytest.mark.parametrize("free", [0, 1e12], ids=["full", "free"])
def test_batches_arrive_with_and_without_shared_memory(free, monkeypatch):
    monkeypatch.setattr("masqclip_d2.data.worker_transfer._free_bytes", lambda: free)
    batches = list(loader())
    assert [[int(each["image"].max()) for each in batch] for batch in batches] == [[0, 1], [2, 3]]
    records = [each for batch in batches for each in batch]
    tensors = [each["image"] for each in records] + [each["instances"].gt_masks.tensor for each in records]
    assert {tensor.is_shared() for tensor in tensors} == {free > 0}


def test_processes_that_cannot_share_anything_load_without_workers(monkeypatch, caplog):
    def refuse():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("multiprocessing.Lock", refuse)
    assert usable_workers(0) == 0 and not caplog.text
    assert len(list(loader(num_workers=2))) == 2
    assert "Images are loaded without workers: shared memory (/dev/shm) is unusable" in caplog.text


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGBUS])
def test_a_worker_that_is_killed_is_one_sentence(number):
    """With the signal, if PyTorch sees it before it misses the worker."""
    with pytest.raises(RuntimeError) as raised:
        list(loader(fault=number))
    report = error_report(raised.value)
    assert is_user_error(raised.value) and report.count("\n") == 1
    assert report.startswith("error: A data loader worker (PID ") and "memory" in report
