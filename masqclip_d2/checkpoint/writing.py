"""Dictionaries of tensors -> .safetensors files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..files import atomic_write


def write_safetensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors under their names, whole or not at all.

    Args:
        path: ends in .safetensors; missing folders are made, an existing file is replaced.
        tensors: any dtype and device; they may share memory, each is written for itself.
        metadata: text to go with them.

    Raises:
        ValueError: `path` has another ending, under which the file could not be read.
    """
    from safetensors.torch import save_file

    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"Weights are written as .safetensors, got {path}.")
    with atomic_write(path) as temporary:
        temporary.touch()
        permissions = temporary.stat().st_mode  # the library lets nobody else read its files
        save_file(_with_own_memory(tensors), temporary, metadata=dict(metadata or {}))
        temporary.chmod(permissions)


def _with_own_memory(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors on the CPU, none in the memory of another, which the format does not take."""
    result, taken = {}, set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().to("cpu").contiguous()
        memory = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if memory in taken else tensor
        taken.add(memory)
    return result
