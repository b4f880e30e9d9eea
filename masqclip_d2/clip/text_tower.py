"""Protocol of a CLIP text tower: everything that `vocabulary` uses of one.

Shape shorthand: T texts, E embedding.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn


class TextTower(Protocol):
    """Texts -> text embeddings in the space of the vision tower; also an `nn.Module`. The tokenizer is its own."""

    @property
    def output_dim(self) -> int:
        """E, length of an embedding."""
        ...

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (T, E) of any number of texts, float32, not unit length, without gradient.

        Raises:
            ValueError: a text is too long for the tower; the message names it.
        """
        ...

    def content_digest(self) -> str:
        """Hash of everything the embeddings depend on: weights, sizes, tokenizer. Key of the text cache."""
        ...

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """As in `nn.Module`."""
        ...


def module_digest(module: nn.Module, *settings: object) -> str:
    """sha256, in hex, of a module's weights and of `settings` that its results depend on; for `content_digest`.

    Args:
        module: hashed by names, dtypes, shapes and values of its state dict, wherever it is in memory.
        settings: anything that `json` writes: sizes that weights do not determine, names, versions.
    """
    digest = hashlib.sha256(json.dumps(settings).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(memoryview(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()))
    return digest.hexdigest()
