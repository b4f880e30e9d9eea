"""Packages that only some features need; the extras of pyproject.toml name them."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any


def require_packages(feature: str, extra: str, *packages: str) -> None:
    """Check that optional packages are installed, without importing them.

    Args:
        feature: what needs them, the beginning of the message ("EoMT", "to_supervision()").
        extra: the extra of this distribution that installs them.
        packages: names as in `import`.

    Raises:
        ImportError: some are missing; the message has the command that installs them.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        noun = "package" if len(missing) == 1 else "packages"
        raise ImportError(
            f"{feature} needs the {noun} {', '.join(missing)}: pip install 'masqclip_d2[{extra}]'.", name=missing[0]
        )


def optional_package(name: str) -> Any:
    """Import an optional package; type checkers need not find it."""
    return importlib.import_module(name)
