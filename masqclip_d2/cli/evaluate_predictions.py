"""The command `tools/evaluate_predictions.py` (installed: `masqclip-evaluate-predictions`): numbers without the model.

Reads the predictions that an evaluation with TEST.SAVE_PREDICTIONS True left behind, and gives the numbers that it
gave.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..config import get_masqclip_cfg
from ..evaluation import (
    Origin,
    comparison_text,
    evaluate_saved,
    prediction_folders,
    results_table,
    row_of,
    write_results,
)
from .command import command

_EPILOG = """examples:
  evaluate_predictions.py output/masqclip_r50
  evaluate_predictions.py output/masqclip_r50/inference/masqclip_ade20k_panoptic_val --output output/again
"""


def evaluate_predictions(
    folders: Sequence[str | Path], output: str | Path | None = None, dataset: str | None = None
) -> str:
    """Evaluate folders of predictions, all of one run.

    Args:
        folders: folders of predictions, or a run's output folder, which stands for all in it.
        output: where results.json goes; None: nowhere.
        dataset: what the predictions must be of; None: what they say.

    Returns:
        The tables, as an evaluation prints them.

    Raises:
        FileNotFoundError, ValueError: see `prediction_folders` and `evaluate_saved`; the folders are of different runs,
            or two are of one dataset.
    """
    results: dict[str, dict] = {}
    origins: dict[Origin, Path] = {}
    for folder in (found for path in folders for found in prediction_folders(path)):
        numbers, predictions = evaluate_saved(folder, dataset)
        if predictions.dataset in results:
            raise ValueError(f"{folder} is the second folder with predictions of dataset {predictions.dataset!r}.")
        results[predictions.dataset] = numbers
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


def _row_of(origin: Origin) -> tuple[str | None, str]:
    if not origin.config:
        return None, "its configuration is not known"
    cfg = get_masqclip_cfg()
    return row_of(cfg.load_cfg(origin.config))


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="a run's output folder, or one of predictions")
    parser.add_argument("--output", help="folder for results.json; default: print only")
    parser.add_argument("--dataset", help="stop unless the predictions are of this dataset")
    args = parser.parse_args(argv)
    print(evaluate_predictions(args.folders, args.output, args.dataset))


if __name__ == "__main__":
    main()
