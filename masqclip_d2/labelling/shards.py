"""Shards: images whose results are written together, into a folder that appears when it is complete.

A finished shard has shard.json with its images and those that failed. What is finished is read from there, so that
neither the order nor the size of the shards of later runs matters.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..files import save_json
from .sources import ImageSource

SUMMARY = "shard.json"
JOURNALS = ".journals"
_PREFIX = "shard-"
_LARGEST = 500  # images per shard by default
_SHARDS_PER_WORKER = 4  # at least, so that workers end at about the same time


@dataclass(frozen=True)
class Failure:
    """An image without a result, and why, in one sentence."""

    location: str
    reason: str


@dataclass(frozen=True)
class Shard:
    """Images whose results are written together."""

    images: tuple[ImageSource, ...]

    @property
    def name(self) -> str:
        """Depends on the images alone."""
        text = "\n".join(f"{image.location}\t{image.name}" for image in self.images)
        return f"{_PREFIX}{hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()[:16]}"

    def to_json(self) -> str:
        return json.dumps([[image.location, image.name] for image in self.images])

    @classmethod
    def from_json(cls, text: str) -> Shard:
        return cls(tuple(ImageSource(*row) for row in json.loads(text)))


@dataclass
class ShardSummary:
    """A finished shard.

    Args:
        name: of its folder.
        done: locations of images with results.
        failed: the others.
    """

    name: str
    done: list[str] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        """Write it into the folder of the shard."""
        save_json(folder / SUMMARY, {"done": self.done, "failed": [asdict(one) for one in self.failed]})

    @classmethod
    def load(cls, folder: Path) -> ShardSummary:
        content = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        return cls(folder.name, content["done"], [Failure(**one) for one in content["failed"]])


def finished_shards(output: Path) -> Iterator[ShardSummary]:
    """The finished shards of an output folder, one in memory at a time."""
    for summary in sorted(output.glob(f"{_PREFIX}*/{SUMMARY}")):
        if not summary.parent.name.endswith(".tmp"):
            yield ShardSummary.load(summary.parent)


def plan_shards(
    images: Sequence[ImageSource], done: set[str], failed: set[str], size: int | None, num_workers: int
) -> list[Shard]:
    """Shards of the images without results; those that failed before are the last ones.

    Args:
        images: all images.
        done: locations of images with results.
        failed: locations of images that failed.
        size: images per shard; None: 500, or fewer if all workers are to have some shards.
        num_workers: how many work.
    """
    left = [image for image in images if image.location not in done]
    left.sort(key=lambda image: image.location in failed)  # stable
    if size is None:
        size = max(1, min(_LARGEST, -(-len(left) // (_SHARDS_PER_WORKER * num_workers))))
    return [Shard(tuple(left[first : first + size])) for first in range(0, len(left), size)]


def remove_unfinished(output: Path) -> None:
    """Remove what interrupted workers have left."""
    for folder in output.glob(f"{_PREFIX}*.tmp"):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(output / JOURNALS, ignore_errors=True)
