"""The command `check-data`: compare datasets on disk with what an evaluation expects."""

from __future__ import annotations

import argparse
import fnmatch
import sys

from detectron2.data import DatasetCatalog

from ..data.registration import register_aliases
from ..diagnostics.check_result import show
from ..diagnostics.datasets import check_dataset
from ..user_code import add_import_option, import_user_code
from .command import command

_EPILOG = """examples:
  python -m masqclip_d2.cli.check_data masqclip_ade20k_panoptic_val masqclip_lvis_v1_val
  python -m masqclip_d2.cli.check_data 'masqclip_pascal_*_val'
  python -m masqclip_d2.cli.check_data --import my_data.py my_train my_val
"""


@command
def main(argv: list[str] | None = None) -> None:
    """Print what is found; exit with code 1 if anything is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m masqclip_d2.cli.check_data",
        description="Check datasets on disk, within seconds: files, counts, id maps, label ranges, decoded samples.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="registered name, or a pattern with * and ?")
    add_import_option(parser)
    args = parser.parse_args(argv)
    import_user_code(args.imports)
    names = matching_names(args.names)
    wrong = 0
    for name in names:
        findings = check_dataset(name)
        print(name)
        show(findings)
        wrong += not all(finding.right for finding in findings)
    print(f"{len(names) - wrong} of {len(names)} datasets are right.")
    if wrong:
        sys.exit(1)


def matching_names(patterns: list[str]) -> list[str]:
    """Registered names that patterns match, each once; customary names stand for our datasets where they are free.

    Raises:
        ValueError: a pattern matches none.
    """
    register_aliases(patterns)
    names: dict[str, None] = {}
    for pattern in patterns:
        matched = sorted(fnmatch.filter(DatasetCatalog.list(), pattern))
        if not matched:
            known = ", ".join(name for name in sorted(DatasetCatalog.list()) if name.startswith("masqclip_"))
            raise ValueError(
                f"No dataset is called {pattern!r}; ours are: {known}. Your own are known after --import FILE."
            )
        names.update(dict.fromkeys(matched))
    return list(names)


if __name__ == "__main__":
    main()
