"""Checks whether the required packages are installed in supported versions.

Only the standard library is imported, and nothing of this package, so that the file also runs on its own where
`import masqclip_d2` fails: `python masqclip_d2/diagnostics/requirements.py`.
"""

from __future__ import annotations

import operator
import platform
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
MIN_PYTHON = "3.10"

# Distributions that install the same modules as a required one.
_ALTERNATIVES = {
    "opencv-python-headless": ("opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python"),
    "pillow": ("pillow-simd",),
}
_COMPARE = {">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne, "<": operator.lt}
_CONDITION = re.compile(r"(>=|<=|==|!=|<)\s*([^,;\s)]+)")


class PackageCheck(NamedTuple):
    """The fields of a `CheckResult`, which a file that runs on its own cannot import."""

    subject: str
    ok: bool
    message: str


def check_packages() -> list[PackageCheck]:
    """Check Python, each package of requirements.txt, and that torch and torchvision belong together."""
    checks = [_check("python", platform.python_version(), f">={MIN_PYTHON}", "use a newer Python")]
    for requirement in requirements():
        name, conditions = _split(requirement)
        installed = next(filter(None, map(_version, (name, *_ALTERNATIVES.get(name, ())))), None)
        checks.append(_check(name, installed, conditions, f"pip install '{requirement}'"))
    mismatch = _torchvision_mismatch()
    return checks if mismatch is None else [*checks, mismatch]


def requirements() -> list[str]:
    """The lines of requirements.txt without comments, such as "torch>=2.6"."""
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def satisfies(version: str, conditions: str) -> bool:
    """Whether a version, such as "2.6.0+cu124", meets conditions, such as ">=2.6,<3"."""
    return all(
        _COMPARE[symbol](*_padded(_release(version), _release(limit)))
        for symbol, limit in _CONDITION.findall(conditions)
    )


def _split(requirement: str) -> tuple[str, str]:
    """Name and conditions of a requirement."""
    match = re.fullmatch(r"([\w.-]+)(.*)", requirement)
    if match is None:
        raise ValueError(f"{REQUIREMENTS} has a line that is no requirement: {requirement!r}.")
    return match[1], match[2]


def _check(name: str, installed: str | None, conditions: str, fix: str) -> PackageCheck:
    if installed is None:
        return PackageCheck(name, False, f"not installed: {fix}")
    if not satisfies(installed, conditions):
        return PackageCheck(name, False, f"found {installed}, need {conditions}: {fix}")
    return PackageCheck(name, True, f"{installed} ({conditions})")


def _torchvision_mismatch() -> PackageCheck | None:
    """A failed check if torchvision was built for another torch than the installed one, whose ops then do not load."""
    torch, torchvision = _version("torch"), _version("torchvision")
    if torch is None or torchvision is None:
        return None
    pins = [line for line in metadata.requires("torchvision") or () if re.match(r"torch\b", line)]
    required = next((limit for line in pins for symbol, limit in _CONDITION.findall(line) if symbol == "=="), None)
    if required is None or satisfies(torch, f"=={required}"):
        return None
    return PackageCheck(
        "torchvision",
        False,
        f"{torchvision} is for torch {required}, but {torch} is installed: pip install --upgrade torch torchvision",
    )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _release(version: str) -> tuple[list[int], int]:
    """Release numbers and the number of the post-release; a local version after a plus is ignored."""
    match = re.match(r"[\d.]*", version)
    release = match.group().strip(".") if match else ""
    post = re.search(r"\.post(\d+)", version)
    return [int(part) for part in release.split(".") if part], int(post[1]) if post else 0


def _padded(left: tuple[list[int], int], right: tuple[list[int], int]) -> tuple[tuple, tuple]:
    """The same with equally many release numbers: 2.6 becomes 2.6.0."""
    length = max(len(left[0]), len(right[0]))
    padded = [(release + [0] * (length - len(release)), post) for release, post in (left, right)]
    return padded[0], padded[1]


if __name__ == "__main__":
    results = check_packages()
    for subject, ok, message in results:
        print(f"  {'ok' if ok else 'FAILED':6}  {subject}  {message}")
    sys.exit(any(not result.ok for result in results))
