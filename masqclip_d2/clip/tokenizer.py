"""CLIP's byte-pair tokenizer, with a smaller vocabulary for small text towers.

Shape shorthand: T texts, L context length.
"""

from __future__ import annotations

import gzip
import html
import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

TOKENIZER_VERSION = 1
"""Part of the key of cached text embeddings; to be raised when token ids change."""
_END_OF_WORD = "</w>"
# Tokens that are not merges: 256 bytes, the same 256 at the end of a word, start of text and end of text.
_TOKENS_WITHOUT_MERGES = 514
_FULL_VOCAB_SIZE = 49_408  # of published weights; the file of merges has more


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
        encoding = _encoding(self.vocab_size)
        return [encoding.start_id, *encoding.encode(text), encoding.end_id]


class BytePairEncoding:
    """Text -> ids of byte pairs, with the merges that belong to CLIP (Sennrich et al., 2016, on bytes).

    Ids are: 256 bytes, 256 bytes at the end of a word, merges in their order, start of text, end of text.

    Args:
        merges: pairs of symbols, most frequent first.
    """

    def __init__(self, merges: Sequence[tuple[str, str]]) -> None:
        import regex

        self._symbol_of_byte = _printable_bytes()
        symbols = [*self._symbol_of_byte.values()]
        symbols += [symbol + _END_OF_WORD for symbol in symbols]
        symbols += ["".join(pair) for pair in merges]
        self._ids = {symbol: index for index, symbol in enumerate(symbols)}
        self._rank = {pair: rank for rank, pair in enumerate(merges)}
        self.start_id, self.end_id = len(symbols), len(symbols) + 1
        special = {"<start_of_text>": self.start_id, "<end_of_text>": self.end_id}
        self._ids_of_word: dict[str, list[int]] = {text: [index] for text, index in special.items()}
        # Contractions, letters, single digits, and anything else between spaces.
        words = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
        self._words = regex.compile("|".join([*special, words]), regex.IGNORECASE)

    def encode(self, text: str) -> list[int]:
        """Ids of a text without start and end."""
        return [index for word in self._words.findall(_cleaned(text)) for index in self._encode_word(word)]

    def _encode_word(self, word: str) -> list[int]:
        if word not in self._ids_of_word:
            symbols = [self._symbol_of_byte[byte] for byte in word.encode("utf-8")]
            symbols[-1] += _END_OF_WORD
            while len(symbols) > 1:
                best = min(pairwise(symbols), key=lambda pair: self._rank.get(pair, len(self._rank)))
                if best not in self._rank:
                    break
                symbols = _merged(symbols, best)
            self._ids_of_word[word] = [self._ids[symbol] for symbol in symbols]
        return self._ids_of_word[word]


def _merged(symbols: Sequence[str], pair: tuple[str, str]) -> list[str]:
    """`symbols` with each occurrence of `pair`, from the left, as one symbol."""
    result, index = [], 0
    while index < len(symbols):
        found = tuple(symbols[index : index + 2]) == pair
        result.append("".join(pair) if found else symbols[index])
        index += 2 if found else 1
    return result


def _printable_bytes() -> dict[int, str]:
    """A printable character for each byte, in the order of their ids: printable bytes, then the others from 256 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + index) for index, byte in enumerate(others)}


def _cleaned(text: str) -> str:
    """Lower case, with repaired encoding, without HTML entities and repeated spaces, as in CLIP's training."""
    import ftfy

    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()


@lru_cache(maxsize=4)
def _encoding(vocab_size: int) -> BytePairEncoding:
    """CLIP's encoding with as many of its merges as fit into `vocab_size`. Shared, so that models pickle."""
    if not _TOKENS_WITHOUT_MERGES <= vocab_size <= _FULL_VOCAB_SIZE:
        raise ValueError(
            f"vocab_size must be between {_TOKENS_WITHOUT_MERGES} and {_FULL_VOCAB_SIZE} for CLIP's tokenizer, got "
            f"{vocab_size}."
        )
    with gzip.open(_merges_file(), "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")  # one comment, then one merge per line, most frequent first
    num_merges = vocab_size - _TOKENS_WITHOUT_MERGES
    merges = [(left, right) for left, right in (line.split() for line in lines[1 : 1 + num_merges])]
    return BytePairEncoding(merges)


def _merges_file() -> Path:
    """The file of CLIP's merges that open_clip is distributed with; importing open_clip would take seconds."""
    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise ImportError("CLIP's tokenizer needs the package open_clip: pip install open_clip_torch")
    return Path(spec.origin).parent / "bpe_simple_vocab_16e6.txt.gz"
