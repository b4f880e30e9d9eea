"""Are the packages that we need installed, in versions that we can use?

Imports nothing but the standard library, so that tools/doctor.py can run it where `import masqclip_d2` fails.
"""

from __future__ import annotations

import operator
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
LEAST_PYTHON = "3.10"

# Packages that hold the same modules as one of ours.
_SAME_MODULES = {
    "opencv-python-headless": ("opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python"),
    "pillow": ("pillow-simd",),
}
_COMPARE = {">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne, "<": operator.lt}
_CONDITION = re.compile(r"(>=|<=|==|!=|<)\s*([^,;\s)]+)")


class PackageState(NamedTuple):
    """A package: its name, whether it will do, and one line about it, which for a fault says what mends it."""

    name: str
    right: bool
    text: str


def package_states() -> list[PackageState]:
    """Python, every package of requirements.txt, and whether torch is the one that torchvision was built for."""
    states = [_compared("python", platform.python_version(), f">={LEAST_PYTHON}", "use a newer Python")]
    for requirement in requirements():
        name, conditions = re.fullmatch(r"([\w.-]+)(.*)", requirement).groups()
        installed = next(filter(None, map(_version, (name, *_SAME_MODULES.get(name, ())))), None)
        states.append(_compared(name, installed, conditions, f"pip install '{requirement}'"))
    pair = _torchvision_pair()
    return states if pair is None else [*states, pair]


def requirements() -> list[str]:
    """The lines of requirements.txt, comments left out, such as "torch>=2.6"."""
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def satisfies(version: str, conditions: str) -> bool:
    """Whether a version, such as "2.6.0+cu124", meets conditions, such as ">=2.6,<3"."""
    return all(
        _COMPARE[symbol](*_padded(_numbers(version), _numbers(limit)))
        for symbol, limit in _CONDITION.findall(conditions)
    )


def _compared(name: str, installed: str | None, conditions: str, remedy: str) -> PackageState:
    if installed is None:
        return PackageState(name, False, f"is not installed: {remedy}")
    if not satisfies(installed, conditions):
        return PackageState(name, False, f"{installed} will not do, {conditions} is needed: {remedy}")
    return PackageState(name, True, f"{installed} ({conditions})")


def _torchvision_pair() -> PackageState | None:
    """torchvision's operators load only beside the torch that they were built for."""
    torch, torchvision = _version("torch"), _version("torchvision")
    if torch is None or torchvision is None:
        return None
    pins = [line for line in metadata.requires("torchvision") or () if re.match(r"torch\b", line)]
    wanted = next((limit for line in pins for symbol, limit in _CONDITION.findall(line) if symbol == "=="), None)
    if wanted is None or satisfies(torch, f"=={wanted}"):
        return None
    return PackageState(
        "torchvision",
        False,
        f"{torchvision} is for torch {wanted}, but {torch} is installed: pip install --upgrade torch torchvision",
    )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[list[int], int]:
    """Release numbers and the number of the post-release; what follows a plus names the build."""
    release = re.match(r"[\d.]*", version).group().strip(".")
    post = re.search(r"\.post(\d+)", version)
    return [int(part) for part in release.split(".") if part], int(post[1]) if post else 0


def _padded(left: tuple[list[int], int], right: tuple[list[int], int]) -> tuple[tuple, tuple]:
    """The same, with as many release numbers: 2.6 is 2.6.0."""
    length = max(len(left[0]), len(right[0]))
    return tuple((release + [0] * (length - len(release)), post) for release, post in (left, right))
