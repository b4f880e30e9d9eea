"""Options of commands that segment images: categories, task, and which segments are kept."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..vocabulary import Vocabulary

SEPARATORS = """\
Separate categories by commas and the synonyms of a category by bars (or "cat,kitten;sofa,couch", "cat . sofa .", or a
category per line).
"""
"""End of the help texts of these commands."""

# Options that results depend on, beside vocabulary and formats.
_RECORDED = (
    "task", "model", "config_file", "weights", "opts", "dtype", "confidence_threshold", "unknown_threshold",
    "no_background_prompts",
)  # fmt: skip


def add_category_options(parser: argparse.ArgumentParser) -> None:
    """Add --vocab or --vocab-file, --stuff and --task."""
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


def add_score_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that decide which segments are kept."""
    parser.add_argument(
        "--confidence-threshold", type=number_in(0, 1), default=None, metavar="SCORE",
        help="drop segments with a lower score; default: none, but instances below 0.3 are not drawn",
    )  # fmt: skip
    parser.add_argument(
        "--no-background-prompts", action="store_true",
        help="let no other names than those given compete; the models for photographs use those of COCO and LVIS",
    )  # fmt: skip
    parser.add_argument(
        "--unknown-threshold", type=number_in(0, 1), default=None, metavar="SHARE",
        help="label a mask or pixel if its category has at least this share of the probability of category and best "
        "background prompt; default: 0.5, the more probable wins; 0: nothing is left without a label",
    )  # fmt: skip


def count(text: str) -> int:
    """A number from 1 on, of the command line."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def number_in(lowest: float, highest: float) -> Callable[[str], float]:
    """The type of an option: a number in [lowest, highest]."""

    def number(text: str) -> float:
        value = float(text)
        if not lowest <= value <= highest:  # NaN too
            raise argparse.ArgumentTypeError(f"{text} is not in [{lowest:g}, {highest:g}]")
        return value

    return number


def vocabulary_of(args: argparse.Namespace) -> Vocabulary:
    """The categories of the options."""
    from pathlib import Path

    from ..vocabulary import Vocabulary, as_vocabulary, load_vocabulary

    if args.vocab_file is None:
        return Vocabulary.from_names(args.vocab, args.stuff)
    if not args.stuff:
        return load_vocabulary(args.vocab_file)
    if not args.vocab_file.endswith(".txt"):
        raise ValueError("--stuff needs --vocab or a word list (.txt); other files mark their stuff (isthing).")
    return as_vocabulary(Path(args.vocab_file), args.stuff)


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """Further arguments of `Predictor.predict`, beside task and confidence threshold."""
    settings: dict[str, Any] = {"unknown_threshold": args.unknown_threshold}
    if args.no_background_prompts:
        settings["background_prompts"] = ()
    return settings


def recorded_settings(args: argparse.Namespace, vocabulary: Vocabulary, formats: list[str]) -> dict[str, Any]:
    """What the results of a run depend on, as plain data: a run of other settings does not continue it."""
    options = {name: getattr(args, name) for name in _RECORDED}
    return {"vocabulary": vocabulary.to_dict(), "formats": formats, **options}
