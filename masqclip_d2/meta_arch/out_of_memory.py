"""One retry in smaller pieces when a GPU runs out of memory, then one clear sentence."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_smaller_pieces(
    function: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item], what: str
) -> list[Result]:
    """`function(items)`; if memory runs out, once more item by item.

    Args:
        function: answers a sequence with one result per item; the result of an item must not depend on the others.
        items: the work.
        what: what an item is, with its size, for the message ("masks of an image of 640 x 480 pixels").

    Raises:
        RuntimeError: a single item does not fit either; the message names `what`.
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
