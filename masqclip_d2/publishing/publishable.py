"""Methods of `Predictor` that publish its model."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from .model_card import MetricsInput, model_card
from .model_folder import write_model_folder
from .upload import require_repo_name, upload_model_folder


class Publishable:
    """A class with the attributes `cfg` and `model`, whose model can be saved and uploaded."""

    cfg: Any
    model: Any

    def save_pretrained(
        self, folder: str | Path, license: str, metrics: MetricsInput = None, half: bool = False, name: str = ""
    ) -> None:
        """Write configuration, weights and a model card into a folder, for `from_pretrained`.

        Args:
            folder: made if it is missing; files of the same names are replaced.
            license: of the weights, an identifier such as "apache-2.0".
            metrics: for the card: {dataset: {task: {metric: value}}}, or the results.json of an evaluation.
            half: weights as float16, half the size.
            name: "owner/name" on the Hugging Face Hub, for the card.

        Raises:
            ValueError: see `model_card`.
            OSError: the folder cannot be written.
        """
        card = model_card(self.cfg, self.model, license, name, metrics)
        write_model_folder(folder, self.cfg, self.model, card, half)

    def push_to_hub(
        self, repo: str, license: str, metrics: MetricsInput = None, half: bool = False, **upload: Any
    ) -> str:
        """Upload configuration, weights and a model card to the Hugging Face Hub as "owner/name".

        Args:
            repo: made if it is missing.
            license, metrics, half: see `save_pretrained`.
            upload: private, revision, message, token of `publishing.upload_model_folder`.

        Returns:
            The address of the commit.

        Raises:
            ValueError: see `model_card`; the name is not OWNER/NAME; the hub refuses or cannot be reached.
        """
        require_repo_name(repo)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, license, metrics, half, repo)
            return upload_model_folder(Path(folder), repo, **upload)
