"""Prepares published datasets for training and evaluation: one module per dataset, run by `prepare`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ...files import expand_home
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
"""Name of a preparation -> function that returns its steps for a root of all datasets."""


def prepare(
    name: str,
    root: str | Path,
    *,
    kinds: Sequence[str] | None = None,
    splits: Sequence[str] = ("train", "val"),
    num_workers: int = 1,
    progress: bool = True,
) -> list[str]:
    """Write the missing files of a dataset. Finished steps are skipped, interrupted ones are resumed.

    Args:
        name: one of `PREPARATIONS`.
        root: root of all datasets.
        kinds: kinds of labels; None: all.
        splits: "train", "val" or both.
        num_workers: processes.
        progress: show progress bars on stderr.

    Returns:
        One line per step.

    Raises:
        ValueError: a name is unknown, or the published files have unexpected content.
        FileNotFoundError: published files are missing.
        FileExistsError: an output exists and was not made by this function.
    """
    if name not in PREPARATIONS:
        raise ValueError(f"There is no preparation {name!r}; known: {', '.join(PREPARATIONS)}.")
    steps = PREPARATIONS[name](expand_home(root))
    known = kinds_of(name)
    for what, given, allowed in (("kind", kinds or (), known), ("split", splits, ("train", "val"))):
        unknown = [value for value in given if value not in allowed]
        if unknown:
            raise ValueError(f"{name} has no {what} {', '.join(unknown)}; known: {', '.join(allowed)}.")
    required = {"", *(known if kinds is None else kinds)}
    chosen = [step for step in steps if step.kind in required and step.split in splits]
    return run_steps(chosen, num_workers=num_workers, progress=progress)


def kinds_of(name: str) -> list[str]:
    """Return the kinds of labels of a preparation."""
    return list(dict.fromkeys(step.kind for step in PREPARATIONS[name](Path()) if step.kind))
