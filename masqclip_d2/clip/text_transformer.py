"""ClipTextTransformer: the `TextTower` for OpenAI's and open_clip's weights. Parameter names are OpenAI's top level.

Shape shorthand: T texts, L context length, D width, E embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .text_tower import module_digest
from .tokenizer import TOKENIZER_VERSION, ClipTokenizer
from .vision_transformer import ResidualAttentionBlock, Transformer


class ClipTextTransformer(nn.Module):
    """Causal transformer of CLIP; the embedding is read at the end-of-text token (Radford et al., 2021, Sec. 2.4).

    Args:
        context_length: L, maximum number of tokens of a text, start and end included.
        vocab_size: number of tokens, see `ClipTokenizer`.
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
        self.tokenizer = ClipTokenizer(vocab_size, context_length)
        self.heads = heads
        self.activation = activation
        self.output_dim = output_dim
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(context_length, width))
        self.transformer = Transformer(width, layers, heads, 4 * width, activation)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, output_dim))
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=width**-0.5)
        self.transformer.reset_parameters((2 * width) ** -0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed tokenized texts.

        Args:
            tokens: (T, L') int64 of `tokenize`, L' <= L. Columns after the longest text may be cut off: no token
                attends to later ones.

        Returns:
            (T, E) float, not unit length.
        """
        length = tokens.shape[1]
        hidden = self.token_embedding(tokens) + self.positional_embedding[:length]  # (T, L', D)
        for block in self.transformer.resblocks:
            hidden = _causal(cast("ResidualAttentionBlock", block), hidden)
        end = tokens.argmax(dim=-1)  # the end-of-text token has the largest id
        hidden = hidden[torch.arange(len(tokens), device=tokens.device), end]  # (T, D)
        return self.ln_final(hidden) @ self.text_projection

    def tokenize(self, texts: Sequence[str], truncate: bool = False) -> Tensor:
        """Token ids (T, L') int64 on the device of the tower; see `ClipTokenizer`."""
        return self.tokenizer(texts, truncate).to(self.positional_embedding.device)

    def encode(self, texts: Sequence[str], batch_size: int = 256) -> Tensor:
        """Embeddings (T, E) of any number of texts, without gradient, in float32 even under autocast."""
        tokens = self.tokenize(texts)
        embeddings = self.positional_embedding.new_zeros(len(tokens), self.output_dim)
        lengths = tokens.argmax(dim=1) + 1  # up to the end-of-text token
        by_length = lengths.argsort()  # batches of texts of similar length
        with torch.no_grad(), torch.autocast(tokens.device.type, enabled=False):
            for rows in by_length.split(batch_size) if len(tokens) else ():
                embeddings[rows] = self(tokens[rows, : int(lengths[rows[-1]])])
        return embeddings

    def content_digest(self) -> str:
        """Hash of weights, sizes and tokenizer."""
        return module_digest(self, self.tokenizer.vocab_size, self.heads, self.activation, TOKENIZER_VERSION)


def _causal(block: ResidualAttentionBlock, hidden: Tensor) -> Tensor:
    """A block in which no token attends to later ones."""
    inputs = block.attention_inputs(hidden)
    return block.finish(hidden, F.scaled_dot_product_attention(*inputs[1:], is_causal=True))
