"""Final evaluation report from the saved predictions of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...config import get_masqclip_cfg
from ..prediction_recorder import Origin
from .foreign_predictions import is_foreign
from .published_rows import row_of
from .results import comparison_text, results_table, write_results
from .saved_evaluation import evaluate_saved
from .saved_predictions import prediction_folders


def evaluate_predictions(
    folders: Sequence[str | Path], output: str | Path | None = None, dataset: str | None = None
) -> str:
    """Evaluate folders of predictions, all of one run.

    Args:
        folders: folders of predictions, or a run's output folder, which stands for all folders in it; with `dataset`
            also predictions of another program, see `foreign_predictions`.
        output: folder for results.json; None: no file.
        dataset: name of the dataset that the predictions must be of; None: as recorded with them.

    Returns:
        The tables that an evaluation prints.

    Raises:
        FileNotFoundError, ValueError: see `prediction_folders` and `evaluate_saved`; the folders are of different runs,
            or two are of one dataset.
    """
    results: dict[str, dict] = {}
    origins: dict[Origin, Path] = {}
    for folder in (found for path in folders for found in _folders(path, dataset)):
        metrics, predictions = evaluate_saved(folder, dataset)
        if predictions.dataset in results:
            raise ValueError(f"{folder} is the second folder with predictions of dataset {predictions.dataset!r}.")
        results[predictions.dataset] = metrics
        origins.setdefault(predictions.origin, folder)
    if len(origins) > 1:
        first, second, *_ = origins.values()
        raise ValueError(
            f"The predictions in {first} and {second} are of runs that differ in configuration, seed or weights; "
            "evaluate them one by one."
        )
    (origin,) = origins
    row, difference = _row_of(origin)
    if output is not None:
        write_results(Path(output) / "results.json", results, origin, row)
    return "\n\n".join(filter(None, [results_table(results, row), comparison_text(results, row, difference)]))


def _folders(path: str | Path, dataset: str | None) -> list[Path]:
    return [Path(path)] if dataset is not None and is_foreign(path) else prediction_folders(path)


def _row_of(origin: Origin) -> tuple[str | None, str]:
    """The published row of a run, and how the run differs from it."""
    if not origin.config:
        return None, "its configuration is not known"
    cfg = get_masqclip_cfg()
    return row_of(cfg.load_cfg(origin.config))
