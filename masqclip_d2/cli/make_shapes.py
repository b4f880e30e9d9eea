"""The command `datasets/make_shapes.py` (installed: `masqclip-make-shapes`): renders the Shapes world."""

from __future__ import annotations

import argparse
import logging
import os

from ..shapes.rendering import ShapesSpec, write_shapes
from .command import command

_EPILOG = """examples:
  make_shapes.py --output datasets/shapes --num-train 2000 --num-val 300 --num-captions 4000 --num-closeups 40000
  make_shapes.py --output /tmp/shapes --num-train 0 --num-val 50 --num-captions 0 --workers 1
"""


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Render the Shapes world: images, panoptic, instance and semantic labels, captions.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default_output = os.path.join(os.environ.get("DETECTRON2_DATASETS", "datasets"), "shapes")
    parser.add_argument("--output", default=default_output, help="folder to make (default: %(default)s)")
    parser.add_argument("--num-train", type=int, default=2000, help="training scenes (default: %(default)s)")
    parser.add_argument("--num-val", type=int, default=300, help="validation scenes (default: %(default)s)")
    parser.add_argument(
        "--num-captions", type=int, default=4000, help="captioned images for CLIP (default: %(default)s)"
    )
    parser.add_argument(
        "--num-closeups", type=int, default=0, help="captioned close-ups for CLIP's first steps (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="all randomness follows from it (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    parser.add_argument(
        "--exist-ok", action="store_true", help="keep a finished folder that holds all that is asked for"
    )
    return parser.parse_args(argv)


@command
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    spec = ShapesSpec(args.num_train, args.num_val, args.num_captions, args.seed, args.num_closeups)
    folder = write_shapes(args.output, spec, num_workers=args.workers, exist_ok=args.exist_ok)
    counts = f"{spec.num_train} train, {spec.num_val} val, {spec.num_captions} captioned, {spec.num_closeups} close-up"
    print(f"Shapes: {counts} images in {folder}")


if __name__ == "__main__":
    main()
