"""CLIP's text tower and tokenizer, from open_clip: texts -> text embeddings. Parameter names = OpenAI's top level.

Shape shorthand: T texts, L context length, D width, E embedding.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

# The byte-pair encoding has 256 bytes, the same 256 at the end of a word, its merges, and two marks of start and end.
_TOKENS_WITHOUT_MERGES = 514


class TextTower(nn.Module):
    """Causal transformer of CLIP; the embedding is read at the end-of-text token (Radford et al., 2021, Sec. 2.4).

    Args:
        context_length: L, most tokens of a text, start and end included.
        vocab_size: number of tokens: 49,408 in published weights. A smaller number keeps the first merges of CLIP's
            byte-pair encoding only, so that every text can still be spelled, with more tokens.
        width: D.
        heads: attention heads.
        layers: number of blocks.
        output_dim: E.
        activation: "quick_gelu" (OpenAI's weights) or "gelu".
    """

    def __init__(
        self,
        *,
        context_length: int,
        vocab_size: int,
        width: int,
        heads: int,
        layers: int,
        output_dim: int,
        activation: str = "quick_gelu",
    ) -> None:
        super().__init__()
        from open_clip.transformer import QuickGELU, TextTransformer

        tower = TextTransformer(
            context_length=context_length,
            vocab_size=vocab_size,
            width=width,
            heads=heads,
            layers=layers,
            output_dim=output_dim,
            act_layer={"quick_gelu": QuickGELU, "gelu": nn.GELU}[activation],
        )
        self.context_length = context_length
        self.vocab_size = vocab_size
        self.heads = heads
        self.activation = activation
        self.output_dim = output_dim
        # The tower's parts live here under their own names, which are OpenAI's, instead of below "tower.".
        self.token_embedding = tower.token_embedding
        self.positional_embedding = tower.positional_embedding
        self.transformer = tower.transformer
        self.ln_final = tower.ln_final
        self.text_projection = tower.text_projection
        self.register_buffer("causal_mask", tower.attn_mask, persistent=False)  # (L, L) float, added to the scores

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed tokenized texts.

        Args:
            tokens: (T, L') int64 of `tokenize`, L' <= L. Columns after the longest text may be cut off: no token looks
                at later ones.

        Returns:
            (T, E) float, not unit length.
        """
        length = tokens.shape[1]
        hidden = self.token_embedding(tokens) + self.positional_embedding[:length]  # (T, L', D)
        hidden = self.transformer(hidden, attn_mask=self.causal_mask[:length, :length])
        end = tokens.argmax(dim=-1)  # the end-of-text token has the largest number
        hidden = hidden[torch.arange(len(tokens), device=tokens.device), end]  # (T, D)
        return self.ln_final(hidden) @ self.text_projection

    def tokenize(self, texts: Sequence[str], truncate: bool = False) -> Tensor:
        """Numbers of CLIP's byte-pair tokens, lower-cased.

        Args:
            texts: any strings.
            truncate: cut texts that are too long; False: refuse them.

        Returns:
            (T, L') int64 on the device of the encoder, as wide as the longest text needs, at most L; 0 after the end.

        Raises:
            ValueError: a text needs more than L tokens and `truncate` is False.
        """
        tokenizer = _tokenizer(self.vocab_size)
        rows = [[tokenizer.sot_token_id, *tokenizer.encode(text), tokenizer.eot_token_id] for text in texts]
        for text, row in zip(texts, rows, strict=True):
            if len(row) > self.context_length and not truncate:
                raise ValueError(
                    f"The text {text!r} needs {len(row)} tokens, but this CLIP reads {self.context_length}; shorten it."
                )
        tokens = torch.zeros(len(rows), min(self.context_length, max(map(len, rows), default=1)), dtype=torch.int64)
        for index, row in enumerate(rows):
            row = row if len(row) <= self.context_length else [*row[: self.context_length - 1], row[-1]]
            tokens[index, : len(row)] = torch.tensor(row)
        return tokens.to(self.positional_embedding.device)

    def encode(self, texts: Sequence[str], batch_size: int = 256) -> Tensor:
        """Embeddings (T, E) of any number of texts, without gradient, in float32 whatever autocast is on."""
        tokens = self.tokenize(texts)
        embeddings = self.positional_embedding.new_zeros(len(tokens), self.output_dim)
        lengths = tokens.argmax(dim=1) + 1  # up to the end-of-text token
        by_length = lengths.argsort()  # texts of a batch are as long as each other, or nearly so
        with torch.no_grad(), torch.autocast(tokens.device.type, enabled=False):
            for rows in by_length.split(batch_size) if len(tokens) else ():
                embeddings[rows] = self(tokens[rows, : int(lengths[rows[-1]])])
        return embeddings


@lru_cache(maxsize=4)
def _tokenizer(vocab_size: int):
    """open_clip's tokenizer with as many of CLIP's merges as `vocab_size` leaves room for."""
    from open_clip.tokenizer import SimpleTokenizer, default_bpe

    with gzip.open(default_bpe(), "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")  # one comment, then one merge per line, most frequent first
    num_merges = vocab_size - _TOKENS_WITHOUT_MERGES
    if not 0 <= num_merges < len(lines):
        raise ValueError(
            f"vocab_size must be between {_TOKENS_WITHOUT_MERGES} and {len(lines) - 1 + _TOKENS_WITHOUT_MERGES} for "
            f"CLIP's tokenizer, got {vocab_size}."
        )
    merges = gzip.compress("\n".join(lines[: 1 + num_merges]).encode("utf-8"))
    return SimpleTokenizer(bpe_path=io.BytesIO(merges))
