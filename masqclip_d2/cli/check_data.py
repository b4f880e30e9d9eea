"""The verb `check-data`: compare datasets on disk with what an evaluation expects."""

from __future__ import annotations

import argparse
import sys

from .command import Command, add_import_option

_EPILOG = """examples:
  masqclip check-data masqclip_ade20k_panoptic_val masqclip_lvis_v1_val
  masqclip check-data 'masqclip_pascal_*_val'
  masqclip check-data --all --import my_data.py my_train my_val
The exit code is 1 if a check fails.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME", help="registered name, or a pattern with * and ?")
    parser.add_argument(
        "--all", action="store_true", help="read the files of every image; default: of some, evenly spread"
    )
    add_import_option(parser)


def run(args: argparse.Namespace) -> None:
    from ..diagnostics.check_result import print_results
    from ..diagnostics.datasets import check_dataset, matching_datasets
    from ..user_code import import_user_code

    import_user_code(args.imports)
    names = matching_datasets(args.names)
    failed = 0
    for name in names:
        results = check_dataset(name, args.all)
        print(name)
        print_results(results)
        failed += not all(result.ok for result in results)
    print(f"{len(names) - failed} of {len(names)} datasets passed all checks.")
    if failed:
        sys.exit(1)


main = Command(
    "check-data",
    "Check datasets on disk within seconds, or every file of them: counts, id maps, sizes, labels, pixels.",
    add_arguments,
    run,
    _EPILOG,
)

if __name__ == "__main__":
    main()
