#!/usr/bin/env python
"""Frames per CPU second of a video, against its frames as single images.

    python benchmarks/video.py                          # the included model of Shapes, 24 frames of 480 x 640 pixels
    python benchmarks/video.py --model photos --frames 8

Frames are a sample image that moves. Rows: a call of the predictor for each frame, and in batches; then all that the
demo does, from files to drawn files: `--input FOLDER --save overlay` for frames as PNG files, and `--video-input`. The
least CPU seconds of several rounds that alternate, after a warm-up; one thread by default.
"""

import argparse
import contextlib
import io
import os
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="shapes")
    parser.add_argument("--vocab-file", default="shapes/maskclip")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", default="1")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = args.threads
    with tempfile.TemporaryDirectory() as folder:
        measure(args, Path(folder))


def measure(args, folder: Path) -> None:
    """Print frames per CPU second of each way."""
    from benchmarks.measuring import least_cpu_seconds
    from masqclip_d2 import Predictor
    from masqclip_d2.video.run import segment_video
    from masqclip_d2.vocabulary import load_vocabulary

    predictor, vocabulary = Predictor.from_pretrained(args.model), load_vocabulary(args.vocab_file)
    frames = write_frames(args, folder)

    def as_images():
        from masqclip_d2.batch.plan import plan_batch
        from masqclip_d2.batch.run import segment_files
        from masqclip_d2.results.formats import find_formats

        batch = plan_batch([str(folder / "frames")], str(folder / "out"), find_formats("overlay"))
        batch.begin({})
        segment_files(predictor, batch, vocabulary)

    def as_video():
        from masqclip_d2.video.reading import open_source

        with open_source(str(folder / "in.mp4")) as source:
            segment_video(predictor, source, folder / "out.mp4", vocabulary, batch_size=args.batch_size)

    rows = {
        "predictor, one by one": lambda: [predictor(frame, vocabulary) for frame in frames],
        "predictor, batches": lambda: predictor.batch(frames, vocabulary, batch_size=args.batch_size),
        "demo, images": as_images,
        "demo, video": as_video,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        seconds = least_cpu_seconds(rows, args.rounds)
    print(f"{args.frames} frames of {args.height} x {args.width} pixels, {args.model}, batches of {args.batch_size}:")
    for name, took in seconds.items():
        print(f"{name}: {args.frames / took:.2f} frames per second")
    print(f"video against images: {seconds['demo, images'] / seconds['demo, video']:.2f} times as fast")


def write_frames(args, folder: Path) -> list:
    """Frames as arrays; also as PNG files and as a video."""
    import numpy as np
    from PIL import Image

    from masqclip_d2.batch.inputs import SAMPLES
    from masqclip_d2.video.writing import VideoWriter

    image_hw = args.height, args.width
    sample = Image.open(sorted(SAMPLES.glob("*.png"))[0]).convert("RGB")
    sample = np.asarray(sample.resize((args.width + args.frames, args.height)))
    frames = [np.ascontiguousarray(sample[:, left : left + args.width]) for left in range(args.frames)]
    (folder / "frames").mkdir()
    with VideoWriter(folder / "in.mp4", image_hw, Fraction(25), Fraction(1, 25)) as writer:
        for index, frame in enumerate(frames):
            writer.write(frame, Fraction(index, 25))
            Image.fromarray(frame).save(folder / "frames" / f"{index:04}.png")
    return frames


if __name__ == "__main__":
    main()
