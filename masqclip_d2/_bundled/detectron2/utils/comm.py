"""Rank, world size and collectives of picklable objects; also without `torch.distributed`."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

_local_process_group: dist.ProcessGroup | None = None


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def get_world_size() -> int:
    """Number of processes in the job."""
    return dist.get_world_size() if _is_distributed() else 1


def get_rank() -> int:
    """Index of this process in the job."""
    return dist.get_rank() if _is_distributed() else 0


def is_main_process() -> bool:
    """Whether this process has rank 0."""
    return get_rank() == 0


def create_local_process_group(num_workers_per_machine: int) -> None:
    """Create the process group of this machine; every process of the job calls this once.

    Args:
        num_workers_per_machine: processes per machine, the same on each; ranks are numbered machine by machine.
    """
    global _local_process_group
    assert _local_process_group is None, "The local process group already exists."
    assert get_world_size() % num_workers_per_machine == 0, (
        f"{get_world_size()} processes cannot be split into machines of {num_workers_per_machine}."
    )
    machine = get_rank() // num_workers_per_machine
    for i in range(get_world_size() // num_workers_per_machine):
        ranks = range(i * num_workers_per_machine, (i + 1) * num_workers_per_machine)
        group: Any = dist.new_group(list(ranks))
        if i == machine:
            _local_process_group = group


def get_local_process_group() -> dist.ProcessGroup:
    """Return the group of `create_local_process_group`."""
    assert _local_process_group is not None, (
        "There is no local process group: start processes with detectron2.engine.launch, or call "
        "detectron2.utils.comm.create_local_process_group first."
    )
    return _local_process_group


def get_local_rank() -> int:
    """Index of this process among those of its machine."""
    return dist.get_rank(group=get_local_process_group()) if _is_distributed() else 0


def get_local_size() -> int:
    """Number of processes on this machine."""
    return dist.get_world_size(group=get_local_process_group()) if _is_distributed() else 1


def synchronize() -> None:
    """Wait for all processes."""
    if get_world_size() == 1:
        return
    if dist.get_backend() == dist.Backend.NCCL:
        # Without device_ids NCCL derives the device from the global rank.
        dist.barrier(device_ids=[torch.cuda.current_device()])
    else:
        dist.barrier()


@functools.lru_cache
def _object_group() -> Any:
    # Pickled objects are in host memory; NCCL would need them on a GPU.
    if dist.get_backend() == dist.Backend.NCCL:
        return dist.new_group(backend="gloo")
    return dist.group.WORLD


def all_gather(data: Any, group: dist.ProcessGroup | None = None) -> list[Any]:
    """Gather picklable `data` from all processes to every process, ordered by rank."""
    if get_world_size() == 1:
        return [data]
    group = group or _object_group()
    gathered: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(gathered, data, group=group)
    return gathered


def gather(data: Any, dst: int = 0, group: dist.ProcessGroup | None = None) -> list[Any]:
    """Gather picklable `data` from all processes to `dst`, ordered by rank; other processes get an empty list."""
    if get_world_size() == 1:
        return [data]
    group = group or _object_group()
    if dist.get_rank(group) != dst:
        dist.gather_object(data, None, dst=dst, group=group)
        return []
    gathered: list[Any] = [None] * dist.get_world_size(group)
    dist.gather_object(data, gathered, dst=dst, group=group)
    return gathered


def shared_random_seed() -> int:
    """A random number below 2**31, equal in all processes; all of them must call this."""
    return all_gather(int(np.random.randint(2**31)))[0]


def reduce_dict(input_dict: dict[str, torch.Tensor], average: bool = True) -> dict[str, torch.Tensor]:
    """Sum or average a dict of scalar tensors with equal keys over all processes; only rank 0 gets the result."""
    world_size = get_world_size()
    if world_size == 1:
        return input_dict
    names = sorted(input_dict)
    with torch.no_grad():
        values = torch.stack([input_dict[name] for name in names])
        dist.reduce(values, dst=0)
        if average and is_main_process():
            values = values / world_size
    return dict(zip(names, values, strict=True))
