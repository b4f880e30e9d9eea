"""Detectron2's checkpointer with safe reading and strict loading."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer

from ..files import atomic_write, save_text
from .reading import UnreadableCheckpointError, check_sums, local_weights_path, read_checkpoint
from .strict_loading import load_strict

FINAL = "model_final"  # name of the checkpoint after the last step
_LAST = "last_checkpoint"
_CHECKPOINT = re.compile(rf"(model_[0-9]+|{FINAL})\.pth")
_UNFINISHED = re.compile(r"(model_[0-9a-z]+\.pth|last_checkpoint)\.[0-9]+\.tmp")  # of `atomic_write`

logger = logging.getLogger(__name__)


def resumable_checkpoints(folder: str | Path) -> list[Path]:
    """Checkpoints of an output folder, the last one first; not other weights that lie there, such as the best ones.

    The first one, which the file `last_checkpoint` names, may be missing.
    """
    if not folder or not Path(folder).is_dir():
        return []
    note = Path(folder, _LAST)
    name = Path(note.read_text(errors="replace").strip()[:200]).name if note.is_file() else ""
    noted = [Path(folder, name)] if name and name.isprintable() else []  # a damaged note is none
    written = [file for file in Path(folder).glob("model_*.pth") if _CHECKPOINT.fullmatch(file.name) and file.is_file()]
    written.sort(key=lambda file: file.stat().st_mtime_ns, reverse=True)
    return [*noted, *(file for file in written if file not in noted)]


def remove_unfinished(folder: str | Path) -> None:
    """Remove checkpoints of an output folder that a killed training has not finished; no other one may be running."""
    for file in Path(folder).glob("*.tmp") if folder else ():
        if _UNFINISHED.fullmatch(file.name):
            logger.info("Removing %s, an unfinished checkpoint of a training that was killed.", file)
            file.unlink(missing_ok=True)


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
        self._resumes = False
        self._absent: list[str] = []  # of the entries of the last file, those that a resumed training needs

    def save(self, name: str, **kwargs: Any) -> None:
        """Write `name`.pth, atomically, and note it as the last one; see `Checkpointer.save` of fvcore."""
        if not self.save_dir or not self.save_to_disk:
            return
        content = {"model": self.model.state_dict()}
        content |= {key: value.state_dict() for key, value in self.checkpointables.items()}
        path = Path(self.save_dir, f"{name}.pth")
        logger.info("Saving checkpoint to %s", path)
        with atomic_write(path) as unfinished, unfinished.open("wb") as file:
            try:
                torch.save({**content, **kwargs}, file)
            except RuntimeError as error:  # of closing the archive, after an error of writing such as a full disk
                raise error.__context__ if isinstance(error.__context__, OSError) else error from None
            file.flush()
            os.fsync(file.fileno())
        self.tag_last_checkpoint(path.name)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Note the name of the last checkpoint in the file `last_checkpoint`."""
        save_text(Path(self.save_dir, _LAST), last_filename_basename)

    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint to resume from, readable or not."""
        return bool(resumable_checkpoints(self.save_dir))

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Load the last checkpoint of the folder with all checkpointables, or the model alone.

        A last checkpoint that is gone, empty, truncated or damaged is passed over for the one before it, with a
        warning. A training that starts anew in a folder with checkpoints is a warning, too.

        Args:
            path: of the model, if there is nothing to resume from.
            resume: False: load the model of `path`.

        Raises:
            ValueError: there are checkpoints to resume from, and none can be read.
        """
        candidates = resumable_checkpoints(self.save_dir)
        if candidates and not resume and self._starts_training:
            logger.warning(
                "%s has checkpoints of another training, the last one %s. This training starts anew and replaces them; "
                "--resume continues that one.",
                self.save_dir,
                candidates[0].name,
            )
        candidates = candidates if resume else []
        for file in candidates:
            self._resumes = True
            try:
                entries = self.load(str(file))
            except (FileNotFoundError, UnreadableCheckpointError) as error:
                logger.warning("Cannot resume from %s: %s", file.name, error)
                continue
            finally:
                self._resumes = False
            if self._absent:
                logger.warning(
                    "%s has no %s, which start anew: it is no checkpoint of an interrupted training.",
                    file.name,
                    ", ".join(self._absent),
                )
            return entries
        if candidates:
            raise ValueError(
                f"None of the checkpoints in {self.save_dir} can be read; start anew with another OUTPUT_DIR, or "
                "without --resume."
            )
        return self.load(path, checkpointables=[])

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load the model and the `checkpointables` (None: all); return the other entries of the file."""
        if not path:
            return super().load(path, checkpointables)
        local = str(local_weights_path(path))
        try:
            return super().load(local, checkpointables)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            if local in str(error):
                raise
            states = ", ".join(self.checkpointables if checkpointables is None else checkpointables)
            raise ValueError(
                f"Checkpoint {local} does not fit this training: its states of {states} cannot be loaded ({error}). "
                "Resume with the configuration that it was written with, or start anew with another OUTPUT_DIR."
            ) from error
        finally:
            # Detectron2 keeps the path while it loads, also after an error, and then refuses to load again.
            if hasattr(self, "_parsed_url_during_load"):
                self._parsed_url_during_load = None

    def _load_file(self, filename: str) -> dict[str, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self._resumes:
            check_sums(filename)
        checkpoint = read_checkpoint(filename)
        iteration = checkpoint.get("iteration", 0)
        if self._resumes and (not isinstance(iteration, int) or iteration < 0):
            raise UnreadableCheckpointError(f"Checkpoint {filename} has the iteration {iteration!r:.40}.")
        self._absent = [name for name in (*self.checkpointables, "iteration") if name not in checkpoint]
        checkpoint["__path__"] = filename
        return checkpoint

    def _load_model(self, checkpoint: dict[str, Any]) -> None:
        path = checkpoint.pop("__path__")
        allow_missing = getattr(self.model, "allow_missing", ())
        if self._starts_training:
            allow_missing = (*allow_missing, *getattr(self.model, "trained_names", ()))
        load_strict(self.model, checkpoint.pop("model"), path, allow_missing, self._starts_training)
