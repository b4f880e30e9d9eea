"""The verb `vocabulary`: list the shipped vocabularies, or write one as a file to edit."""

from __future__ import annotations

import argparse
from pathlib import Path

from .command import Command

_EPILOG = """examples:
  masqclip vocabulary
  masqclip vocabulary coco_panoptic/openseg my_vocabulary.yaml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="a shipped name, LIST/STYLE, or a vocabulary file")
    parser.add_argument("output", nargs="?", type=Path, help="a new .yaml, .yml or .json file; default: print")


def run(args: argparse.Namespace) -> None:
    from ..categories.lists import CATEGORY_LISTS, category_list
    from ..vocabulary import STYLES, load_vocabulary, save_vocabulary

    if args.name is None:
        for name in CATEGORY_LISTS:
            print(f"{name}/{{{','.join(STYLES)}}}: {len(category_list(name))} categories")
        return
    vocabulary = load_vocabulary(args.name)
    if args.output is None:
        for name, synonyms in zip(vocabulary.names, vocabulary.synonyms, strict=True):
            print(name if synonyms == (name,) else f"{name}: {', '.join(synonyms)}")
    elif args.output.exists():
        raise FileExistsError(f"{args.output} exists already; choose another name.")
    else:
        save_vocabulary(vocabulary, args.output)
        print(f"{args.output}: {len(vocabulary)} categories")


main = Command(
    "vocabulary",
    "List the shipped vocabularies, print one, or write one as a file to edit.",
    add_arguments,
    run,
    _EPILOG,
)

if __name__ == "__main__":
    main()
