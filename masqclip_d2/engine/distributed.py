"""The processes of a training on this machine: started together, ended together, or all started by torchrun.

Detectron2's `launch` waits for the first process that fails, and then without limit for the others. Here every process
ends within seconds of the first failure, whose reason is reported, also if a process was killed or stopped.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NoReturn

import torch
from detectron2.utils import comm
from torch import distributed, multiprocessing

from ..processes import WorkerDiedError, describe_signal, end_processes, start_worker

_TIMEOUT = timedelta(minutes=30)  # of one collective call: an evaluation on one process takes long
_CHECK_PERIOD = 0.5  # seconds
_STOPPED_LIMIT = 10.0  # seconds that a process may be stopped (SIGSTOP)
_REPORT_GRACE = 1.0  # seconds for other processes to report why they failed
_END_GRACE = 2.0  # seconds between SIGTERM and SIGKILL
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# In messages of processes that lost the connection to one that had failed.
_LOST_CONNECTION = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "socket", "store")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """All processes of a training, `num_local` on each machine.

    Args:
        num_local: 0 or 1 on a single machine: the calling process.
        num_machines, machine_rank: number of machines, index of this one.
        dist_url: address of machine 0; None: a free port of this machine.
        local_rank: index on its machine of the calling process, which torchrun has started with all others; None: the
            processes of this machine are started here.
        on_cpu: without GPUs, also where there are some.
    """

    num_local: int
    num_machines: int = 1
    machine_rank: int = 0
    dist_url: str | None = None
    local_rank: int | None = None
    on_cpu: bool = False

    def __post_init__(self) -> None:
        if self.num_machines < 1 or not 0 <= self.machine_rank < self.num_machines:
            raise ValueError(
                f"--machine-rank is {self.machine_rank} and --num-machines {self.num_machines}; machines are numbered "
                "from 0."
            )
        if self.num_machines > 1 and self.num_local < 1:
            raise ValueError(
                f"--num-gpus is {self.num_local} with {self.num_machines} machines; pass the number of processes on "
                "each, at least 1 (without GPUs it counts CPU processes)."
            )
        if self.num_machines > 1 and self.dist_url is None:
            raise ValueError("Several machines need --dist-url tcp://ADDRESS_OF_MACHINE_0:PORT.")

    @property
    def world_size(self) -> int:
        return self.num_machines * self.num_local

    @property
    def has_first_process(self) -> bool:
        """Whether the process of rank 0 is the calling one, or is started by it."""
        return self.machine_rank == 0 and not self.local_rank


def torchrun_job(on_cpu: bool = False) -> Job | None:
    """The job of which torchrun, or a program that sets the same environment variables, has started this process.

    Args:
        on_cpu: see `Job`.

    Returns:
        None: the process was not started so.

    Raises:
        ValueError: the variables are no numbers, or the machines have different numbers of processes.
    """
    if not all(name in os.environ for name in _TORCHRUN):
        return None
    texts = [os.environ[name] for name in _TORCHRUN[:4]]
    if not all(text.isdecimal() for text in texts):
        raise ValueError(f"The environment variables {', '.join(_TORCHRUN[:4])} must be numbers, got {texts}.")
    rank, world_size, local_rank, num_local = map(int, texts)
    if num_local < 1 or world_size % num_local or rank % num_local != local_rank:
        raise ValueError(
            f"Rank {rank} of {world_size} processes cannot be process {local_rank} of {num_local} on its machine; "
            "start the same number of processes on each machine (torchrun --nproc-per-node)."
        )
    return Job(num_local, world_size // num_local, rank // num_local, "env://", local_rank, on_cpu)


def run_processes(function: Callable[..., object], args: tuple, job: Job) -> None:
    """Call `function(*args)` in every process of a job on this machine, and wait for them.

    Raises:
        WorkerDiedError: a process was killed or stopped.
        RuntimeError: a process failed; the message has its traceback, as those of torch.multiprocessing.
    """
    if job.world_size <= 1:
        function(*args)
        return
    if job.local_rank is not None:
        _join(job, job.local_rank, "env://")
        function(*args)
        distributed.destroy_process_group()
        return
    url = job.dist_url or f"tcp://127.0.0.1:{_free_port()}"
    if job.num_machines > 1:
        logger.info("Waiting for %d processes of %d machines at %s.", job.world_size, job.num_machines, url)
    with tempfile.TemporaryDirectory() as reports:
        context: Any = multiprocessing.start_processes(  # pyright: ignore[reportPrivateImportUsage]  # documented
            _run_rank,
            args=(function, args, job, url, reports),
            nprocs=job.num_local,
            join=False,
            daemon=False,  # data loader workers are children of these processes
            start_method="spawn",
        )
        try:
            _wait_for_all(context.processes, Path(reports))
        finally:
            end_processes(context.processes, _END_GRACE)
            for process in context.processes:
                process.join()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _run_rank(local_rank: int, function: Callable[..., object], args: tuple, job: Job, url: str, reports: str) -> None:
    """A process of the job: join the others, run, and report an error."""
    start_worker()
    rank = job.machine_rank * job.num_local + local_rank
    try:
        _join(job, local_rank, url)
        function(*args)
        distributed.destroy_process_group()
    except Exception:
        report = {"time": time.time(), "rank": rank, "traceback": traceback.format_exc()}
        Path(reports, f"{local_rank}.tmp").write_text(json.dumps(report), encoding="utf-8")
        os.rename(Path(reports, f"{local_rank}.tmp"), Path(reports, f"{local_rank}.json"))
        logging.shutdown()
        os._exit(1)  # the other processes shall not wait for threads and workers of this one


def _join(job: Job, local_rank: int, url: str) -> None:
    """Make this process one of the process group, with its own GPU."""
    rank = job.machine_rank * job.num_local + local_rank
    with_gpus = torch.cuda.is_available() and not job.on_cpu
    if with_gpus:
        torch.cuda.set_device(local_rank)
    distributed.init_process_group(
        "nccl" if with_gpus else "gloo", init_method=url, world_size=job.world_size, rank=rank, timeout=_TIMEOUT
    )
    comm.create_local_process_group(job.num_local)
    comm.synchronize()


def _wait_for_all(processes: Sequence[Any], reports: Path) -> None:
    stopped_since: dict[int, float] = {}
    while any(process.exitcode is None for process in processes):
        wait([process.sentinel for process in processes if process.exitcode is None], _CHECK_PERIOD)
        if any(process.exitcode for process in processes):
            break
        for index, process in enumerate(processes):
            if not _is_stopped(process.pid):
                stopped_since.pop(index, None)
            elif time.monotonic() - stopped_since.setdefault(index, time.monotonic()) > _STOPPED_LIMIT:
                raise WorkerDiedError(
                    f"Process {index} of the training (PID {process.pid}) has been stopped (SIGSTOP) for "
                    f"{_STOPPED_LIMIT:.0f} s; all processes were ended."
                )
    if any(process.exitcode for process in processes):
        time.sleep(_REPORT_GRACE)
        _raise_first_failure(processes, reports)


def _raise_first_failure(processes: Sequence[Any], reports: Path) -> NoReturn:
    """Raise the error that was not caused by that of another process."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in reports.glob("*.json")]
    found.sort(key=lambda report: report["time"])
    causes = [report for report in found if not _is_lost_connection(report["traceback"])]
    silent = [(index, each.exitcode) for index, each in enumerate(processes) if each.exitcode]
    silent = [(index, code) for index, code in silent if not (reports / f"{index}.json").exists()]
    # An interpreter in which another process's failure surprises a thread of gloo is aborted.
    silent.sort(key=lambda each: each[1] == -signal.SIGABRT)
    if causes or not silent:
        first = (causes or found)[0]
        raise RuntimeError(f"\n\n-- Process {first['rank']} terminated with the following error:\n{first['traceback']}")
    index, code = silent[0]
    reason = f"was ended by {describe_signal(-code)}" if code < 0 else f"ended with exit code {code}."
    raise WorkerDiedError(f"Process {index} of the training {reason}")


def _is_lost_connection(text: str) -> bool:
    """Whether a traceback is that of a process that lost the connection to another one."""
    error = text.rsplit('  File "', 1)[-1].lower()
    return ("runtimeerror" in error or "torch.distributed" in error) and any(
        words in error for words in _LOST_CONNECTION
    )


def _is_stopped(process_id: int) -> bool:
    """Whether a process is stopped by a signal; False where that is unknown (no /proc)."""
    try:
        return Path("/proc", str(process_id), "stat").read_text().rsplit(")", 1)[1].split()[0] == "T"
    except (OSError, IndexError):
        return False
