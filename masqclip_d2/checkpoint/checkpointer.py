"""Detectron2's checkpointer with safe reading and strict loading."""

from __future__ import annotations

from typing import Any

from detectron2.checkpoint import DetectionCheckpointer

from .reading import local_weights_path, read_checkpoint
from .strict_loading import load_strict


class StrictCheckpointer(DetectionCheckpointer):
    """`DetectionCheckpointer` that reads through `read_checkpoint` and loads through `load_strict`.

    A model may have these attributes, tuples of regular expressions for parameter names:
        allow_missing: may be missing in a checkpoint, such as a CLIP that is loaded by MODEL.MASQCLIP.CLIP.NAME
        allow_unexpected: ignored if a checkpoint has them, such as a proposer when the proposals are the ground truth
        trained_names: trained by the model's own stage, so missing in the initial weights of that stage
        sized_by_weights: take their first size from a checkpoint, such as the class head of a proposer

    Args:
        starts_training: `trained_names` may be missing; for an evaluation they are required.
        arguments: of `DetectionCheckpointer`.
    """

    def __init__(self, *arguments, starts_training: bool = False, **named_arguments) -> None:
        super().__init__(*arguments, **named_arguments)
        self._starts_training = starts_training

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load the model and the `checkpointables` (None: all); return the other entries of the file."""
        if not path:
            return super().load(path, checkpointables)
        return super().load(str(local_weights_path(path)), checkpointables)

    def _load_file(self, filename: str) -> dict[str, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        checkpoint = read_checkpoint(filename)
        checkpoint["__path__"] = filename
        return checkpoint

    def _load_model(self, checkpoint: dict[str, Any]) -> None:
        path = checkpoint.pop("__path__")
        allow_missing = getattr(self.model, "allow_missing", ())
        if self._starts_training:
            allow_missing = (*allow_missing, *getattr(self.model, "trained_names", ()))
        load_strict(self.model, checkpoint.pop("model"), path, allow_missing, self._starts_training)
