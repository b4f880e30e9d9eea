"""The verb `demo`, which is also the script `demo/demo.py`: images and category names to visualizations and JSON."""

from __future__ import annotations

import argparse
import glob
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .command import Command, add_import_option
from .error_report import error_report

if TYPE_CHECKING:
    from ..segmentation import Segmentation

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif")
SAMPLES = Path(__file__).resolve().parent.parent / "shapes" / "samples"

_EPILOG = """examples:
  masqclip demo --vocab "striped circle,dotted star,zigzag crescent" --stuff "grass,water"
  masqclip demo --config-file shapes/maskclip_worma --input photo.jpg --vocab "cat|kitten,sofa|couch" --task instance
  masqclip demo --vocab-file shapes/maskclip
Separate categories by commas and the synonyms of a category by bars (or "cat,kitten;sofa,couch").
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    vocabulary = parser.add_mutually_exclusive_group(required=True)
    vocabulary.add_argument("--vocab", help="category names")
    vocabulary.add_argument(
        "--vocab-file", metavar="FILE_OR_NAME",
        help="a vocabulary file (.yaml, .json), or a shipped one such as coco_panoptic/openseg (docs/vocabularies.md)",
    )  # fmt: skip
    parser.add_argument(
        "--stuff", default="", help="categories that are stuff (grass, sky); those not in --vocab are added to it"
    )
    parser.add_argument("--task", choices=("panoptic", "instance", "semantic"), default="panoptic")
    parser.add_argument("--config-file", default=None, help="YAML file or shipped name; default: MasQCLIP of Shapes")
    parser.add_argument(
        "--input", nargs="+", default=None, help="image files, folders, or one quoted glob; default: the sample images"
    )
    parser.add_argument(
        "--output", default="output/demo", help="folder, or a file name for a single input; default: %(default)s"
    )
    parser.add_argument("--confidence-threshold", type=float, default=0.0, help="drop segments with a lower score")
    add_import_option(parser)
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE overrides of the config")


def run(args: argparse.Namespace) -> None:
    from ..predictor import Predictor
    from ..user_code import import_user_code
    from ..vocabulary import Vocabulary, load_vocabulary

    if args.vocab_file and args.stuff:
        raise ValueError("--stuff needs --vocab; a vocabulary file marks its stuff categories itself (isthing).")
    # A bad vocabulary is refused before a model is built.
    is_file = args.vocab_file is not None
    vocabulary = load_vocabulary(args.vocab_file) if is_file else Vocabulary.from_names(args.vocab, args.stuff)
    inputs = find_images(args.input or [str(SAMPLES)])
    import_user_code(args.imports)
    predictor = Predictor(args.config_file, opts=args.opts)

    failures = []
    for path, target in zip(inputs, target_paths(inputs, args.output), strict=True):
        try:
            result = predictor(path, vocabulary, task=args.task, confidence_threshold=args.confidence_threshold)
            write_result(result, path, target)
        except (ValueError, OSError, RuntimeError) as error:
            failures.append(path)
            print(error_report(error), end="", file=sys.stderr)
        else:
            labels = ", ".join(dict.fromkeys(segment.label for segment in result.segments)) or "no category found"
            print(f"{target}: {len(result.segments)} segments ({labels})")
    if failures:
        names = ", ".join(str(path) for path in failures)
        raise ValueError(f"{len(failures)} of {len(inputs)} images failed: {names}. The others are done.")


main = Command("demo", "Segment images by any category names.", add_arguments, run, _EPILOG)


def find_images(patterns: list[str]) -> list[Path]:
    """Expand files, folders (their images, sorted) and globs; a plain file name is kept even if it does not exist.

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
    """Output file per input: `output` itself if it has an image's suffix, else a file in that folder.

    Raises:
        ValueError: two inputs have the same name, or several inputs have one output file.
    """
    folder = Path(output).expanduser()
    if folder.suffix.lower() in IMAGE_SUFFIXES:
        if len(inputs) > 1:
            raise ValueError(f"--output {output} is one file, but there are {len(inputs)} inputs; pass a folder.")
        return [folder]
    targets = [folder / f"{path.stem}.png" for path in inputs]
    duplicates = sorted({target.name for target in targets if targets.count(target) > 1})
    if duplicates:
        raise ValueError(
            f"Several inputs would be written to {', '.join(duplicates)} in {output}; run them one at a time."
        )
    return targets


def write_result(result: Segmentation, path: Path, target: Path) -> None:
    """Write the visualization to `target`, and the segments next to it as JSON."""
    from PIL import Image

    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(result.draw()).save(target)
    content = {"image": str(path), "visualization": str(target), **result.to_dict()}
    target.with_suffix(".json").write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
