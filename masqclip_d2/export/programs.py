"""torch.export: a part of a model -> `ExportedProgram`, and its file (.pt2)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.export import ExportedProgram

from ..ops.selection import export_implementations
from .parts import Part


def export_program(part: Part) -> ExportedProgram:
    """The graph of a part for all sizes of its inputs.

    Args:
        part: see `build_part`.

    Raises:
        ValueError: torch cannot follow a module of the model; the message has its reason.
    """
    try:
        with torch.no_grad(), export_implementations():
            return torch.export.export(
                part.module.eval(), part.examples, dynamic_shapes=part.dynamic_shapes(), strict=False
            )
    except Exception as error:  # of many types, some private to torch
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"torch {torch.__version__} cannot export the {part.name} of this model: {reason}") from error


def save_program(program: ExportedProgram, path: Path) -> None:
    """Write a .pt2 file, which `torch.export.load(path).module()` reads."""
    torch.export.save(program, path)
