"""Detectron2's checkpointer with safe reading and with names accounted for."""

from __future__ import annotations

from typing import Any

from detectron2.checkpoint import DetectionCheckpointer

from .reading import local_weights_path, read_checkpoint
from .strict_loading import load_strict


class StrictCheckpointer(DetectionCheckpointer):
    """`DetectionCheckpointer` that reads through `read_checkpoint` and loads through `load_strict`.

    A model may have `allow_missing`: regular expressions for names that a checkpoint need not have, since the model
    took them from elsewhere when it was built (CLIP by name); `allow_unexpected`: for names that a checkpoint may have
    and the model does not need (a proposer where masks are the annotated ones); and `trained_names`: those that its own
    stage learns, which the weights that the stage starts from do not have.

    Args:
        starts_training: weights without `trained_names` are welcome. To evaluate, all must be there.
        arguments: of `DetectionCheckpointer`.
    """

    def __init__(self, *arguments, starts_training: bool = False, **named_arguments) -> None:
        super().__init__(*arguments, **named_arguments)
        self._starts_training = starts_training

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load the model and the `checkpointables` (None: all); returns what is left of the file."""
        if not path:
            return super().load(path, checkpointables)
        return super().load(str(local_weights_path(path)), checkpointables)

    def _load_file(self, filename: str) -> dict[str, Any]:
        checkpoint = read_checkpoint(filename)
        checkpoint["__path__"] = filename
        return checkpoint

    def _load_model(self, checkpoint: dict[str, Any]) -> None:
        path = checkpoint.pop("__path__")
        allow_missing = getattr(self.model, "allow_missing", ())
        if self._starts_training:
            allow_missing = (*allow_missing, *getattr(self.model, "trained_names", ()))
        load_strict(self.model, checkpoint.pop("model"), path, allow_missing)
