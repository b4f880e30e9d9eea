"""ClipTextTransformer: the `TextTower` for OpenAI's and open_clip's weights. Parameter names are OpenAI's top level.

Shape shorthand: T texts, L context length, D width, E embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .text_tower import module_digest
from .tokenizer import ClipTokenizer


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

    causal_mask: Tensor  # (L, L) float, added to the attention scores

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
        self.tokenizer = ClipTokenizer(vocab_size, context_length)
        self.heads = heads
        self.activation = activation
        self.output_dim = output_dim
        # The parts are attributes of this module, so that their names are OpenAI's, without a prefix "tower.".
        self.token_embedding = tower.token_embedding
        self.positional_embedding = tower.positional_embedding
        self.transformer = tower.transformer
        self.ln_final = tower.ln_final
        self.text_projection = tower.text_projection
        self.register_buffer("causal_mask", tower.attn_mask, persistent=False)

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
        hidden = self.transformer(hidden, attn_mask=self.causal_mask[:length, :length])
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
        import open_clip

        return module_digest(self, self.tokenizer.vocab_size, self.heads, self.activation, open_clip.__version__)
