"""Text embeddings on disk, by content: a second start with a large vocabulary embeds nothing.

One .safetensors file per content, whose name is the sha256 of all that the embeddings depend on. A file is written
whole or not at all, carries the sha256 of its numbers, and is computed again if that is not right.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint.writing import write_safetensors
from ..clip.text_tower import TextTower

LEAST_TEXTS = 64
"""Fewer texts take less time to embed than the weights take to be told apart by content."""

_OFF = "off"
_FORMAT = 1  # counts up when the same texts are embedded otherwise
_NAME = "text_embeddings"

logger = logging.getLogger(__name__)


def text_cache_dir() -> Path | None:
    """Folder of the cache, which need not exist.

    Environment variable MASQCLIP_TEXT_CACHE ("off": None, there is no cache); else `text` in the folder of downloaded
    CLIPs if MASQCLIP_CACHE names one; else masqclip_d2/text in the user's cache folder (XDG_CACHE_HOME, ~/.cache).
    """
    chosen = os.environ.get("MASQCLIP_TEXT_CACHE")
    if chosen:
        return None if chosen.lower() == _OFF else Path(chosen).expanduser()
    if os.environ.get("MASQCLIP_CACHE"):
        return Path(os.environ["MASQCLIP_CACHE"]).expanduser() / "text"
    user = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return user / "masqclip_d2" / "text"


def weights_digest(text_encoder: TextTower) -> str:
    """sha256, in hex, of a text tower: its sizes, its weights as they are in memory, and its tokenizer."""
    import open_clip

    sizes = (text_encoder.vocab_size, text_encoder.heads, text_encoder.activation, open_clip.__version__)
    digest = hashlib.sha256(json.dumps(sizes).encode())
    for name, tensor in sorted(text_encoder.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def cached(rows: Sequence[Sequence[str]], unit_first: bool, digest: str, embed: Callable[[], Tensor]) -> Tensor:
    """Embeddings from the cache, or from `embed` and then in the cache.

    Args:
        rows: the texts that each row of the result is made of.
        unit_first: whether embeddings are made unit length before they are averaged.
        digest: `weights_digest` of the tower.
        embed: () -> (len(rows), E) on any device.

    Returns:
        (len(rows), E): what `embed` gives, or the same from the disk, on the CPU.

    A folder that cannot be written to, or a file that cannot be read, is a warning.
    """
    folder = text_cache_dir()
    if folder is None:
        return embed()
    content = json.dumps([_FORMAT, digest, unit_first, rows])
    path = folder / f"{hashlib.sha256(content.encode()).hexdigest()}.safetensors"
    embeddings = _read(path, len(rows))
    if embeddings is None:
        logger.info("Embedding %d texts, to be kept in %s", sum(map(len, rows)), folder)
        embeddings = embed()
        _write(path, embeddings)
    return embeddings


def _read(path: Path, num_rows: int) -> Tensor | None:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            embeddings, expected = file.get_tensor(_NAME), (file.metadata() or {}).get("sha256")
        if hashlib.sha256(_bytes(embeddings)).hexdigest() != expected or len(embeddings) != num_rows:
            raise ValueError("its numbers are not those that were written")
    except (SafetensorError, OSError, ValueError) as error:
        logger.warning("Text cache %s is damaged (%s); its texts are embedded again.", path, error)
        return None
    logger.info("%d text embeddings from %s", num_rows, path)
    return embeddings


def _write(path: Path, embeddings: Tensor) -> None:
    from safetensors import SafetensorError

    metadata = {"sha256": hashlib.sha256(_bytes(embeddings)).hexdigest()}
    try:
        write_safetensors(path, {_NAME: embeddings}, metadata)
    except (SafetensorError, OSError) as error:
        logger.warning(
            "Text embeddings cannot be kept in %s (%s) and are computed at each start. Set MASQCLIP_TEXT_CACHE to a "
            "folder that can be written to, or to 'off'.", path.parent, error,
        )  # fmt: skip


def _bytes(tensor: Tensor) -> memoryview:
    return memoryview(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
