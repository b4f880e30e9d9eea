"""What a reader of annotations left out or corrected, counted and logged once per process."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ...coco_masks import MaskFault

logger = logging.getLogger(__name__)

_NUM_SHOWN = 3  # ids in a message

_logged: set[str] = set()


@dataclass
class AnnotationReport:
    """What a reader did with the annotations of a file that have faults.

    Args:
        path: the file.
        num_annotations: in the file, without those of ignored categories.
        left_out: fault -> ids of the annotations that training and evaluation leave out.
        incomplete: fault -> ids of the annotations of whose polygons some are dropped.
        remarks: further sentences.
    """

    path: str
    num_annotations: int = 0
    left_out: dict[MaskFault, list[str]] = field(default_factory=dict)
    incomplete: dict[MaskFault, list[str]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @property
    def num_left_out(self) -> int:
        return sum(map(len, self.left_out.values()))

    def left_out_text(self) -> str:
        """The faults of the annotations that are left out, with numbers, ids and fixes; "" if there are none."""
        return "; and ".join(
            f"{fault.what}: {listed('annotation', ids)}; {fault.fix}" for fault, ids in self.left_out.items()
        )

    def sentences(self) -> list[str]:
        """One sentence for each kind of fault."""
        found = []
        if self.left_out:
            found.append(
                f"Left out in training and evaluation: {self.num_left_out} of {self.num_annotations} annotations, with "
                f"{self.left_out_text()}."
            )
        for fault, ids in self.incomplete.items():
            found.append(
                f"Used without a part of their masks, with {fault.what}: {listed('annotation', ids)}; {fault.fix}."
            )
        return found + self.remarks

    def log(self) -> None:
        """Log a warning, unless this process has logged the same one before."""
        sentences = self.sentences()
        message = f"{self.path}: {' '.join(sentences)}"
        if sentences and message not in _logged:
            _logged.add(message)
            logger.warning("%s", message)


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Log no reports meanwhile, since the caller shows their sentences."""
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def listed(what: str, ids: Sequence[object]) -> str:
    """Number and first ids as text: "5 (annotations 3, 9, 12, ...)"."""
    few = ", ".join(map(str, ids[:_NUM_SHOWN])) + (", ..." if len(ids) > _NUM_SHOWN else "")
    return f"{len(ids)} ({what}{'s' if len(ids) > 1 else ''} {few})"
