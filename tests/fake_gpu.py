"""Runs the code for GPUs without one: tensors that have a device, a shape and a dtype, but no values.

An operation whose result depends on values, for which the host would wait for a GPU, raises an error; copies between
host and GPU are recorded.
"""

from __future__ import annotations

import contextlib
import types
from collections import Counter
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

_PROPERTIES = types.SimpleNamespace(multi_processor_count=132, major=9, minor=0)  # of an H100


@contextlib.contextmanager
def fake_gpu() -> Iterator[None]:
    """In this context `cuda` tensors can be made, and have no values."""
    with (
        mock.patch.object(torch.cuda, "get_device_capability", lambda *_: (9, 0)),
        mock.patch.object(torch.cuda, "get_device_properties", lambda *_: _PROPERTIES),
        FakeTensorMode(allow_non_fake_inputs=True),
    ):
        yield


class Recorder(TorchDispatchMode):
    """Counts what happens on the GPU while it is active.

    Attributes:
        launches: number of operations that compute on the GPU, by name; views are none.
        to_host, to_gpu: shapes of tensors that were copied.
        waiting: shapes of those copies to the GPU for which the host waits.
    """

    def __init__(self) -> None:
        super().__init__()
        self.launches: Counter[str] = Counter()
        self.to_host: list[tuple[int, ...]] = []
        self.to_gpu: list[tuple[int, ...]] = []
        self.waiting: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = str(func)
        if not isinstance(result, Tensor):
            if _on_gpu(args) and not name.startswith("prim.") and "split" not in name and "unbind" not in name:
                self.launches[name] += 1
            return result
        given = [value.device.type for value in args if isinstance(value, Tensor)]
        if name in ("aten._to_copy.default", "aten.copy_.default") and len({*given, result.device.type}) == 2:
            self._record_copy(result, kwargs.get("non_blocking", False) or (len(args) > 2 and args[2]))
        elif result.device.type == "cuda" and not _is_view(func):
            self.launches[name] += 1
        return result

    def _record_copy(self, result: Tensor, non_blocking: bool) -> None:
        if result.device.type == "cpu":
            self.to_host.append(tuple(result.shape))
            return
        self.to_gpu.append(tuple(result.shape))
        if not non_blocking:
            self.waiting.append(tuple(result.shape))


def _is_view(func: Any) -> bool:
    aliases = [one.alias_info for one in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases) or "empty" in str(func)


def _on_gpu(args: Any) -> bool:
    return any(isinstance(value, Tensor) and value.device.type == "cuda" for value in args)
