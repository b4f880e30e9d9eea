"""Processes of a training end together, with the reason of the one that failed first."""

import os
import signal
import time

import pytest
import torch

from masqclip_d2.engine.distributed import Job, run_processes
from masqclip_d2.error_report import error_report, is_user_error
from masqclip_d2.processes import WorkerDiedError


def all_reduce_forever():
    while True:
        torch.distributed.all_reduce(torch.ones(1))
        time.sleep(0.02)


def fail_on_rank_1(fault):
    """The others wait in collective calls."""
    torch.distributed.all_reduce(torch.ones(1))
    if torch.distributed.get_rank() != 1:
        all_reduce_forever()
    if fault == "raises":
        raise ValueError("the file of rank 1 is broken")
    if fault == "exits":
        os._exit(3)
    os.kill(os.getpid(), {"is killed": signal.SIGKILL, "is stopped": signal.SIGSTOP}[fault])


def write_rank(folder):
    (folder / str(torch.distributed.get_rank())).touch()


@pytest.fixture
def forked(monkeypatch):
    """Processes that start without importing everything anew."""
    from torch import multiprocessing

    start = multiprocessing.start_processes
    monkeypatch.setattr(
        multiprocessing, "start_processes", lambda *args, **kwargs: start(*args, **{**kwargs, "start_method": "fork"})
    )


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raises", "error: ValueError: the file of rank 1 is broken\n"),
        ("is killed", "error: Process 1 of the training was ended by SIGKILL, often because memory ran out; use "),
        ("exits", "error: Process 1 of the training ended with exit code 3.\n"),
        ("is stopped", "error: Process 1 of the training (PID "),
    ],
)
def test_a_fault_of_one_process_ends_all_with_its_reason(fault, message, forked, monkeypatch):
    monkeypatch.setattr("masqclip_d2.engine.distributed._STOPPED_LIMIT", 1.0)
    start = time.monotonic()
    with pytest.raises((RuntimeError, WorkerDiedError)) as raised:
        run_processes(fail_on_rank_1, (fault,), Job(2))
    assert time.monotonic() - start < 30
    assert is_user_error(raised.value) and message in error_report(raised.value)


def test_all_processes_run(tmp_path, forked):
    run_processes(write_rank, (tmp_path,), Job(2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


def test_a_single_process_is_the_calling_one():
    seen = []
    for num_local in (0, 1):
        run_processes(seen.append, (num_local,), Job(num_local))
    assert seen == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_local": 2, "num_machines": 2}, "Several machines need --dist-url tcp://ADDRESS_OF_MACHINE_0:PORT."),
        ({"num_local": 0, "num_machines": 2, "dist_url": "tcp://a:1"}, "--num-gpus is 0 with 2 machines"),
        ({"num_local": 1, "machine_rank": 1}, "--machine-rank is 1 and --num-machines 1; machines are numbered from 0"),
    ],
)
def test_a_job_that_would_wait_for_ever_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Job(**arguments)
