"""Detectron2's checkpointer with safe reading and with names accounted for."""

from __future__ import annotations

from typing import Any

from detectron2.checkpoint import DetectionCheckpointer

from .accounting import load_accounted
from .reading import local_weights_path, read_checkpoint


class AccountingCheckpointer(DetectionCheckpointer):
    """`DetectionCheckpointer` that reads through `read_checkpoint` and loads through `load_accounted`.

    A model may have `may_miss_names`: regular expressions for names that a checkpoint need not have, since the model
    took them from elsewhere when it was built (CLIP by name); `may_leave_names`: for names that a checkpoint may have
    and the model does not need (a proposer where masks are the annotated ones); and `learned_names`: those that its own
    stage learns, which the weights that the stage starts from do not have.

    Args:
        starts_training: weights without `learned_names` are welcome. To evaluate, all must be there.
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
        may_miss = getattr(self.model, "may_miss_names", ())
        if self._starts_training:
            may_miss = (*may_miss, *getattr(self.model, "learned_names", ()))
        load_accounted(self.model, checkpoint.pop("model"), path, may_miss)
