"""The command `vocabulary`: list the shipped vocabularies, or write one as a file to edit."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..categories.lists import CATEGORY_LISTS, category_list
from ..vocabulary import STYLES, load_vocabulary, save_vocabulary
from .command import command

_EPILOG = """examples:
  python -m masqclip_d2.cli.vocabulary
  python -m masqclip_d2.cli.vocabulary coco_panoptic/openseg my_words.yaml
"""


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m masqclip_d2.cli.vocabulary",
        description="List the shipped vocabularies, or write one (or a file) as a file to edit.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", help="a shipped name, LIST/FORM, or a vocabulary file")
    parser.add_argument("output", nargs="?", type=Path, help="a new .yaml, .yml or .json")
    args = parser.parse_args(argv)
    if args.name is None:
        for name in CATEGORY_LISTS:
            print(f"{name}/{{{','.join(STYLES)}}}: {len(category_list(name))} categories")
        return
    vocabulary = load_vocabulary(args.name)
    if args.output is None:
        for name, words in zip(vocabulary.names, vocabulary.synonyms, strict=True):
            print(name if words == (name,) else f"{name}: {', '.join(words)}")
    elif args.output.exists():
        raise FileExistsError(f"{args.output} exists already; give another name.")
    else:
        save_vocabulary(vocabulary, args.output)
        print(f"{args.output}: {len(vocabulary)} categories")


if __name__ == "__main__":
    main()
