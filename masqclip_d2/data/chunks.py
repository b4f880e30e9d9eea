"""Parallel work on many items that can be interrupted and resumed.

Items are split into chunks. A finished chunk writes a file, its part, with one record per item. A chunk whose part
exists and was made from the same items is not processed again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import save_json
from ..processes import in_workers

_CHUNK_SIZE = 32  # items


@dataclass(frozen=True)
class Chunk:
    """Items, a picklable function (item -> JSON-serializable record), and the file of the part."""

    work: Callable[[Any], Any]
    items: tuple
    part: Path

    def run(self) -> int:
        """Process the items unless the part exists; returns their number."""
        if self._stored() is None:
            save_json(self.part, {"items": self._fingerprint(), "records": [self.work(item) for item in self.items]})
        return len(self.items)

    def records(self) -> list[Any]:
        """Records of the items, in order.

        Raises:
            RuntimeError: the chunk has not been run.
        """
        stored = self._stored()
        if stored is None:
            raise RuntimeError(f"{self.part} does not exist yet; run the chunk first.")
        return stored["records"]

    def _stored(self) -> dict[str, Any] | None:
        if not self.part.is_file():
            return None
        stored = json.loads(self.part.read_text(encoding="utf-8"))
        return stored if stored["items"] == self._fingerprint() else None

    def _fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(self.items).encode()).hexdigest()


def in_chunks(work: Callable[[Any], Any], items: Sequence[Any], parts: Path, name: str) -> list[Chunk]:
    """Split items (JSON-serializable) into chunks whose parts are PARTS/NAME_00000000.json and so on."""
    return [
        Chunk(work, tuple(items[start : start + _CHUNK_SIZE]), parts / f"{name}_{start:08d}.json")
        for start in range(0, len(items), _CHUNK_SIZE)
    ]


def run_chunks(chunks: Sequence[Chunk], description: str, *, num_workers: int = 1, progress: bool = True) -> None:
    """Run all chunks, in any order, with a progress bar on stderr.

    Args:
        chunks: the chunks.
        description: title of the progress bar.
        num_workers: number of processes; at most 1: run in this process.
        progress: show the bar.

    Raises:
        WorkerDiedError: a process was killed.
        Any error of the function; chunks that have not started are then cancelled.
    """
    from tqdm import tqdm

    total = sum(len(chunk.items) for chunk in chunks)
    with tqdm(total=total, desc=description, unit="image", disable=not progress) as bar:
        for num_items in _results(chunks, num_workers):
            bar.update(num_items)


def collected(chunks: Sequence[Chunk]) -> list[Any]:
    """Records of all items, in order."""
    return [record for chunk in chunks for record in chunk.records()]


def _results(chunks: Sequence[Chunk], num_workers: int) -> Iterator[int]:
    if num_workers <= 1 or len(chunks) == 1:
        yield from (chunk.run() for chunk in chunks)
        return
    yield from in_workers(Chunk.run, chunks, num_workers)
