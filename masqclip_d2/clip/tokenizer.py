"""CLIP's byte-pair tokenizer (open_clip's SimpleTokenizer), with a smaller vocabulary for small text towers.

Shape shorthand: T texts, L context length.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from open_clip.tokenizer import SimpleTokenizer

# Tokens that are not merges: 256 bytes, the same 256 at the end of a word, start of text and end of text.
_TOKENS_WITHOUT_MERGES = 514
_FULL_VOCAB_SIZE = 49_408  # of published weights; open_clip's tokenizer has no more


class ClipTokenizer:
    """Texts -> token ids, lower-cased.

    Args:
        vocab_size: number of tokens: 49,408 in published weights. A smaller one keeps only the first merges of CLIP's
            byte-pair encoding: any text can still be encoded, with more tokens.
        context_length: L, maximum number of tokens of a text, start and end included.
    """

    def __init__(self, vocab_size: int, context_length: int) -> None:
        self.vocab_size = vocab_size
        self.context_length = context_length

    def __call__(self, texts: Sequence[str], truncate: bool = False) -> Tensor:
        """Token ids of texts.

        Args:
            texts: T strings.
            truncate: cut texts that are too long instead of raising.

        Returns:
            (T, L') int64 on the CPU, L' <= L the length of the longest text; 0 after the end-of-text token.

        Raises:
            ValueError: a text needs more than L tokens and `truncate` is False, or `vocab_size` is impossible.
        """
        rows = [self._encode(text) for text in texts]
        for text, row in zip(texts, rows, strict=True):
            if len(row) > self.context_length and not truncate:
                raise ValueError(
                    f"The text {text!r} needs {len(row)} tokens, but the context length of this CLIP is "
                    f"{self.context_length}; shorten it."
                )
        tokens = torch.zeros(len(rows), min(self.context_length, max(map(len, rows), default=1)), dtype=torch.int64)
        for index, row in enumerate(rows):
            row = row if len(row) <= self.context_length else [*row[: self.context_length - 1], row[-1]]
            tokens[index, : len(row)] = torch.tensor(row)
        return tokens

    def num_tokens(self, text: str) -> int:
        """Number of tokens of a text, start and end included."""
        return len(self._encode(text))

    def _encode(self, text: str) -> list[int]:
        tokenizer = _simple_tokenizer(self.vocab_size)
        return [tokenizer.sot_token_id, *tokenizer.encode(text), tokenizer.eot_token_id]


@lru_cache(maxsize=4)
def _simple_tokenizer(vocab_size: int) -> SimpleTokenizer:
    """open_clip's tokenizer with as many of CLIP's merges as fit into `vocab_size`. Shared, so that models pickle."""
    from open_clip.tokenizer import SimpleTokenizer, default_bpe

    if not _TOKENS_WITHOUT_MERGES <= vocab_size <= _FULL_VOCAB_SIZE:
        raise ValueError(
            f"vocab_size must be between {_TOKENS_WITHOUT_MERGES} and {_FULL_VOCAB_SIZE} for CLIP's tokenizer, got "
            f"{vocab_size}."
        )
    with gzip.open(default_bpe(), "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")  # one comment, then one merge per line, most frequent first
    num_merges = vocab_size - _TOKENS_WITHOUT_MERGES
    merges = io.BytesIO(gzip.compress("\n".join(lines[: 1 + num_merges]).encode("utf-8")))
    return SimpleTokenizer(bpe_path=merges)  # pyright: ignore[reportArgumentType] (gzip.open takes files, too)
