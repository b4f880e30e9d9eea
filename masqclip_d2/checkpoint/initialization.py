"""Build a model without drawing the random values that weights replace at once."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .checkpointer import StrictCheckpointer

# Methods of tensors and functions of torch.nn.init that fill a tensor with random numbers.
_RANDOM_FILLS = frozenset(
    f"{kind}{distribution}_" for kind in ("", "kaiming_", "xavier_") for distribution in ("uniform", "normal")
)
# Those that give all elements new values, whatever they were.
_OVERWRITING = frozenset(("copy_", "fill_", "zero_", "constant_", "zeros_", "ones_"))


class SkippedInitialization(TorchFunctionMode):
    """Context in which random fills write zeros, and tensors that lack their random values are known.

    A tensor computed from one without values has none either; one that is overwritten as a whole has.

    Args:
        writes_zeros: False: fills leave the memory as it is, untouched. Only for models all of whose values are
            overwritten afterwards, and which compute nothing from them before.
    """

    def __init__(self, writes_zeros: bool = True) -> None:
        super().__init__()
        self._writes_zeros = writes_zeros
        self._without_values: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        filled = args[0] if args else kwargs.get("tensor")
        if name in _RANDOM_FILLS and isinstance(filled, Tensor) and _has_memory(filled):
            self._without_values.add(filled.untyped_storage())
            if self._writes_zeros:
                filled.detach().zero_()
            return filled
        result = function(*args, **kwargs)
        if not self._without_values:
            return result
        if (
            name in _OVERWRITING
            and isinstance(filled, Tensor)
            and self._is_without_values(filled)
            and _is_whole(filled)
        ):
            self._without_values.discard(filled.untyped_storage())
            args = args[1:]
        results = [tensor for tensor in _tensors(result) if _has_memory(tensor)]
        if results and any(map(self._is_without_values, _tensors((*args, *kwargs.values())))):
            self._without_values.update(tensor.untyped_storage() for tensor in results)
        return result

    def names_without_values(self, model: nn.Module) -> list[str]:
        """Names of the parameters and buffers of a model that lack their random values."""
        named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        return [name for name, tensor in named.items() if self._is_without_values(tensor)]

    def _is_without_values(self, value: object) -> bool:
        return isinstance(value, Tensor) and _has_memory(value) and value.untyped_storage() in self._without_values


def build_with_weights(build: Callable[[], nn.Module], weights: str) -> nn.Module:
    """A model with its weights; random initial values are drawn only if the weights lack some of them.

    Args:
        build: builds the model, the same at each call.
        weights: see `StrictCheckpointer.load`, whose errors it raises; "": none.

    Returns:
        The model of `build`. Values that the weights lack are those of a call of `build` without weights.
    """
    if not weights:
        return build()
    random_state = torch.get_rng_state()
    with SkippedInitialization() as skipped:
        model = build()
        StrictCheckpointer(model).load(weights)
    missing = skipped.names_without_values(model)
    if missing:
        logging.getLogger(__name__).debug("Not in the weights, so initialized: %s.", ", ".join(missing))
        torch.set_rng_state(random_state)
        initialized = build()
        with torch.no_grad():
            for name in missing:
                _named(model, name).copy_(_named(initialized, name))
    return model


def _named(model: nn.Module, name: str) -> Tensor:
    """The parameter or buffer of that name."""
    path, _, leaf = name.rpartition(".")
    return getattr(model.get_submodule(path), leaf)


def _tensors(value: object) -> Iterator[Tensor]:
    """Tensors in arguments or results of a function."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)


def _has_memory(tensor: Tensor) -> bool:
    return tensor.device.type != "meta" and tensor.layout == torch.strided


def _is_whole(tensor: Tensor) -> bool:
    """Whether a tensor has all elements of its storage."""
    return tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()
