"""The verb `make-shapes`, which is also the script `datasets/make_shapes.py`."""

from __future__ import annotations

import argparse
import os

from .command import Command

_DEFAULT_SCALE = 2  # that of shapes.rendering, which --help does not import

_EPILOG = """examples:
  masqclip make-shapes --output datasets/shapes --num-train 2000 --num-val 300 --num-captions 4000
  masqclip make-shapes --output /tmp/shapes --num-train 0 --num-val 50 --num-captions 0 --workers 1
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    default_output = os.path.join(os.environ.get("DETECTRON2_DATASETS", "datasets"), "shapes")
    parser.add_argument("--output", default=default_output, help="folder to create; default: %(default)s")
    parser.add_argument("--num-train", type=int, default=2000, help="training scenes; default: %(default)s")
    parser.add_argument("--num-val", type=int, default=300, help="validation scenes; default: %(default)s")
    parser.add_argument(
        "--num-captions", type=int, default=4000, help="captioned images for CLIP; default: %(default)s"
    )
    parser.add_argument(
        "--num-closeups", type=int, default=0, help="captioned close-ups for CLIP; default: %(default)s"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all randomness; default: %(default)s")
    parser.add_argument(
        "--scale",
        type=int,
        default=_DEFAULT_SCALE,
        help="pixels per unit; scenes have 128 to 176 units a side; default: %(default)s",
    )
    parser.add_argument("--easy", action="store_true", help="the easy world of configs/shapes/quick")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes; default: all cores")
    parser.add_argument("--exist-ok", action="store_true", help="keep a finished folder that has all of this already")


def run(args: argparse.Namespace) -> None:
    import logging

    from ..shapes.rendering import ShapesSpec, write_shapes

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    numbers = (args.num_train, args.num_val, args.num_captions, args.seed, args.num_closeups, args.scale)
    spec = ShapesSpec(*numbers, easy=args.easy)
    folder = write_shapes(args.output, spec, num_workers=args.workers, exist_ok=args.exist_ok)
    counts = f"{spec.num_train} train, {spec.num_val} val, {spec.num_captions} captioned, {spec.num_closeups} close-up"
    print(f"Shapes: {counts} images in {folder}")


main = Command(
    "make-shapes",
    "Render the Shapes world: images, panoptic, instance and semantic labels, captions.",
    add_arguments,
    run,
    _EPILOG,
)

if __name__ == "__main__":
    main()
