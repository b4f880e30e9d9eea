"""Run planned stages one after the other, each in a process of its own; skip finished ones, resume interrupted ones."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence

from ...processes import PARENT_VARIABLE
from .plan import Stage


def run_stages(stages: Sequence[Stage], num_gpus: int) -> None:
    """Run the stages that are not finished.

    Raises:
        ValueError: a stage failed; later ones are not run.
    """
    for number, stage in enumerate(stages, start=1):
        label = f"stage {number} of {len(stages)}: {stage.title} ({stage.output})"
        if stage.is_finished():
            print_skipped(label)
        else:
            run_stage(stage, num_gpus, label)


def run_stage(stage: Stage, num_gpus: int, label: str) -> None:
    """Run one stage and print its label before and its duration after.

    Args:
        stage: what to run.
        num_gpus: for the training command.
        label: number and name of the stage, for messages.

    Raises:
        ValueError: the stage failed.
    """
    print(label, flush=True)
    start = time.monotonic()
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    code = subprocess.run(stage.command(num_gpus), check=False).returncode
    if code:
        raise ValueError(f"{label} stopped with exit code {code}; the same command resumes there.")
    print(f"{label}: {(time.monotonic() - start) / 60:.1f} minutes.", flush=True)


def print_skipped(label: str) -> None:
    """Report a stage that is finished already."""
    print(f"{label}: already finished, skipped.", flush=True)
