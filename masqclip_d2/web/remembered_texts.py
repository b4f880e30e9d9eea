"""Text embeddings of single prompts that are kept, so that one more category costs its own prompts only."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class RememberedTexts:
    """`TextTower.encode` that computes each text once; for frozen weights and one thread.

    Args:
        encode: texts -> (N, E).
        most: number of texts that are kept; longer lists are not.
    """

    def __init__(self, encode: Callable[[Sequence[str]], Tensor], most: int = 20_000) -> None:
        self._encode, self._most = encode, most
        self._kept: OrderedDict[str, Tensor] = OrderedDict()

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(N, E) embeddings of N texts."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._kept]
        if not texts or len(set(texts)) > self._most:
            return self._encode(texts)
        if missing:
            self._kept.update(zip(missing, self._encode(missing), strict=True))
        for text in texts:
            self._kept.move_to_end(text)
        found = torch.stack([self._kept[text] for text in texts])
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return found
