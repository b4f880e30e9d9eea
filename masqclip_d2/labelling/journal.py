"""Which images a worker had in hand: when it is killed, its successor finds out which image kills workers.

Images that a killed worker had in hand are suspects, which the next attempt takes one by one; one with which two
workers were killed is left out.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

_MAX_DEATHS = 2
_MAX_STARTS = 5  # of a shard, without an image in hand

TOO_MANY_DEATHS = (
    f"{_MAX_DEATHS} workers were killed while they had this image in hand, often because memory ran out; use fewer "
    "workers (--workers), smaller batches (--batch-size) or smaller images."
)


class Journal:
    """The journal of a shard; creating it is the start of an attempt.

    Args:
        path: of the file, which lasts until the shard is finished.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._deaths: Counter[int] = Counter()
        self.num_starts = 1
        in_hand: list[int] = []
        for line in self._lines():
            if line:
                in_hand = line
            else:
                self._deaths.update(in_hand)
                in_hand, self.num_starts = [], self.num_starts + 1
        self._deaths.update(in_hand)
        self._append([])

    def _lines(self) -> Iterator[list[int]]:
        with contextlib.suppress(FileNotFoundError), self._path.open(encoding="ascii") as file:
            for line in file:
                with contextlib.suppress(ValueError):  # the last line of a killed process
                    yield json.loads(line)

    def _append(self, indices: Sequence[int]) -> None:
        with self._path.open("a", encoding="ascii") as file:
            file.write(f"{json.dumps(list(indices))}\n")

    def take(self, indices: Sequence[int]) -> None:
        """From now on these images are in hand; none but these."""
        if indices:
            self._append(indices)

    def batches(self, num_images: int, batch_size: int) -> list[list[int]]:
        """Indices of the images in batches, suspects alone, without those that are left out."""
        batches: list[list[int]] = []
        for index in range(num_images):
            if self.is_left_out(index):
                continue
            alone = self.is_suspect(index) or not batches or self.is_suspect(batches[-1][0])
            if alone or len(batches[-1]) == batch_size:
                batches.append([index])
            else:
                batches[-1].append(index)
        return batches

    def is_suspect(self, index: int) -> bool:
        """Whether a worker was killed with this image in hand."""
        return self._deaths[index] > 0

    def is_left_out(self, index: int) -> bool:
        """Whether too many workers were killed with this image in hand."""
        return self._deaths[index] >= _MAX_DEATHS

    def require_progress(self) -> None:
        """Refuse to begin a shard again and again.

        Raises:
            RuntimeError: workers were killed before they had an image in hand.
        """
        if self.num_starts > _MAX_STARTS and not self._deaths:
            raise RuntimeError(
                f"{self.num_starts - 1} workers were killed while they loaded the model, often because memory ran out; "
                "use fewer workers (--workers)."
            )

    def close(self) -> None:
        """The shard is finished."""
        self._path.unlink(missing_ok=True)
