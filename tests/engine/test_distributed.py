"""Processes of a training end together, with the reason of the one that failed first."""

import os
import signal
import time

import pytest
import torch

from masqclip_d2.cli.main import COMMANDS
from masqclip_d2.engine.distributed import Job, run_processes, torchrun_job
from masqclip_d2.engine.launch import launch_training
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


def torchrun_variables(monkeypatch, rank, world_size, local_rank, local_world_size):
    values = {"RANK": rank, "WORLD_SIZE": world_size, "LOCAL_RANK": local_rank, "LOCAL_WORLD_SIZE": local_world_size}
    for name, value in {**values, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, str(value))


def test_the_job_that_torchrun_has_started(monkeypatch):
    assert torchrun_job() is None
    torchrun_variables(monkeypatch, 5, 8, 1, 4)
    assert torchrun_job() == Job(4, 2, 1, "env://", local_rank=1)
    assert not torchrun_job().has_first_process and torchrun_job(on_cpu=True).on_cpu
    torchrun_variables(monkeypatch, 0, 8, 0, 4)
    assert torchrun_job().has_first_process
    monkeypatch.delenv("LOCAL_RANK")  # such as in a container of a cluster that counts machines in these variables
    assert torchrun_job() is None


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ((5, 8, 1, 3), "Rank 5 of 8 processes cannot be process 1 of 3 on its machine"),
        ((5, 8, 0, 4), "Rank 5 of 8 processes cannot be process 0 of 4"),
        (("x", 8, 0, 4), "must be numbers, got \\['x', '8', '0', '4'\\]"),
    ],
)
def test_variables_that_contradict_each_other_are_refused(variables, message, monkeypatch):
    torchrun_variables(monkeypatch, *variables)
    with pytest.raises(ValueError, match=message):
        torchrun_job()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--num-machines", "2", "--dist-url", "tcp://a:1"], "leave out --num-machines, --machine-rank and --dist-url"),
        (["--num-gpus", "8"], "--num-gpus is 8, but torchrun has started 2 processes on this machine"),
    ],
)
def test_flags_that_contradict_torchrun_are_refused(flags, message, monkeypatch):
    torchrun_variables(monkeypatch, 0, 2, 0, 2)
    args = COMMANDS["train"].parser().parse_args(["--config-file", "shapes/teacher", *flags])
    with pytest.raises(ValueError, match=message):
        launch_training(args)
