"""Cache of text embeddings on disk, so that a second start with a large vocabulary embeds nothing.

One .safetensors file per set of prompts, named by the sha256 of everything that the embeddings depend on. Files are
written atomically and store the sha256 of their values; a file that does not match it is computed again.
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
from ..files import expand_home
from ..hub import user_cache

LEAST_TEXTS = 64
"""Fewer texts are embedded without the cache: that takes less time than hashing the weights."""

_OFF = "off"
_FORMAT = 1  # increase it when the same texts get other embeddings
_NAME = "text_embeddings"

logger = logging.getLogger(__name__)


def text_cache_dir() -> Path | None:
    """Return the cache folder, which need not exist, or None if the cache is switched off or there is no home folder.

    Environment variable MASQCLIP_TEXT_CACHE ("off" switches the cache off); else `text` in MASQCLIP_CACHE (the folder
    of downloaded weights), if set; else masqclip_d2/text in the user's cache folder (XDG_CACHE_HOME, ~/.cache).
    """
    chosen = os.environ.get("MASQCLIP_TEXT_CACHE")
    if chosen:
        return None if chosen.lower() == _OFF else expand_home(chosen)
    if os.environ.get("MASQCLIP_CACHE"):
        return expand_home(os.environ["MASQCLIP_CACHE"]) / "text"
    try:
        return user_cache() / "masqclip_d2" / "text"
    except FileNotFoundError:
        return None


def cached(rows: Sequence[Sequence[str]], unit_first: bool, digest: str, embed: Callable[[], Tensor]) -> Tensor:
    """Return embeddings from the cache, or compute them and add them to it.

    Args:
        rows: for each row of the result, the prompts that it averages.
        unit_first: whether embeddings are normalized before averaging.
        digest: `TextTower.content_digest()`.
        embed: () -> (len(rows), E) on any device.

    Returns:
        (len(rows), E): the result of `embed`, or the same values from disk, on the CPU.

    A folder that is not writable or a file that is not readable only causes a warning.
    """
    folder = text_cache_dir()
    if folder is None:
        return embed()
    content = json.dumps([_FORMAT, digest, unit_first, rows])
    path = folder / f"{hashlib.sha256(content.encode()).hexdigest()}.safetensors"
    embeddings = _read(path, len(rows))
    if embeddings is None:
        logger.info("Embedding %d texts; the result is cached in %s", sum(map(len, rows)), folder)
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
            raise ValueError("its values do not match their checksum")
    except (SafetensorError, OSError, ValueError) as error:
        logger.warning("Text cache file %s is damaged (%s); its texts are embedded again.", path, error)
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
            "Text embeddings cannot be cached in %s (%s) and are computed at each start. Set MASQCLIP_TEXT_CACHE to a "
            "writable folder, or to 'off'.", path.parent, error,
        )  # fmt: skip


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
