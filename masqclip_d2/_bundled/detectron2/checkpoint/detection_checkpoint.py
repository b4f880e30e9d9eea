"""Checkpoints in fvcore's and Detectron2's file formats. No code from a file is executed."""

from __future__ import annotations

import logging
import pickle
from typing import Any
from urllib.parse import parse_qs, urlparse

import torch
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from fvcore.common.checkpoint import Checkpointer
from torch import nn

from ._numpy_pickle import load_numpy_pickle
from ._suffix_matching import match_by_suffix

_logger = logging.getLogger(__name__)
# Normalization constants belong to the config; not all checkpoints have them.
_UNREPORTED_MISSING = ("pixel_mean", "pixel_std")


class DetectionCheckpointer(Checkpointer):
    """fvcore's Checkpointer that also reads .pkl files of arrays and bare state dicts, and saves on rank 0 only.

    Keys of the file must equal the model's, unless the file holds "matching_heuristics": True or its path ends in
    "?matching_heuristics=True"; then they are matched by suffix (`_suffix_matching`).
    """

    def __init__(
        self, model: nn.Module, save_dir: str = "", *, save_to_disk: bool | None = None, **checkpointables: Any
    ) -> None:
        if save_to_disk is None:
            save_to_disk = comm.is_main_process()
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.path_manager = PathManager
        self._matching_requested = False

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load the model and the checkpointables (None = all); returns the rest of the file.

        Raises:
            ValueError: the path has a query other than matching_heuristics, or the file has no weights.
            pickle.UnpicklingError: the file holds other objects than tensors, arrays and plain containers.
        """
        url = urlparse(path)
        query = parse_qs(url.query, keep_blank_values=True)
        self._matching_requested = query.pop("matching_heuristics", ["False"]) == ["True"]
        if query:
            raise ValueError(f"Unknown option {sorted(query)} in {path!r}; expected only matching_heuristics=True.")
        return super().load(url._replace(query="").geturl(), checkpointables)

    # fvcore's parameter is `f`, Detectron2's `filename`.
    def _load_file(self, filename: str) -> dict[str, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if filename.endswith(".pkl"):
            _logger.info("Reading arrays from %s (a pickle; only arrays and plain containers are accepted).", filename)
            with open(filename, "rb") as file:
                checkpoint = load_numpy_pickle(file)
            if not isinstance(checkpoint, dict):
                raise pickle.UnpicklingError(f"{filename} holds a {type(checkpoint).__name__}; expected a dict.")
            if "model" not in checkpoint or "__author__" not in checkpoint:
                raise ValueError(
                    f"{filename} has the keys {sorted(checkpoint)[:5]}; expected 'model' and '__author__'. Caffe2 "
                    "files are not supported by the bundled detectron2."
                )
        else:
            checkpoint = torch.load(filename, map_location="cpu", weights_only=True)
            if "model" not in checkpoint:
                checkpoint = {"model": checkpoint}
        if self._matching_requested:
            checkpoint["matching_heuristics"] = True
        return checkpoint

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        if checkpoint.pop("matching_heuristics", False):
            self._convert_ndarray_to_tensor(checkpoint["model"])
            checkpoint["model"] = match_by_suffix(self.model.state_dict(), checkpoint["model"])
        incompatible = super()._load_model(checkpoint)
        for key in list(incompatible.missing_keys):
            if key.rsplit(".", 1)[-1] in _UNREPORTED_MISSING:
                incompatible.missing_keys.remove(key)
        return incompatible
