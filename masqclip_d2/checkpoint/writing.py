"""Write safetensors files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..files import atomic_write


def write_safetensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors atomically, with the permissions of the user's umask.

    Args:
        path: with suffix .safetensors; missing folders are created, an existing file is replaced.
        tensors: any dtype and device; tensors that share storage are written separately.
        metadata: text entries of the file header.

    Raises:
        OSError: the file cannot be written, such as on a full disk.
        ValueError: `path` has another suffix.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"Weights are written as .safetensors, got {path}; change the suffix.")
    with atomic_write(path) as temporary:
        temporary.touch()
        permissions = temporary.stat().st_mode  # safetensors makes files readable by the user only
        try:
            save_file(_with_own_memory(tensors), temporary, metadata=dict(metadata or {}))
        except SafetensorError as error:
            raise OSError(f"{path} cannot be written: {error}. Free some space, or choose another folder.") from error
        temporary.chmod(permissions)


def _with_own_memory(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous CPU tensors without shared storage, as the format requires."""
    result, taken = {}, set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().to("cpu").contiguous()
        memory = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if memory in taken else tensor
        taken.add(memory)
    return result
