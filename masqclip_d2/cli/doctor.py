"""The verb `doctor`: will this installation work?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .command import Command

_EPILOG = """marks:
  ok      the check passed
  -       optional and not installed; the line describes what it is for
  FAILED  the line describes the fix; the exit code is 1
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="do not segment a sample image at the end")


def run(args: argparse.Namespace) -> None:
    from .. import __version__, register_all
    from ..diagnostics.check_result import CheckResult, print_results
    from ..diagnostics.requirements import check_packages

    print(f"masqclip_d2 {__version__} ({Path(__file__).parents[1]})")
    results = [CheckResult(*state) for state in check_packages()]
    try:
        register_all()
    except Exception as error:  # a broken binary raises anything
        results.append(CheckResult("masqclip_d2", False, f"cannot be imported: {error}"))
    else:
        from ..diagnostics.installation import check_installation

        results += check_installation(run=not args.quick)
    print_results(results)
    failed = sum(not result.ok for result in results)
    print(f"{failed} of {len(results)} checks failed." if failed else "All checks passed.")
    if failed:
        sys.exit(1)


main = Command(
    "doctor",
    "Check the installation within seconds: packages, Detectron2, devices, weights, caches, datasets.",
    add_arguments,
    run,
    _EPILOG,
    needs_registration=False,
)

if __name__ == "__main__":
    main()
