"""Starting the processes of a distributed run."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import timedelta

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch import multiprocessing

DEFAULT_TIMEOUT = timedelta(minutes=30)


def launch(
    main_func: Callable[..., object],
    num_gpus_per_machine: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str | None = None,
    args: tuple = (),
    timeout: timedelta = DEFAULT_TIMEOUT,
) -> None:
    """Run `main_func(*args)` in every process of the job, and wait for them.

    A single process is the caller's. Otherwise `num_gpus_per_machine` processes are spawned on this machine and joined
    with those of other machines: NCCL with one GPU each, or gloo without CUDA. The return value of `main_func` is lost.

    Args:
        dist_url: address of machine 0, such as "tcp://10.0.0.1:50000"; "auto" finds a free port (one machine only).
        timeout: how long a process waits for the others in a collective call.

    Raises:
        ValueError: more processes than GPUs; "auto" or no address with several machines.
    """
    world_size = num_machines * num_gpus_per_machine
    if world_size <= 1:
        main_func(*args)
        return
    if torch.cuda.is_available() and num_gpus_per_machine > torch.cuda.device_count():
        raise ValueError(
            f"{num_gpus_per_machine} processes are requested, but this machine has {torch.cuda.device_count()} GPU(s); "
            "each process needs one."
        )
    if dist_url is None:
        raise ValueError("A run of several processes needs dist_url, the address of machine 0 ('auto' on one machine).")
    if dist_url == "auto":
        if num_machines > 1:
            raise ValueError("dist_url='auto' works on one machine only; use tcp://<address of machine 0>:<port>.")
        dist_url = f"tcp://127.0.0.1:{_free_port()}"
    multiprocessing.start_processes(  # pyright: ignore[reportPrivateImportUsage]  (documented as public)
        _run_worker,
        nprocs=num_gpus_per_machine,
        args=(main_func, world_size, num_gpus_per_machine, machine_rank, dist_url, args, timeout),
        daemon=False,  # data loader workers are children of these processes
        start_method="spawn",
    )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _run_worker(
    local_rank: int,
    main_func: Callable[..., object],
    world_size: int,
    num_local: int,
    machine_rank: int,
    dist_url: str,
    args: tuple,
    timeout: timedelta,
) -> None:
    has_cuda = torch.cuda.is_available()
    if has_cuda:
        torch.cuda.set_device(local_rank)
    dist.init_process_group(
        backend="nccl" if has_cuda else "gloo",
        init_method=dist_url,
        world_size=world_size,
        rank=machine_rank * num_local + local_rank,
        timeout=timeout,
    )
    comm.create_local_process_group(num_local)
    comm.synchronize()
    main_func(*args)
    dist.destroy_process_group()
