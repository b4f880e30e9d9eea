"""Read weight files as dictionaries of tensors, without executing code.

Formats: .safetensors, PyTorch files (`torch.load(weights_only=True)`), and Detectron2's .pkl files as data
(`numpy_pickle`). OpenAI's TorchScript archives: `clip.pretrained`.
"""

from __future__ import annotations

import pickle
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from detectron2.utils.file_io import PathManager

from ..files import zip_entries
from ..hub import WeightFile, is_remote
from .numpy_pickle import check_opcodes, load_numpy_pickle

SHIPPED_PREFIX = "masqclip://"
SHIPPED_DIR = Path(__file__).resolve().parent.parent / "weights"
_DTYPES = {
    torch.float64, torch.float32, torch.float16, torch.bfloat16,
    torch.float8_e4m3fn, torch.float8_e5m2,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
}  # fmt: skip
_MOST_COPIES = 2  # of a file's bytes among its tensors
_FEW_BYTES = 2**29  # that any file may take
_MAPPED_BYTES = 2**26
_ARCHIVE_START = b"PK\x03\x04"
_UNPARSED = (ValueError, OSError, EOFError, RuntimeError, LookupError, ArithmeticError, zlib.error, struct.error)
_NUM_PICKLES = 5  # of a file in PyTorch's format without archive
# Entries that hold the state dict: of Detectron2, of PyTorch Lightning, and of many training scripts.
_STATE_DICT_ENTRIES = ("model", "state_dict", "model_state_dict")


class UnreadableCheckpointError(ValueError):
    """A file that is empty, truncated, or no checkpoint."""


def local_weights_path(path: str) -> Path:
    """Local file of a path, a URL (downloaded once and cached) or a shipped name.

    Args:
        path: a file, `masqclip://NAME` for weights inside the package, `https://...`, `hf://OWNER/REPO/FILE`,
            `detectron2://...`, or any other name that Detectron2's PathManager resolves.

    Raises:
        FileNotFoundError: no such file or shipped name, or it cannot be downloaded.
        ValueError: a downloaded file was changed since.
    """
    if path.startswith(SHIPPED_PREFIX):
        name = path.removeprefix(SHIPPED_PREFIX)
        local = SHIPPED_DIR / f"{name.removesuffix('.safetensors')}.safetensors"
        if not local.is_file():
            known = ", ".join(sorted(file.stem for file in SHIPPED_DIR.glob("*.safetensors"))) or "none"
            raise FileNotFoundError(f"There are no shipped weights {name!r}; expected one of: {known}.")
        return local
    if is_remote(path):
        return WeightFile.of(path).fetch()
    local = Path(PathManager.get_local_path(path))
    if not local.is_file():
        found = "are a folder" if local.is_dir() else "do not exist"
        raise FileNotFoundError(
            f"Weights {path!r} {found}. Train the stage that writes them, or set MODEL.WEIGHTS to a checkpoint "
            "(.pth, .pkl, .safetensors), a URL, or a shipped name (masqclip://...)."
        )
    return local


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of any supported format.

    Args:
        path: a local file.

    Returns:
        A dictionary whose "model" is the state dict (name -> CPU tensor), whatever the file calls it; other entries of
        the file ("iteration", "trainer") are unchanged. A file that is a state dict becomes the "model".

    Raises:
        ValueError: the file is empty, truncated, of an unknown format, or holds Python objects.
    """
    path = Path(path)
    if path.stat().st_size == 0:
        raise UnreadableCheckpointError(f"Checkpoint {path} is empty (0 bytes). Copy or download it again.")
    if path.suffix == ".safetensors":
        content = _read_safetensors(path)
    elif path.suffix == ".pkl":
        content = _read_pickle(path)
    else:
        content = _read_torch(path)
    entry = _state_dict_entry(content)
    model, content = (content, {}) if entry is None else (content[entry], content)
    if not isinstance(model, dict) or not all(isinstance(name, str) for name in model):
        raise ValueError(f"Checkpoint {path} holds a {type(model).__name__}, not a state dict (name -> tensor).")
    tensors = {name: torch.as_tensor(value) for name, value in model.items() if _is_array(value)}
    if not tensors:
        names = ", ".join(f"{name:.60}" for name in list(model)[:5])
        raise ValueError(f"Checkpoint {path} holds no tensors, only: {names}.")
    _refuse_unusable(path, tensors)
    return {**{name: value for name, value in content.items() if name != entry}, "model": tensors}


def check_sums(path: str | Path) -> None:
    """Check every byte of a checkpoint by the checksums in it; `torch.load` does not.

    A file that is no archive, or of a program that has switched off checksums (`torch.serialization`), is not checked.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableCheckpointError: a checksum is wrong.
    """
    if not getattr(torch.serialization, "get_crc32_options", lambda: True)() or not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, RuntimeError, ValueError, OSError, EOFError, struct.error, zlib.error):
        damaged = "its archive"
    if damaged is not None:
        raise UnreadableCheckpointError(f"Checkpoint {path} is damaged: the checksum of {damaged} is wrong.")


def _refuse_unusable(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """ValueError for tensors that no model can load, and for numbers that training has left behind when it diverged."""
    on_meta = torch.get_default_device().type == "meta"  # the caller wants names and shapes alone
    seen: set[tuple] = set()  # tensors that are the same values are looked at once
    allowed = max(_MOST_COPIES * path.stat().st_size, _FEW_BYTES)  # if each tensor had its own
    for name, tensor in tensors.items():
        problem = ""
        if tensor.layout != torch.strided or tensor.is_nested or tensor.is_quantized or tensor.is_meta != on_meta:
            problem = "is sparse, nested, quantized or without values"
        elif tensor.dtype not in _DTYPES:
            problem = f"has dtype {str(tensor.dtype).removeprefix('torch.')}"
        elif not on_meta and (values := (tensor.data_ptr(), tensor.shape, tensor.stride())) not in seen:
            seen.add(values)
            allowed -= tensor.nbytes
            if allowed < 0:
                problem = f"is larger than the file: its shape {tuple(tensor.shape)} repeats the same values"
            elif tensor.is_floating_point() and not _is_finite(name, tensor):
                problem = "has values that are NaN or infinite; training may have diverged"
        if problem:
            raise ValueError(f"Checkpoint {path} cannot be used: the tensor {name:.100} {problem}.")


def _is_finite(name: str, tensor: torch.Tensor) -> bool:
    if tensor.element_size() == 1:  # numbers of eight bits have no sum
        tensor = tensor.float()
    # The sum of finite numbers is finite, unless they are huge; it needs no memory.
    if bool(tensor.sum(dtype=torch.float64).isfinite()) or bool(tensor.isfinite().all()):
        return True
    return name.endswith("mask") and not bool(tensor.isnan().any())  # attention masks have -inf


def _state_dict_entry(content: Any) -> str | None:
    """Name of the entry with the state dict; None for a bare state dict."""
    if not isinstance(content, dict):
        return None
    return next(
        (name for name in _STATE_DICT_ENTRIES if content.get(name) is not None and not _is_array(content[name])), None
    )


def _read_safetensors(path: Path) -> dict:
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
        tensors: dict[str, torch.Tensor] = {}
        while len(tensors) < len(names):
            # A tensor is a view of the mapped file, whose memory is free once all of its tensors are copied.
            with safe_open(path, framework="pt") as file:
                mapped = 0
                for name in names[len(tensors) :]:
                    tensors[name] = file.get_tensor(name)
                    mapped += tensors[name].nbytes
                    if mapped >= _MAPPED_BYTES:
                        break
        return tensors
    except Exception as error:  # SafetensorError, and what PyTorch raises on shapes that cannot be
        raise UnreadableCheckpointError(_unreadable(path, error)) from error


def _read_torch(path: Path) -> Any:
    _check_archive(path)
    try:
        _refuse_endless_pickles(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # The reason stands among advice on how to run the file's code.
        found = re.search(r"WeightsUnpickler error:\s*(.+?)(\.? Please|\n|$)", str(error))
        reason = found[1] if found else "unknown format"
        raise UnreadableCheckpointError(
            f"Checkpoint {path} cannot be read as data alone: it is damaged, or it holds Python objects beside "
            f"tensors, which could run code ({reason}). Save its state dict alone, or use a .safetensors file."
        ) from error
    except Exception as error:  # what PyTorch raises on damaged files has no end
        raise UnreadableCheckpointError(_unreadable(path, error)) from error


def _refuse_endless_pickles(path: Path) -> None:
    """ValueError for what `check_opcodes` refuses, before PyTorch makes objects of it; other faults are left to it."""
    try:
        with path.open("rb") as file:
            if file.read(len(_ARCHIVE_START)) != _ARCHIVE_START:  # as PyTorch decides
                file.seek(0)
                for _ in range(_NUM_PICKLES):
                    check_opcodes(file)
                return
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith("data.pkl"):
                    with archive.open(entry) as pickled:
                        check_opcodes(pickled, size=entry.file_size)
    except (pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise ValueError(str(error)) from None
    except _UNPARSED:
        return


def _check_archive(path: Path) -> None:
    """Refuse archives of TorchScript, damaged ones, and compressed ones, which PyTorch never writes."""
    try:
        entries = zip_entries(path) or []  # an older format of PyTorch is no archive
    except ValueError as error:
        raise UnreadableCheckpointError(f"Checkpoint {error}") from error
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise ValueError(
            f"{path} is a TorchScript archive, as OpenAI publishes CLIP. Name it in MODEL.MASQCLIP.CLIP.NAME, not in "
            "MODEL.WEIGHTS."
        )
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > path.stat().st_size:
        raise UnreadableCheckpointError(
            f"Checkpoint {path} has {path.stat().st_size} bytes, but {unpacked} when it is unpacked. PyTorch does not "
            "compress what it saves; save the state dict with torch.save, or use a .safetensors file."
        )


def _read_pickle(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return load_numpy_pickle(file)
    except pickle.UnpicklingError as error:
        raise UnreadableCheckpointError(_unreadable(path, error)) from error


def _is_array(value: Any) -> bool:
    return isinstance(value, torch.Tensor) or type(value).__module__ == "numpy"


def _unreadable(path: Path, error: Exception) -> str:
    reason = f"{str(error).splitlines()[0]:.200}" if str(error) else type(error).__name__
    return (
        f"Checkpoint {path} ({path.stat().st_size} bytes) cannot be read: it is truncated or no checkpoint "
        f"({reason}). Copy or download it again."
    )
