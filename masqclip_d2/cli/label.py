"""The verb `label`: many images on several processes or machines, in shards, on Ray Data."""

from __future__ import annotations

import argparse
import functools
import os
from typing import TYPE_CHECKING

from .command import Command, add_model_options, add_override_options, add_precision_options, load_predictor
from .segmentation_options import (
    SEPARATORS,
    add_category_options,
    add_score_options,
    count,
    recorded_settings,
    settings_of,
    vocabulary_of,
)

if TYPE_CHECKING:
    from ..predictor import Predictor

_EPILOG = f"""examples:
  masqclip label --model photos --input photos --recursive --vocab "dog,ball" --output labelled --workers 4
  masqclip label --model photos --input list.txt --vocab-file coco_panoptic/openseg --output labelled --save coco,labels
  RAY_ADDRESS=auto masqclip label --model photos --input s3://bucket/photos --vocab "dog,ball" --output /shared/labelled
The same command continues an interrupted run. Needs pip install 'masqclip_d2[scale]'; docs/labelling.md
{SEPARATORS}"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input", nargs="+", required=True,
        help="images, folders, quoted globs, lists of paths (.txt), tables of paths (.parquet), or s3:// URLs of "
        "images and folders",
    )  # fmt: skip
    parser.add_argument("--recursive", action="store_true", help="images in subfolders too")
    parser.add_argument("--output", required=True, help="folder, which all machines see; a subfolder for each shard")
    parser.add_argument(
        "--save", default="parquet", metavar="FORMATS",
        help="what to write into each shard, separated by commas: parquet, coco, coco-rle, labels (label maps as PNG), "
        "panoptic, json, ...; see docs/exports.md; default: %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=count, default=None, metavar="N",
        help="processes with a model each; GPUs are shared among them; default: one per GPU, or a single one",
    )  # fmt: skip
    parser.add_argument(
        "--batch-size", type=count, default=8, metavar="N",
        help="images that share passes of the networks; default: %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--shard-size", type=count, default=None, metavar="N",
        help="images per shard; default: 500, or fewer if there are few images",
    )  # fmt: skip
    add_category_options(parser)
    add_model_options(parser)
    add_precision_options(parser)
    add_score_options(parser)
    add_override_options(parser)


def run(args: argparse.Namespace) -> None:
    from ..files import expand_home
    from ..labelling.run import label_images
    from ..labelling.sources import find_sources, is_url
    from ..labelling.worker import Job
    from ..optional_packages import require_packages
    from ..results.formats import find_formats

    require_packages("masqclip label", "scale", "ray", "pyarrow")
    vocabulary = vocabulary_of(args)
    formats = [one.name for one in find_formats(args.save)]
    if is_url(args.output):
        raise ValueError(f"--output {args.output} is a URL; pass a folder, and copy it when the run is finished.")
    output = expand_home(args.output).absolute()
    job = Job(
        output=output,
        vocabulary=vocabulary,
        formats=tuple(formats),
        task=args.task,
        batch_size=args.batch_size,
        confidence_threshold=args.confidence_threshold,
        settings=settings_of(args),
    )
    images = find_sources(args.input, args.recursive, output)
    recorded = recorded_settings(args, vocabulary, formats)
    load = functools.partial(_load_predictor, _with_absolute_paths(args))
    label_images(load, job, images, recorded, args.workers, args.shard_size)


def _with_absolute_paths(args: argparse.Namespace) -> argparse.Namespace:
    """Workers may have another working directory."""

    def absolute(name: str | None) -> str | None:
        return os.path.abspath(name) if name and os.path.exists(name) else name

    changed = {name: absolute(getattr(args, name)) for name in ("model", "config_file", "weights")}
    return argparse.Namespace(**{**vars(args), **changed, "imports": [absolute(name) for name in args.imports]})


def _load_predictor(args: argparse.Namespace) -> Predictor:
    """In a worker, which has registered nothing yet."""
    from .. import register_all

    register_all()
    return load_predictor(args)


main = Command("label", "Label many images on several processes or machines.", add_arguments, run, _EPILOG)
