"""What a check of data or of the installation finds, and how a command shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What was looked at, whether it is right, and one line about it, which for a fault says what mends it.

    `absent`: it is not there, and need not be; the line says for what it would be needed.
    """

    what: str
    right: bool
    text: str
    absent: bool = False


def found(what: str, check: Callable[[], str]) -> Finding:
    """Run a check, which gives a line, or raises an error whose message is one."""
    try:
        return Finding(what, True, check())
    except Exception as error:  # loaders and packages of other projects raise anything
        return Finding(what, False, " ".join(str(error).split()) or type(error).__name__)


def show(findings: Iterable[Finding]) -> None:
    """Print one line for each."""
    findings = list(findings)
    width = max([len(finding.what) for finding in findings], default=0)
    for finding in findings:
        mark = "-" if finding.absent else "ok" if finding.right else "WRONG"
        print(f"  {mark:5}  {finding.what:{width}}  {finding.text}")
