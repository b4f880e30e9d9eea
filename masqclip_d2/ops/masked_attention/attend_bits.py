"""Attend masks of one bit per query and key, which the kernels of masked_attention read.

Shape shorthand: B images, Q queries, L keys, W = ceil(L / 64) words.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

KEYS_PER_WORD = 64


class AttendBits(NamedTuple):
    """Attend mask of one bit per query and key, the same for all heads.

    Args:
        words: (B, Q, W) int64; bit k % 64 of word k // 64 is 1 if the query may attend to key k.
        anywhere: (B, Q) int32, not 0 if the query may attend to some key.
        num_keys: L.
    """

    words: Tensor
    anywhere: Tensor
    num_keys: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(B, Q, L), that of the mask."""
        batch, num_queries, _ = self.words.shape
        return batch, num_queries, self.num_keys

    def unpack(self) -> Tensor:
        """The mask (B, Q, L) bool, without the rule for rows of zeros."""
        bits = self.words[..., None] >> torch.arange(KEYS_PER_WORD, device=self.words.device)
        return (bits & 1).bool().flatten(2)[..., : self.num_keys]

    def chunk(self, count: int, dim: int = 1) -> tuple[AttendBits, ...]:
        """Parts of the queries, as `torch.chunk` along dimension 1; ValueError for another dimension."""
        if dim != 1:
            raise ValueError(f"Bits of an attend mask are split along their queries, dimension 1, not {dim}.")
        parts = zip(self.words.chunk(count, dim=1), self.anywhere.chunk(count, dim=1), strict=True)
        return tuple(AttendBits(words, anywhere, self.num_keys) for words, anywhere in parts)
