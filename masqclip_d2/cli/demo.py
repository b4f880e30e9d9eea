"""The command `demo/demo.py` (installed: `masqclip-demo`): images and words -> pictures and JSON."""

from __future__ import annotations

import argparse
import glob
import json
import sys
from pathlib import Path

from .command import command, sentence

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif")
SAMPLES = Path(__file__).resolve().parent.parent / "shapes" / "samples"

_EPILOG = """examples:
  demo.py --vocab "striped circle,dotted star,zigzag crescent" --stuff "grass,water"
  demo.py --config-file shapes/maskclip_worma --input photo.jpg --vocab "cat|kitten,sofa|couch" --task instance
  demo.py --vocab-file shapes/maskclip
Separate categories by commas, the synonyms of one by bars (or "cat,kitten;sofa,couch").
"""


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="demo.py",
        description="Segment images by any words.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    words = parser.add_mutually_exclusive_group(required=True)
    words.add_argument("--vocab", help="the words to look for")
    words.add_argument(
        "--vocab-file", metavar="FILE_OR_NAME",
        help="a vocabulary file (.yaml, .json), or a shipped one such as coco_panoptic/openseg (docs/vocabularies.md)",
    )  # fmt: skip
    parser.add_argument(
        "--stuff", default="", help="which of --vocab are stuff (grass, sky), not things; others are added"
    )
    parser.add_argument("--task", choices=("panoptic", "instance", "semantic"), default="panoptic")
    parser.add_argument("--config-file", default=None, help="YAML file or shipped name; default: MasQCLIP of Shapes")
    parser.add_argument(
        "--input", nargs="+", default=None, help="image files, folders, or one quoted glob; default: the sample images"
    )
    parser.add_argument(
        "--output", default="output/demo", help="folder, or a file name for a single input; default: %(default)s"
    )
    parser.add_argument("--confidence-threshold", type=float, default=0.0, help="leave out segments with a lower score")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE overrides of the config")
    return parser.parse_args(argv)


@command
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    from ..predictor import Predictor
    from ..vocabulary import Vocabulary, load_vocabulary

    if args.vocab_file and args.stuff:
        raise ValueError(
            "--stuff goes with --vocab; a vocabulary file says itself which categories are stuff (isthing)."
        )
    # Bad words are refused before a model is built.
    is_file = args.vocab_file is not None
    vocabulary = load_vocabulary(args.vocab_file) if is_file else Vocabulary.from_names(args.vocab, args.stuff)
    inputs = find_images(args.input or [str(SAMPLES)])
    predictor = Predictor(args.config_file, opts=args.opts)

    failures = []
    for path, target in zip(inputs, target_paths(inputs, args.output), strict=True):
        try:
            answer = predictor(path, vocabulary, task=args.task, confidence_threshold=args.confidence_threshold)
            write_answer(answer, path, target)
        except (ValueError, OSError, RuntimeError) as error:
            failures.append(path)
            print(f"error: {sentence(error)}", file=sys.stderr)
        else:
            words = ", ".join(dict.fromkeys(segment.label for segment in answer.segments)) or "none of the words"
            print(f"{target}: {len(answer.segments)} segments ({words})")
    if failures:
        names = ", ".join(str(path) for path in failures)
        raise ValueError(f"{len(failures)} of {len(inputs)} images failed: {names}. The others are done.")


def find_images(patterns: list[str]) -> list[Path]:
    """Files of the given files, folders (their images, sorted) and globs; a plain name is kept even if it is missing.

    Raises:
        FileNotFoundError: a folder or a glob has no image.
    """
    found: list[Path] = []
    for pattern in patterns:
        path = Path(pattern).expanduser()
        if path.is_dir():
            matches = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        elif glob.has_magic(pattern) and not path.exists():
            matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True)) if Path(match).is_file()]
        else:
            matches = [path]
        if not matches:
            raise FileNotFoundError(f"No images match --input {pattern!r}.")
        found += matches
    return found


def target_paths(inputs: list[Path], output: str) -> list[Path]:
    """Where each picture goes: `output` itself for one input if it is named like an image, else a file in that folder.

    Raises:
        ValueError: two inputs have the same name, or several inputs go to one file.
    """
    folder = Path(output).expanduser()
    if folder.suffix.lower() in IMAGE_SUFFIXES:
        if len(inputs) > 1:
            raise ValueError(f"--output {output} is one file, but there are {len(inputs)} inputs; give a folder.")
        return [folder]
    targets = [folder / f"{path.stem}.png" for path in inputs]
    twice = sorted({target.name for target in targets if targets.count(target) > 1})
    if twice:
        raise ValueError(f"Several inputs would be written to {', '.join(twice)} in {output}; run them one at a time.")
    return targets


def write_answer(answer, path: Path, target: Path) -> None:
    """Write the picture to `target` and the segments beside it as JSON."""
    from PIL import Image

    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(answer.draw()).save(target)
    content = {"image": str(path), "picture": str(target), **answer.to_dict()}
    target.with_suffix(".json").write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
