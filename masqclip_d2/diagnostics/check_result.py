"""Results of checks, and how a command prints them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class CheckResult:
    """Result of one check: subject, ok flag, one-line message with a fix if it failed.

    `warning`: nothing failed, but something may not have been meant.
    `absent`: an optional part is not installed or not on disk; the message describes what it is for.
    """

    subject: str
    ok: bool
    message: str
    absent: bool = False
    warning: bool = False


def run_check(subject: str, function: Callable[[], str]) -> CheckResult:
    """Call a check, which returns the message of a passed check or raises an error with that of a failed one."""
    try:
        return CheckResult(subject, True, function())
    except Exception as error:  # packages of other projects raise anything
        return CheckResult(subject, False, " ".join(str(error).split()) or type(error).__name__)


def print_results(results: Iterable[CheckResult]) -> None:
    """Print one line per result."""
    results = list(results)
    width = max((len(result.subject) for result in results), default=0)
    for result in results:
        passed = "note" if result.warning else "ok"
        mark = "-" if result.absent else passed if result.ok else "FAILED"
        print(f"  {mark:6}  {result.subject:{width}}  {result.message}")
