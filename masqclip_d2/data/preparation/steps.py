"""How a dataset is prepared: steps, each of which makes files that were not there before.

A step's outputs are marked unfinished in the folder's manifest before the first is written and finished after the last,
so that an interrupted preparation is taken up where it was left. Nothing that stands in no manifest is touched.
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

_PARTS = ".masqclip_parts"  # what finished chunks recorded, below the folder of the manifest

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What a step does, once its inputs are known to be there.

    Args:
        items: plain data, one for each picture.
        work: picklable; writes the files of one item and gives what `finish` needs of it (plain data).
        finish: takes what was recorded of all items, in order, and writes annotation files.
    """

    items: Sequence[Any] = ()
    work: Callable[[Any], Any] | None = None
    finish: Callable[[list[Any]], None] | None = None


@dataclass(frozen=True)
class Step:
    """One kind of labels of one split.

    Args:
        kind: what `--only` calls it; "" for what every kind needs.
        split: "train" or "val".
        folder: of the dataset; holds the manifest.
        outputs: files and folders that the step makes, below `folder`.
        inputs: files and folders that must be there -> how to get them.
        plan: called when the inputs are there.
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
        if not self._can_go_on():
            shutil.rmtree(parts, ignore_errors=True)
        set_state(self.folder, self.outputs, UNFINISHED)
        chunks = in_chunks(plan.work, plan.items, parts, "part")
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

    def _can_go_on(self) -> bool:
        """False if somebody deleted a folder of pictures, so that finished chunks are not to be trusted."""
        return all((self.folder / output).is_dir() for output in self.outputs if not Path(output).suffix)


def run_steps(steps: Sequence[Step], *, num_workers: int = 1, progress: bool = True) -> list[str]:
    """Run those steps that are not finished, after a look at all of them.

    Args:
        steps: in order.
        num_workers: processes.
        progress: show a bar for each step on stderr.

    Returns:
        For each step one line that says what was done.

    Raises:
        FileNotFoundError: a step lacks an input.
        FileExistsError: an output was made by somebody else.
        ValueError: an input is not as the dataset's format has it.
    """
    unfinished = [step for step in steps if not step.is_finished()]
    for step in unfinished:
        _require_inputs(step)
        _require_own_outputs(step)
    lines = []
    for step in steps:
        made = ", ".join(str(step.folder / output) for output in step.outputs)
        if step in unfinished:
            step.run(num_workers, progress)
            lines.append(f"{step.name}: {made}")
        else:
            lines.append(f"{step.name}: already there, {made}")
    return lines


def _require_inputs(step: Step) -> None:
    for path, source in step.inputs.items():
        if not path.exists():
            raise FileNotFoundError(
                f"{path} is missing, which {step.name} is made from: {source}, or leave it out with --only or --splits."
            )


def _require_own_outputs(step: Step) -> None:
    states = read_states(step.folder)
    for output in step.outputs:
        path = step.folder / output
        there = any(path.iterdir()) if path.is_dir() else path.exists()
        if there and output not in states:
            raise FileExistsError(
                f"{path} was not made by this command ({MANIFEST} does not name it) and stays as it is; move it away, "
                f"or leave {step.name} out with --only or --splits."
            )


def paired_stems(images: Path, image_suffix: str, labels: Path, label_suffix: str) -> list[str]:
    """Names, sorted and without ending, of files that two folders must both have.

    Raises:
        ValueError: one has a file that the other lacks.
    """
    image_stems = {
        path.name.removesuffix(image_suffix) for path in images.iterdir() if path.name.endswith(image_suffix)
    }
    label_stems = {
        path.name.removesuffix(label_suffix) for path in labels.iterdir() if path.name.endswith(label_suffix)
    }
    for have, folder, ending, lack, other in (
        (label_stems, labels, label_suffix, image_stems, images),
        (image_stems, images, image_suffix, label_stems, labels),
    ):
        alone = sorted(have - lack)
        if alone:
            raise ValueError(
                f"{folder / (alone[0] + ending)} has no partner in {other} ({len(alone)} such files); extract the "
                "archives again."
            )
    if not label_stems:
        raise ValueError(f"{labels} has no *{label_suffix} files; extract the archive again.")
    return sorted(label_stems)
