"""CUDA graphs of a module's forward pass: all its launches recorded once per shape of the inputs, and sent as one.

The networks of one image make about two thousand small launches, which takes the host longer than the GPU computes.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..transfers import used_constants

MAX_GRAPHS = 4
"""Graphs of a module at a time; each keeps the memory of its intermediate results."""
_MAX_SEEN = 256
_WARM_UP_RUNS = 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recorded:
    """A recorded function.

    Args:
        inputs: its input tensors, which keep their place in memory.
        outputs: what it returned; the tensors in it are overwritten by `replay`.
        replay: computes the outputs from the inputs.
        constants: tensors that the graph reads, which must not be freed before it.
    """

    inputs: Sequence[Tensor]
    outputs: Any
    replay: Callable[[], None]
    constants: Sequence[Tensor] = ()


def record(function: Callable[[Sequence[Tensor]], Any], inputs: Sequence[Tensor]) -> Recorded:
    """Record a function of CUDA tensors as a CUDA graph.

    Args:
        function: makes no copies between host and GPU, and does not wait for the GPU.
        inputs: examples, at least one, all on the same GPU, which need not be the current one; copied.

    Raises:
        RuntimeError: the function does what a graph cannot record, or memory runs out.
    """
    device = inputs[0].device
    with torch.inference_mode(False):  # or they could be overwritten in inference mode only
        inputs = [torch.empty_like(tensor).copy_(tensor) for tensor in inputs]
    with torch.cuda.device(device):  # graphs and streams belong to the current device
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):  # kernels are compiled, libraries choose their algorithms
            for _ in range(_WARM_UP_RUNS):
                function(inputs)
        torch.cuda.current_stream(device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Without a stream `torch.cuda.graph` takes one of the first device that was recorded on. Threads of data
        # loaders may allocate memory meanwhile.
        with (
            used_constants() as constants,
            torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"),
        ):
            outputs = function(inputs)
    return Recorded(inputs, outputs, graph.replay, constants)


class GraphedForward:
    """A forward pass by CUDA graphs, for the shapes that occur again; others, and training, run as usual.

    Threads may call it; those that run as usual do not wait for each other.

    Args:
        forward: takes and returns tensors, lists, tuples, dicts and dataclasses of them.
        max_graphs: of all shapes, those used last are kept.
        recorder: `record`, or what stands for it in a test.
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        max_graphs: int = MAX_GRAPHS,
        recorder: Callable[[Callable[[Sequence[Tensor]], Any], Sequence[Tensor]], Recorded] = record,
    ) -> None:
        self.forward = forward
        self.max_graphs = max_graphs
        self._recorder = recorder
        self._seen: OrderedDict[Hashable, None] = OrderedDict()
        self._graphs: OrderedDict[Hashable, Recorded] = OrderedDict()
        self._works = True
        self._lock = threading.Lock()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._works or torch.is_grad_enabled():
            return self.forward(*args, **kwargs)
        tensors = list(_tensors_in((args, kwargs)))
        key = (_signature((args, kwargs)), _autocast_dtypes(tensors))
        with self._lock:  # threads share the memory of inputs and outputs
            recorded = self._graph_of(key, (args, kwargs), tensors)
            if recorded is not None:
                for place, tensor in zip(recorded.inputs, tensors, strict=True):
                    place.copy_(tensor)
                recorded.replay()
                # Copies, since the next image overwrites the outputs.
                return _with_tensors(recorded.outputs, (tensor.clone() for tensor in _tensors_in(recorded.outputs)))
        return self.forward(*args, **kwargs)

    def _graph_of(self, key: Hashable, arguments: Any, tensors: Sequence[Tensor]) -> Recorded | None:
        """The graph of a shape that is not new; None: there is none."""
        recorded = self._graphs.get(key)
        if recorded is None and not self._is_new(key) and self._works:
            recorded = self._record(key, arguments, tensors)
        if recorded is not None:
            self._graphs.move_to_end(key)
        return recorded

    def _is_new(self, key: Hashable) -> bool:
        """A shape that occurs for the first time, as every image of a folder of photographs may."""
        new = key not in self._seen
        self._seen[key] = None
        if len(self._seen) > _MAX_SEEN:
            self._seen.popitem(last=False)
        return new

    def _record(self, key: Hashable, arguments: Any, tensors: Sequence[Tensor]) -> Recorded | None:
        def function(inputs: Sequence[Tensor]) -> Any:
            args, kwargs = _with_tensors(arguments, iter(inputs))
            return self.forward(*args, **kwargs)

        while len(self._graphs) >= self.max_graphs:
            self._graphs.popitem(last=False)
        caches = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)  # it would keep tensors of the recording for other passes
        torch.clear_autocast_cache()
        try:
            self._graphs[key] = self._recorder(function, tensors)
        except RuntimeError as error:
            self._works = False
            self._graphs.clear()  # with their memory
            logger.warning("CUDA graphs have no effect on %s: %s", _name_of(self.forward), str(error).split("\n")[0])
            return None
        finally:
            torch.set_autocast_cache_enabled(caches)
        return self._graphs[key]


def _autocast_dtypes(tensors: Sequence[Tensor]) -> Hashable:
    """Of each device, the dtype of autocast; None where it is off."""
    types = sorted({tensor.device.type for tensor in tensors})
    return tuple((one, torch.get_autocast_dtype(one) if torch.is_autocast_enabled(one) else None) for one in types)


def _name_of(function: Callable[..., Any]) -> str:
    owner = getattr(function, "__self__", None)
    return type(owner).__name__ if owner is not None else getattr(function, "__qualname__", repr(function))


def _children(value: Any) -> list[Any] | None:
    """Values in a container; None for anything else."""
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, (list, tuple)):
        return list(value)
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name) for field in fields(value)]
    return None


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    for child in _children(value) or ():
        yield from _tensors_in(child)


def _with_tensors(value: Any, tensors: Iterator[Tensor]) -> Any:
    """A value of the same structure, its tensors replaced in the order of `_tensors_in`."""
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, dict):
        return {key: _with_tensors(child, tensors) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        children = [_with_tensors(child, tensors) for child in value]
        return type(value)(*children) if hasattr(value, "_fields") else type(value)(children)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: _with_tensors(getattr(value, one.name), tensors) for one in fields(value)})
    return value


def _signature(value: Any) -> Hashable:
    """Equal for values that one graph serves: the same structure, shapes, dtypes, devices, and other values."""
    if isinstance(value, Tensor):
        return (tuple(value.shape), value.stride(), value.dtype, value.device)
    children = _children(value)
    if children is None:
        return repr(value)
    keys = tuple(value) if isinstance(value, dict) else ()
    return (type(value), keys, tuple(_signature(child) for child in children))
