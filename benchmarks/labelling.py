#!/usr/bin/env python
"""Images per hour of one CPU core of a worker of `masqclip label`: reading, networks, fusion and writing, without Ray.

    python benchmarks/labelling.py                      # the included model of Shapes, 40 rendered scenes
    python benchmarks/labelling.py --model photos --input photos

CPU seconds of one thread, after a warm-up with the first images, so that starting and loading the model is not counted.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="shapes")
    parser.add_argument("--vocab-file", default="shapes/maskclip")
    parser.add_argument("--input", nargs="+", default=None, help="images; default: scenes that are rendered first")
    parser.add_argument("--images", type=int, default=40, help="how many scenes are rendered")
    parser.add_argument("--save", default="coco-rle", help="formats, see docs/exports.md")
    parser.add_argument("--batch-size", type=int, default=8)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        measure(args, Path(folder))


def measure(args: argparse.Namespace, folder: Path) -> None:
    """Print CPU seconds and images per hour."""
    import torch

    from masqclip_d2 import Predictor
    from masqclip_d2.labelling.shards import Shard
    from masqclip_d2.labelling.sources import find_sources
    from masqclip_d2.labelling.worker import Job, Worker
    from masqclip_d2.shapes.rendering import ShapesSpec, write_shapes
    from masqclip_d2.vocabulary import load_vocabulary

    torch.set_num_threads(1)
    if args.input is None:
        scenes = write_shapes(folder / "shapes", ShapesSpec(0, args.images, 0, seed=0), progress=False)
        args.input = [str(scenes / "val")]
    images = find_sources(args.input, True, folder / "out")
    formats = tuple(args.save.split(","))
    job = Job(folder / "out", load_vocabulary(args.vocab_file), formats, batch_size=args.batch_size)
    worker = Worker(lambda: Predictor.from_pretrained(args.model, device="cpu"), job)
    worker.label(Shard(tuple(images[: args.batch_size])))
    start, cpu_start = time.monotonic(), time.process_time()
    summary = worker.label(Shard(tuple(reversed(images))))  # another shard than the one before
    seconds, wall = time.process_time() - cpu_start, time.monotonic() - start
    count = len(summary.done)
    print(f"{count} images, {args.model}, batches of {args.batch_size}, {args.save}; {len(summary.failed)} failed")
    print(f"CPU seconds per image: {seconds / count:.3f} (by the clock {wall / count:.3f})")
    print(f"images per hour of one core: {3600 * count / seconds:.0f}")
    print(f"hours of one core per million images: {seconds / count * 1e6 / 3600:.0f}")


if __name__ == "__main__":
    main()
