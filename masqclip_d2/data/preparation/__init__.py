"""Prepares published datasets for training and evaluation: one file per dataset, `prepare` runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from . import ade20k, ade20k_full, coco, pascal_context, pascal_voc
from .steps import Step, run_steps

PREPARATIONS: dict[str, Callable[[Path], list[Step]]] = {
    "coco": coco.semantic_steps,
    "coco_split": coco.split_steps,
    "ade20k": ade20k.steps,
    "ade20k_full": ade20k_full.steps,
    "pascal_context": pascal_context.steps,
    "pascal_voc": pascal_voc.steps,
}
"""Name of a preparation -> its steps below the folder of all datasets."""


def prepare(
    name: str,
    root: str | Path,
    *,
    kinds: Sequence[str] | None = None,
    splits: Sequence[str] = ("train", "val"),
    num_workers: int = 1,
    progress: bool = True,
) -> list[str]:
    """Write what a dataset lacks; what is finished is left as it is, what was broken off is taken up.

    Args:
        name: one of `PREPARATIONS`.
        root: the folder of all datasets.
        kinds: which kinds of labels; None: all of the preparation.
        splits: of "train" and "val".
        num_workers: processes.
        progress: show progress bars on stderr.

    Returns:
        A line for each step.

    Raises:
        ValueError: a name is unknown, or the published files are not as they should be.
        FileNotFoundError: published files are missing.
        FileExistsError: files that this function would write are there, and were not made by it.
    """
    if name not in PREPARATIONS:
        raise ValueError(f"There is no preparation {name!r}; known: {', '.join(PREPARATIONS)}.")
    steps = PREPARATIONS[name](Path(root).expanduser())
    known = kinds_of(name)
    for what, given, allowed in (("kind", kinds or (), known), ("split", splits, ("train", "val"))):
        unknown = [value for value in given if value not in allowed]
        if unknown:
            raise ValueError(f"{name} has no {what} {', '.join(unknown)}; known: {', '.join(allowed)}.")
    wanted = {"", *(known if kinds is None else kinds)}
    chosen = [step for step in steps if step.kind in wanted and step.split in splits]
    return run_steps(chosen, num_workers=num_workers, progress=progress)


def kinds_of(name: str) -> list[str]:
    """The kinds of labels that a preparation makes."""
    return list(dict.fromkeys(step.kind for step in PREPARATIONS[name](Path()) if step.kind))
