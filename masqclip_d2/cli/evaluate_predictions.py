"""The verb `evaluate-predictions`: metrics from saved predictions, without the model."""

from __future__ import annotations

import argparse

from .command import Command, add_import_option

_EPILOG = """examples:
  masqclip evaluate-predictions output/masqclip_r50
  masqclip evaluate-predictions output/masqclip_r50/inference/masqclip_ade20k_panoptic_val --output output/again
  masqclip evaluate-predictions --import my_data.py --dataset my_val results.json
An evaluation with TEST.SAVE_PREDICTIONS True saves predictions; the metrics are the same as that evaluation's.
With --dataset the predictions may be another program's: a json of COCO's results (a list) or of COCO panoptic
(its pngs in a folder of the same name), or a folder of label maps named as the images.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", nargs="+", metavar="PATH", help="output folder of a run, or predictions")
    parser.add_argument("--output", help="folder for results.json; default: print only")
    parser.add_argument("--dataset", help="dataset of predictions of another program; others must be of it")
    add_import_option(parser)


def run(args: argparse.Namespace) -> None:
    from ..evaluation.report.saved_runs import evaluate_predictions
    from ..user_code import import_user_code

    import_user_code(args.imports)
    print(evaluate_predictions(args.folders, args.output, args.dataset))


main = Command(
    "evaluate-predictions",
    "Compute metrics from saved predictions, without the model.",
    add_arguments,
    run,
    _EPILOG,
)

if __name__ == "__main__":
    main()
