"""One retry if memory runs out, in smaller pieces or on the CPU, then one clear error message."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import torch


class Sliceable(Protocol):
    """A list, or a tensor whose first dimension counts items."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice, /) -> Any: ...


Items = TypeVar("Items", bound=Sliceable)
Result = TypeVar("Result")


def in_smaller_pieces(function: Callable[[Items], Sequence[Result]], items: Items, what: str) -> list[Result]:
    """`function(items)`; if memory runs out, once more item by item.

    Args:
        function: returns one result per item, which must not depend on the other items.
        items: a sequence or tensor.
        what: the items and their size, for messages ("masks of an image of 640 x 480 pixels").

    Raises:
        RuntimeError: a single item does not fit either.
    """
    try:
        return list(function(items))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        # leave the except block first: its traceback keeps the tensors of the failed call alive
    torch.cuda.empty_cache()  # does nothing where there is no GPU
    logging.getLogger(__name__).warning("Out of memory with %d %s; trying one at a time.", len(items), what)
    results: list[Result] = []
    for index in range(len(items)):
        try:
            results.extend(function(items[index : index + 1]))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise RuntimeError(
                f"Out of memory with a single one of {len(items)} {what}. Use smaller images (INPUT.MIN_SIZE_TEST), "
                f"a smaller model, or the CPU (MODEL.DEVICE cpu). ({_first_line(error)})"
            ) from None
    return results


def on_cpu_if_necessary(function: Callable[[torch.device], Result], device: torch.device, what: str) -> Result:
    """`function(device)`; if the memory of a GPU runs out, once more on the CPU.

    Args:
        function: computes on the device that it is given.
        device: tried first.
        what: number and size of what is computed, for messages ("100 masks at 3024 x 4032 pixels").

    Raises:
        RuntimeError: it does not fit on the CPU either.
    """
    if device.type != "cpu":
        try:
            return function(device)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        torch.cuda.empty_cache()
        logging.getLogger(__name__).warning("Out of memory with %s on %s; using the CPU.", what, device)
    try:
        return function(torch.device("cpu"))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise RuntimeError(
            f"Out of memory with {what}. Use smaller images, or fewer detections per image "
            f"(TEST.DETECTIONS_PER_IMAGE). ({_first_line(error)})"
        ) from None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory of a GPU or, as far as the operating system tells, of the machine ran out."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
