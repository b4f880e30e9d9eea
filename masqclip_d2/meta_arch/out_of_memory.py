"""One retry in smaller pieces if a GPU runs out of memory, then one clear error message."""

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
    except torch.OutOfMemoryError:
        pass  # leave the except block first: its traceback keeps the tensors of the failed call alive
    torch.cuda.empty_cache()  # does nothing where there is no GPU
    logging.getLogger(__name__).warning("Out of memory with %d %s; trying one at a time.", len(items), what)
    results: list[Result] = []
    for index in range(len(items)):
        try:
            results.extend(function(items[index : index + 1]))
        except torch.OutOfMemoryError as error:
            raise RuntimeError(
                f"Out of memory with a single one of {len(items)} {what}. Use smaller images (INPUT.MIN_SIZE_TEST), "
                f"a smaller model, or the CPU (MODEL.DEVICE cpu). ({str(error).splitlines()[0]})"
            ) from None
    return results
