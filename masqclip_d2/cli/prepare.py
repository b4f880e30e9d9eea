"""The verb `prepare`, which is also the scripts `datasets/prepare_<name>.py`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from .command import Command

# The keys of `masqclip_d2.data.preparation.PREPARATIONS`.
NAMES = ("coco", "coco_split", "ade20k", "ade20k_full", "pascal_context", "pascal_voc")

_EPILOG = """Finished files are kept, an interrupted preparation is resumed, files of other origin are not overwritten.
datasets/README.md describes what to download and where to unpack it.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    _add_options(parser)


def _add_options(parser: argparse.ArgumentParser) -> None:
    default_root = os.environ.get("DETECTRON2_DATASETS", "datasets")
    parser.add_argument("--root", default=default_root, help="folder of all datasets; default: %(default)s")
    parser.add_argument(
        "--only", nargs="+", metavar="KIND", help="only these kinds of labels, such as semantic; default: all"
    )
    parser.add_argument(
        "--splits", nargs="+", choices=["train", "val"], default=["train", "val"], help="default: train val"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes; default: all cores")


def run(args: argparse.Namespace) -> None:
    from ..data.preparation import prepare

    for line in prepare(args.name, args.root, kinds=args.only, splits=args.splits, num_workers=args.workers):
        print(line)


_SUMMARY = "Write the files that a published dataset lacks: label maps, annotation files, images by split."
main = Command("prepare", _SUMMARY, add_arguments, run, _EPILOG)


def script(name: str, argv: Sequence[str] | None = None) -> None:
    """Run the preparation `name` with the options of `argv`; None: those of the process."""

    def run_named(args: argparse.Namespace) -> None:
        run(argparse.Namespace(name=name, **vars(args)))

    Command("prepare", _SUMMARY, _add_options, run_named, _EPILOG)(argv)


if __name__ == "__main__":
    main()
