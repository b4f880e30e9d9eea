"""The verb `train`, which is also the script `train_net.py`."""

from __future__ import annotations

import argparse

from .command import Command, add_import_option

_EPILOG = """examples:
  masqclip train --config-file shapes/teacher --num-gpus 0
  masqclip train --config-file configs/shapes/teacher.yaml --num-gpus 8 --resume
  masqclip train --config-file shapes/masqclip --eval-only MODEL.WEIGHTS masqclip://shapes_masqclip
  masqclip train --import my_data.py --config-file shapes/teacher DATASETS.TRAIN "('my_train',)"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of Detectron2's `default_argument_parser`, and --import."""
    parser.add_argument(
        "--config-file", default="", metavar="FILE", help="a YAML file, or the name of a shipped config"
    )
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint in OUTPUT_DIR")
    parser.add_argument("--eval-only", action="store_true", help="evaluate instead of training")
    parser.add_argument(
        "--num-gpus", type=int, default=1, help="GPUs per machine, one process each; 0: CPU; default: %(default)s"
    )
    parser.add_argument("--num-machines", type=int, default=1, help="number of machines; default: %(default)s")
    parser.add_argument("--machine-rank", type=int, default=0, help="index of this machine; default: %(default)s")
    parser.add_argument(
        "--dist-url",
        default="auto",
        help="address of machine 0, such as tcp://10.0.0.1:29500; auto: a free port, for a single machine",
    )
    add_import_option(parser)
    parser.add_argument(
        "opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="overrides of the config",
    )


def run(args: argparse.Namespace) -> None:
    from ..engine.launch import launch_training

    launch_training(args)


main = Command(
    "train",
    "Train one stage of a method, or evaluate it with --eval-only.",
    add_arguments,
    run,
    _EPILOG,
    overrides=True,
)

if __name__ == "__main__":
    main()
