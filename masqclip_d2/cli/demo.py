"""The verb `demo`, which is also the script `demo/demo.py`: images and category names to visualizations and JSON."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .command import Command, add_model_options, add_override_options, add_precision_options, load_predictor
from .segmentation_options import (
    SEPARATORS,
    add_category_options,
    add_score_options,
    count,
    number_in,
    recorded_settings,
    settings_of,
    vocabulary_of,
)

if TYPE_CHECKING:
    from ..vocabulary import Vocabulary

_OF_VIDEOS = ("batch_size", "max_frames", "frame_rate")
_BATCH_SIZE = 8  # frames
_EPILOG = f"""examples:
  masqclip demo --model photos --input photo.jpg --vocab "dog|puppy,ball" --stuff "grass,sky"
  masqclip demo --vocab "striped circle,dotted star,zigzag crescent" --stuff "grass,water"
  masqclip demo --config-file shapes/maskclip_worma --input photo.jpg --vocab "cat|kitten,sofa|couch" --task instance
  masqclip demo --vocab-file shapes/maskclip
  masqclip demo --model photos --video-input in.mp4 --output out.mp4 --vocab "dog,ball"
  masqclip demo --model photos --input photos --recursive --vocab "dog,ball" --save coco,labels --output labelled
{SEPARATORS}"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_category_options(parser)
    add_model_options(parser)
    _add_files(parser)
    add_precision_options(parser)
    add_score_options(parser)
    add_override_options(parser)


def _add_files(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--input", nargs="+", default=None, help="image files, folders, or one quoted glob; default: the sample images"
    )
    source.add_argument(
        "--video-input", default=None, metavar="VIDEO",
        help="a video file, a folder or a quoted glob of images as frames, or a camera such as camera:/dev/video0; "
        "needs PyAV (docs/video.md)",
    )  # fmt: skip
    parser.add_argument(
        "--recursive", action="store_true", help="images in subfolders too; the output has the same subfolders"
    )
    parser.add_argument(
        "--output", default="output/demo",
        help="folder, or a file name for a single input or video; default: %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--save", default=None, metavar="FORMATS",
        help="what to write, separated by commas: overlay (the visualization), labels, json, coco, coco-rle, panoptic, "
        "yolo, labelme, segments, parquet; see docs/exports.md; default: overlay,labels,json; of a video overlay and "
        "json (a line per frame), default: overlay",
    )  # fmt: skip
    parser.add_argument(
        "--resume", action="store_true",
        help="continue an interrupted run: only images without results in --output; refused if settings differ",
    )  # fmt: skip
    parser.add_argument(
        "--batch-size", type=count, default=None, metavar="N",
        help=f"frames of a video that share passes of the networks; default: {_BATCH_SIZE}",
    )  # fmt: skip
    parser.add_argument("--max-frames", type=count, default=None, metavar="N", help="end a video after N frames")
    parser.add_argument(
        "--frame-rate", type=number_in(0.01, 1000), default=None, metavar="FPS",
        help="frames per second of a folder of images, default: 25; of a camera, default: its own",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    # A bad vocabulary and wrong files are refused before a model is built.
    given = [name for name in _OF_VIDEOS if getattr(args, name) is not None]
    if given and args.video_input is None:
        raise ValueError(f"--{given[0].replace('_', '-')} is for videos; pass --video-input, or leave it out.")
    vocabulary = vocabulary_of(args)
    (_run_images if args.video_input is None else _run_video)(args, vocabulary)


def _run_images(args: argparse.Namespace, vocabulary: Vocabulary) -> None:
    from ..batch.inputs import SAMPLES
    from ..batch.plan import plan_batch
    from ..batch.run import segment_files
    from ..engine.output_lock import output_lock
    from ..results.formats import DEFAULT_FORMATS, find_formats

    formats = find_formats(args.save or DEFAULT_FORMATS)
    batch = plan_batch(args.input or [str(SAMPLES)], args.output, formats, args.recursive)
    recorded = recorded_settings(args, vocabulary, [one.name for one in formats])
    if args.resume:
        batch.require_resumable(recorded)
    folder = "" if batch.record is None else batch.record.path.parent
    # Runs of other images may write to the same folder, but not while the record of all of them is read.
    shared = not args.resume and not any(one.collect for one in formats)
    with output_lock(folder, "--output", "run", shared):
        predictor = load_predictor(args)
        batch.begin(recorded, args.resume)
        segment_files(predictor, batch, vocabulary, args.task, args.confidence_threshold, **settings_of(args))


def _run_video(args: argparse.Namespace, vocabulary: Vocabulary) -> None:
    from ..results.formats import find_formats
    from ..video.reading import open_source
    from ..video.run import output_file, segment_video

    formats = {one.name for one in find_formats(args.save or "overlay")}
    if formats - {"overlay", "json"}:
        raise ValueError(f"--save {args.save}: of a video, overlay (the video) and json (a line per frame) are saved.")
    if args.resume or args.recursive:
        raise ValueError(f"--{'resume' if args.resume else 'recursive'} is for images; a video has no such option.")
    output = output_file(args.video_input, args.output)
    with open_source(args.video_input, args.frame_rate) as source:
        segment_video(
            load_predictor(args),
            source,
            output,
            vocabulary,
            args.task,
            args.confidence_threshold,
            args.batch_size or _BATCH_SIZE,
            args.max_frames,
            "json" in formats,
            **settings_of(args),
        )


main = Command("demo", "Segment images by any category names.", add_arguments, run, _EPILOG)


if __name__ == "__main__":
    main()
