"""Encoded images that are kept, so that other categories need no pass of the networks: a bounded number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable

import torch

from ..structures import EncodedImage, MaskProposals


class Encodings:
    """The least recently used ones are dropped, those of a session beyond its share first.

    Args:
        max_bytes: of all of them.
        per_session: number of images of one session.
    """

    def __init__(self, max_bytes: int, per_session: int) -> None:
        self._max_bytes, self._per_session = max_bytes, per_session
        self._kept: OrderedDict[tuple[str, Hashable], tuple[EncodedImage, int]] = OrderedDict()
        self._lock = threading.Lock()
        self._bytes = 0

    @property
    def num_bytes(self) -> int:
        """Memory that the kept images take."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._kept)

    def has(self, session: str, key: Hashable) -> bool:
        """Whether an image is kept."""
        return (session, key) in self._kept

    def get(self, session: str, key: Hashable) -> EncodedImage | None:
        """The encoded image, which is then the most recently used one."""
        with self._lock:
            found = self._kept.get((session, key))
            if found is None:
                return None
            self._kept.move_to_end((session, key))
            return found[0]

    def put(self, session: str, key: Hashable, encoded: EncodedImage) -> None:
        """Keep an encoded image in main memory, unless it alone is too large."""
        kept = encoded.to("cpu")
        size = encoded_bytes(kept)
        if size > self._max_bytes:
            return
        with self._lock:
            self._drop((session, key))
            self._kept[session, key] = (kept, size)
            self._bytes += size
            own = [each for each in self._kept if each[0] == session]
            if session:
                for each in own[: -self._per_session]:
                    self._drop(each)
            while self._bytes > self._max_bytes:
                self._drop(next(iter(self._kept)))

    def forget(self, session: str) -> None:
        """Drop all images of a session."""
        with self._lock:
            for each in [each for each in self._kept if each[0] == session]:
                self._drop(each)

    def _drop(self, key: tuple[str, Hashable]) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            self._bytes -= found[1]


def encoded_bytes(encoded: EncodedImage) -> int:
    """Memory of an encoded image: masks, embeddings and pixels."""
    size = 0 if encoded.image is None else encoded.image.nbytes
    parts: list[object] = [encoded.mask_embeddings, encoded.proposals, encoded.coarse]
    for part in parts:
        tensors = [part.mask_logits, part.object_scores] if isinstance(part, MaskProposals) else [part]
        size += sum(one.numel() * one.element_size() for one in tensors if isinstance(one, torch.Tensor))
    return size
