"""Steps of a preparation: each writes new files or folders of labels.

The manifest of the dataset folder lists the outputs of a step as unfinished before it writes, and as finished at its
end, so that an interrupted preparation is resumed. Files that no manifest lists are never overwritten.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..chunks import collected, in_chunks, run_chunks
from ..manifest import FINISHED, MANIFEST, UNFINISHED, read_states, set_state

_PARTS = ".masqclip_parts"  # folder beside the manifest with the records of finished chunks

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """The work of a step, planned once its inputs exist.

    Args:
        items: plain data, one item per image.
        work: picklable; writes the files of one item and returns its record for `finish` (plain data).
        finish: receives the records of all items, in order, and writes annotation files.
    """

    items: Sequence[Any] = ()
    work: Callable[[Any], Any] | None = None
    finish: Callable[[list[Any]], None] | None = None


@dataclass(frozen=True)
class Step:
    """One kind of labels of one split.

    Args:
        kind: name for `--only`; "" if every kind requires the step.
        split: "train" or "val".
        folder: of the dataset, with the manifest.
        outputs: files and folders that the step writes, below `folder`.
        inputs: required files and folders -> how to get them.
        plan: called once the inputs exist.
    """

    kind: str
    split: str
    folder: Path
    outputs: tuple[str, ...]
    inputs: dict[Path, str]
    plan: Callable[[], Plan] = field(repr=False)

    @property
    def name(self) -> str:
        return f"{self.kind or 'images'} {self.split}"

    def run(self, num_workers: int, progress: bool) -> None:
        plan = self.plan()
        parts = self.folder / _PARTS / self.name.replace(" ", "_")
        if not self._can_resume():
            shutil.rmtree(parts, ignore_errors=True)
        set_state(self.folder, self.outputs, UNFINISHED)
        chunks = [] if plan.work is None else in_chunks(plan.work, plan.items, parts, "part")
        run_chunks(chunks, self.name, num_workers=num_workers, progress=progress and bool(chunks))
        if plan.finish is not None:
            plan.finish(collected(chunks))
        set_state(self.folder, self.outputs, FINISHED)
        shutil.rmtree(parts, ignore_errors=True)
        if (self.folder / _PARTS).is_dir() and not any((self.folder / _PARTS).iterdir()):
            (self.folder / _PARTS).rmdir()

    def is_finished(self) -> bool:
        states = read_states(self.folder)
        return all(states.get(output) == FINISHED and (self.folder / output).exists() for output in self.outputs)

    def _can_resume(self) -> bool:
        """False if an output folder was deleted, so that finished chunks are invalid."""
        return all((self.folder / output).is_dir() for output in self.outputs if not Path(output).suffix)


def run_steps(steps: Sequence[Step], *, num_workers: int = 1, progress: bool = True) -> list[str]:
    """Check the inputs and outputs of all unfinished steps, then run these steps.

    Args:
        steps: in order.
        num_workers: processes.
        progress: show a bar for each step on stderr.

    Returns:
        One line per step.

    Raises:
        FileNotFoundError: an input is missing.
        FileExistsError: an output exists and was not made by a preparation.
        ValueError: an input does not have the dataset's format.
    """
    unfinished = [step for step in steps if not step.is_finished()]
    for step in unfinished:
        _require_inputs(step)
        _require_own_outputs(step)
    lines = []
    for step in steps:
        outputs = ", ".join(str(step.folder / output) for output in step.outputs)
        if step in unfinished:
            step.run(num_workers, progress)
            lines.append(f"{step.name}: {outputs}")
        else:
            lines.append(f"{step.name}: already there, {outputs}")
    return lines


def _require_inputs(step: Step) -> None:
    for path, source in step.inputs.items():
        if not path.exists():
            raise FileNotFoundError(
                f"{path} is missing, which {step.name} requires: {source}, or exclude the step with --only or --splits."
            )


def _require_own_outputs(step: Step) -> None:
    states = read_states(step.folder)
    for output in step.outputs:
        path = step.folder / output
        exists = any(path.iterdir()) if path.is_dir() else path.exists()
        if exists and output not in states:
            raise FileExistsError(
                f"{path} was not made by this command ({MANIFEST} does not list it) and is not overwritten; move it "
                f"away, or exclude {step.name} with --only or --splits."
            )


def paired_stems(images: Path, image_suffix: str, labels: Path, label_suffix: str) -> list[str]:
    """Return the sorted names, without suffix, of the files that two folders must have in common.

    Raises:
        ValueError: a file is missing in one of the folders, or there are none.
    """
    image_stems = {
        path.name.removesuffix(image_suffix) for path in images.iterdir() if path.name.endswith(image_suffix)
    }
    label_stems = {
        path.name.removesuffix(label_suffix) for path in labels.iterdir() if path.name.endswith(label_suffix)
    }
    for stems, folder, suffix, other_stems, other in (
        (label_stems, labels, label_suffix, image_stems, images),
        (image_stems, images, image_suffix, label_stems, labels),
    ):
        alone = sorted(stems - other_stems)
        if alone:
            raise ValueError(
                f"{folder / (alone[0] + suffix)} has no counterpart in {other} ({len(alone)} such files); extract the "
                "archives again."
            )
    if not label_stems:
        raise ValueError(f"{labels} has no *{label_suffix} files; extract the archive again.")
    return sorted(label_stems)
