"""The command `python -m masqclip_d2.cli.doctor` (installed: `masqclip-doctor`): will this installation work?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..diagnostics.check_result import Finding, show
from ..diagnostics.requirements import package_states
from .command import command

_EPILOG = """marks:
  ok      right
  -       not there; the line says for what it would be needed
  WRONG   the line says what mends it, and the exit code is 1
Where even `import masqclip_d2` fails, `python tools/doctor.py` in a checkout looks at the packages alone.
"""


@command
def main(argv: list[str] | None = None) -> None:
    """Print what is found; exit with code 1 if anything is wrong."""
    from .. import __version__
    from ..diagnostics.installation import installation_findings

    parser = argparse.ArgumentParser(
        prog="python -m masqclip_d2.cli.doctor",
        description="Look at the installation, within seconds: packages, Detectron2, devices, weights, caches, data.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="do not segment a sample image at the end")
    args = parser.parse_args(argv)
    print(f"masqclip_d2 {__version__} ({Path(__file__).parent})")
    findings = [Finding(*state) for state in package_states()]
    findings += installation_findings(run=not args.quick)
    show(findings)
    wrong = sum(not finding.right for finding in findings)
    print("All is right." if not wrong else f"{wrong} of {len(findings)} are wrong.")
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    main()
