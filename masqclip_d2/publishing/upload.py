"""Upload a model folder to the Hugging Face Hub."""

from __future__ import annotations

import re
from pathlib import Path

from ..error_report import sentence
from ..hub.places import hub_endpoint
from .model_folder import REPO_NAME


def require_repo_name(repo: str) -> None:
    """ValueError unless `repo` is OWNER/NAME."""
    if not re.fullmatch(REPO_NAME, repo, re.ASCII):
        raise ValueError(f"The name of a model on the hub is OWNER/NAME, got {repo!r}.")


def upload_model_folder(
    folder: Path,
    repo: str,
    *,
    private: bool = False,
    revision: str | None = None,
    message: str = "",
    token: str | None = None,
) -> str:
    """Upload all files of a folder in one commit; the repository is made if it is missing.

    Args:
        folder: see `write_model_folder`.
        repo: "owner/name".
        private: of a new repository: visible to its owner only.
        revision: branch; None: main.
        message: of the commit.
        token: with the right to write; None: that of `hf auth login` or HF_TOKEN.

    Returns:
        The address of the commit.

    Raises:
        ValueError: the hub refuses, or cannot be reached; the message has its reason.
    """
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub_endpoint(), token=token)
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo, folder_path=str(folder), revision=revision, commit_message=message or "Upload a model"
        )
    except Exception as error:  # of the HTTP client, which differs between versions of huggingface_hub
        raise ValueError(f"The upload to {repo} failed: {sentence(error)}") from error
    return str(commit.commit_url)
