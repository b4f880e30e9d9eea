"""The commands `datasets/prepare_<name>.py` (installed: `masqclip-prepare NAME`): prepare a published dataset."""

from __future__ import annotations

import argparse
import os

from ..data.preparation import PREPARATIONS, kinds_of, prepare
from ..data.registration import datasets_root
from .command import command

_DESCRIPTION = """Write what a published dataset lacks: label maps, annotation files, images by split.
What is finished is left as it is, what was broken off is taken up, what was not made by this command is never
overwritten. datasets/README.md says what to download and where to unpack it."""


def parse_args(argv: list[str] | None, name: str | None) -> argparse.Namespace:
    """`name`: the preparation where a script fixes it; None: the first argument."""
    parser = argparse.ArgumentParser(description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    if name is None:
        parser.add_argument("name", choices=list(PREPARATIONS), metavar="NAME", help=", ".join(PREPARATIONS))
    kinds = kinds_of(name) if name else sorted({kind for known in PREPARATIONS for kind in kinds_of(known)})
    default_root = datasets_root()
    parser.add_argument("--root", default=default_root, help="folder of all datasets (default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="KIND", help=f"some of: {', '.join(kinds)} (default: all)")
    parser.add_argument(
        "--splits", nargs="+", choices=["train", "val"], default=["train", "val"], help="default: train val"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    args = parser.parse_args(argv)
    return argparse.Namespace(**{"name": name, **vars(args)})


@command
def main(argv: list[str] | None = None, name: str | None = None) -> None:
    args = parse_args(argv, name)
    for line in prepare(args.name, args.root, kinds=args.only, splits=args.splits, num_workers=args.workers):
        print(line)


if __name__ == "__main__":
    main()
