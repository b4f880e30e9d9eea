"""The verb `demo`, which is also the script `demo/demo.py`: images and category names to visualizations and JSON."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from .command import Command, add_import_option, add_model_options, add_precision_options, load_predictor

if TYPE_CHECKING:
    from ..vocabulary import Vocabulary

# Options that results depend on, beside vocabulary and formats: --resume refuses others.
_RECORDED = (
    "task", "model", "config_file", "weights", "opts", "dtype", "confidence_threshold", "unknown_threshold",
    "no_background_prompts",
)  # fmt: skip
_OF_VIDEOS = ("batch_size", "max_frames", "frame_rate")
_BATCH_SIZE = 8  # frames
_EPILOG = """examples:
  masqclip demo --model photos --input photo.jpg --vocab "dog|puppy,ball" --stuff "grass,sky"
  masqclip demo --vocab "striped circle,dotted star,zigzag crescent" --stuff "grass,water"
  masqclip demo --config-file shapes/maskclip_worma --input photo.jpg --vocab "cat|kitten,sofa|couch" --task instance
  masqclip demo --vocab-file shapes/maskclip
  masqclip demo --model photos --video-input in.mp4 --output out.mp4 --vocab "dog,ball"
  masqclip demo --model photos --input photos --recursive --vocab "dog,ball" --save coco,labels --output labelled
Separate categories by commas and the synonyms of a category by bars (or "cat,kitten;sofa,couch", "cat . sofa .", or a
category per line).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    vocabulary = parser.add_mutually_exclusive_group(required=True)
    vocabulary.add_argument("--vocab", help="category names")
    vocabulary.add_argument(
        "--vocab-file", metavar="FILE_OR_NAME",
        help="a vocabulary file (.yaml, .json), a word list (.txt, one category per line), or a shipped vocabulary "
        "such as coco_panoptic/openseg (docs/vocabularies.md)",
    )  # fmt: skip
    parser.add_argument(
        "--stuff", default="", help="categories that are stuff (grass, sky); those not in --vocab are added to it"
    )
    parser.add_argument("--task", choices=("panoptic", "instance", "semantic"), default="panoptic")
    add_model_options(parser)
    _add_files(parser)
    add_precision_options(parser)
    parser.add_argument(
        "--confidence-threshold", type=_share, default=None, metavar="SCORE",
        help="drop segments with a lower score; default: none, but instances below 0.3 are not drawn",
    )  # fmt: skip
    parser.add_argument(
        "--no-background-prompts", action="store_true",
        help="let no other names than those given compete; the models for photographs use those of COCO and LVIS",
    )  # fmt: skip
    parser.add_argument(
        "--unknown-threshold", type=_share, default=None, metavar="SHARE",
        help="label a mask or pixel if its category has at least this share of the probability of category and best "
        "background prompt; default: 0.5, the more probable wins; 0: nothing is left without a label",
    )  # fmt: skip
    add_import_option(parser)
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE overrides of the config")


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
        "yolo, labelme, segments; see docs/exports.md; default: overlay,labels,json; of a video overlay and json "
        "(a line per frame), default: overlay",
    )  # fmt: skip
    parser.add_argument(
        "--resume", action="store_true",
        help="continue an interrupted run: only images without results in --output; refused if settings differ",
    )  # fmt: skip
    parser.add_argument(
        "--batch-size", type=_count, default=None, metavar="N",
        help=f"frames of a video that share passes of the networks; default: {_BATCH_SIZE}",
    )  # fmt: skip
    parser.add_argument("--max-frames", type=_count, default=None, metavar="N", help="end a video after N frames")
    parser.add_argument(
        "--frame-rate", type=_rate, default=None, metavar="FPS",
        help="frames per second of a folder of images, default: 25; of a camera, default: its own",
    )  # fmt: skip


def _count(text: str) -> int:
    """A number from 1 on, of the command line."""
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return count


def _rate(text: str) -> float:
    """Frames per second, of the command line."""
    rate = float(text)
    if not 0.01 <= rate <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is not in [0.01, 1000]")
    return rate


def _share(text: str) -> float:
    """A number in [0, 1] of the command line."""
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not in [0, 1]")
    return share


def run(args: argparse.Namespace) -> None:
    # A bad vocabulary and wrong files are refused before a model is built.
    given = [name for name in _OF_VIDEOS if getattr(args, name) is not None]
    if given and args.video_input is None:
        raise ValueError(f"--{given[0].replace('_', '-')} is for videos; pass --video-input, or leave it out.")
    vocabulary = _vocabulary(args)
    (_run_images if args.video_input is None else _run_video)(args, vocabulary)


def _run_images(args: argparse.Namespace, vocabulary: Vocabulary) -> None:
    from ..batch.inputs import SAMPLES
    from ..batch.plan import plan_batch
    from ..batch.run import segment_files
    from ..engine.output_lock import output_lock
    from ..results.formats import DEFAULT_FORMATS, find_formats

    formats = find_formats(args.save or DEFAULT_FORMATS)
    batch = plan_batch(args.input or [str(SAMPLES)], args.output, formats, args.recursive)
    recorded = {
        "vocabulary": vocabulary.to_dict(),
        "formats": [one.name for one in formats],
        **{name: getattr(args, name) for name in _RECORDED},
    }
    if args.resume:
        batch.require_resumable(recorded)
    folder = "" if batch.record is None else batch.record.path.parent
    # Runs of other images may write to the same folder, but not while the record of all of them is read.
    shared = not args.resume and not any(one.collect for one in formats)
    with output_lock(folder, "--output", "run", shared):
        predictor = load_predictor(args)
        batch.begin(recorded, args.resume)
        segment_files(predictor, batch, vocabulary, args.task, args.confidence_threshold, **_settings(args))


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
            **_settings(args),
        )


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    settings = {"unknown_threshold": args.unknown_threshold}
    if args.no_background_prompts:
        settings["background_prompts"] = ()
    return settings


def _vocabulary(args: argparse.Namespace) -> Vocabulary:
    from pathlib import Path

    from ..vocabulary import Vocabulary, as_vocabulary, load_vocabulary

    if args.vocab_file is None:
        return Vocabulary.from_names(args.vocab, args.stuff)
    if not args.stuff:
        return load_vocabulary(args.vocab_file)
    if not args.vocab_file.endswith(".txt"):
        raise ValueError("--stuff needs --vocab or a word list (.txt); other files mark their stuff (isthing).")
    return as_vocabulary(Path(args.vocab_file), args.stuff)


main = Command("demo", "Segment images by any category names.", add_arguments, run, _EPILOG)


if __name__ == "__main__":
    main()
