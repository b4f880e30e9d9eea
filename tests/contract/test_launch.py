"""launch: a call in one process, and two gloo processes on a CPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from detectron2.engine import create_ddp_model, launch
from torch import nn

from masqclip_d2 import detectron2_backend


@pytest.mark.parametrize("num_processes", [0, 1])
def test_one_process_is_a_plain_call(num_processes):
    seen = []
    assert launch(seen.append, num_processes, args=("called",)) is None
    assert seen == ["called"]


def test_ddp_returns_the_model_of_a_single_process():
    model = nn.Linear(1, 1)
    assert create_ddp_model(model, broadcast_buffers=False) is model


@pytest.mark.skipif(torch.cuda.is_available(), reason="with CUDA each process needs its own GPU")
def test_two_processes_on_a_cpu(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    import two_processes_worker as worker

    is_real = detectron2_backend().kind == "real"  # whose DistributedDataParallel fails on a CPU, a known bug
    launch(worker.report_to if is_real else worker.train_in, 2, dist_url="auto", args=(str(tmp_path),))

    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert (first["rank"], second["rank"]) == (0, 1)
    assert first["world"] == second["world"] == 2
    assert (first["local"], second["local"]) == ([0, 2], [1, 2])
    assert first["gathered"] == [0, 10] and second["gathered"] == []
    assert first["all"] == second["all"] == [{"rank": 0}, {"rank": 1}]
    assert first["seed"] == second["seed"]
    if is_real:
        return

    # Two processes are equivalent to one with both batches.
    content = torch.load(tmp_path / "model_final.pth", weights_only=True)
    assert list(content["model"]) == ["weight"]  # no "module." prefix
    assert content["model"]["weight"].item() == pytest.approx(1 - 3 * 0.1 * (1 + 3) / 2)
    last = json.loads((tmp_path / "metrics.json").read_text().splitlines()[-1])
    assert last["iteration"] == 2 and last["constant"] == 1.0
    assert last["loss"] == pytest.approx((1 - 0.1 * 2) * 2)  # median of weights 1, 0.8, 0.6, times the mean batch
    assert (tmp_path / "log.txt").exists() and (tmp_path / "log.txt.rank1").exists()


def test_auto_address_is_for_one_machine():
    with pytest.raises((ValueError, AssertionError)):
        launch(print, 2, num_machines=2, dist_url="auto")
