"""Choice of the Detectron2 that `import detectron2` imports: the real one, or the subset in this package.

The choice is made once, when `masqclip_d2` is imported. A real Detectron2 is used if it can be imported; otherwise
`masqclip_d2/_bundled` is appended to `sys.path`, which spawned processes and data loader workers inherit. The
environment variable MASQCLIP_D2 = auto | real | bundled overrides this.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path

_BUNDLED_DIR = Path(__file__).resolve().parent / "_bundled"
_CHOICES = ("auto", "real", "bundled")
_backend: Detectron2Backend | None = None


@dataclass(frozen=True)
class Detectron2Backend:
    """The Detectron2 in use: kind is "real" or "bundled", path the folder of the package."""

    kind: str
    version: str
    path: str

    def __str__(self) -> str:
        return f"{self.kind} detectron2 {self.version} ({self.path})"


def install() -> None:
    """Make `import detectron2` work; see the module docstring. Later calls have no effect.

    Raises:
        ValueError: MASQCLIP_D2 is none of auto, real, bundled.
        ImportError: MASQCLIP_D2=real without a real Detectron2, or MASQCLIP_D2=bundled and a real one is
            already imported.
    """
    choice = os.environ.get("MASQCLIP_D2", "auto")
    if choice not in _CHOICES:
        raise ValueError(f"MASQCLIP_D2 is {choice!r}; expected one of {', '.join(_CHOICES)}.")
    if "detectron2" in sys.modules:
        if choice == "bundled" and not _is_bundled(sys.modules["detectron2"].__file__):
            raise ImportError(
                "MASQCLIP_D2=bundled, but a real detectron2 is already imported. Import masqclip_d2 before detectron2."
            )
        return
    if choice == "auto" and str(_BUNDLED_DIR) in sys.path:
        return  # chosen by an earlier call or by the parent process
    if choice == "bundled":
        sys.path[:] = [str(_BUNDLED_DIR), *(entry for entry in sys.path if entry != str(_BUNDLED_DIR))]
    elif _real_detectron2_exists():
        return
    elif choice == "real":
        raise ImportError(
            "MASQCLIP_D2=real, but no detectron2 can be imported. Clone facebookresearch/detectron2 and put the "
            "checkout on PYTHONPATH (no compiling needed), or unset MASQCLIP_D2 to use the bundled subset."
        )
    else:
        sys.path.append(str(_BUNDLED_DIR))


def detectron2_backend() -> Detectron2Backend:
    """Return the Detectron2 in use; the first call imports and logs it."""
    global _backend
    if _backend is None:
        import detectron2

        kind = "bundled" if _is_bundled(detectron2.__file__) else "real"
        _backend = Detectron2Backend(kind, detectron2.__version__, str(Path(detectron2.__file__).parent))
        logging.getLogger(__name__).info("Using %s.", _backend)
    return _backend


def _real_detectron2_exists() -> bool:
    # A folder named detectron2 without __init__.py (such as the root of a clone) is a namespace package, whose spec has
    # no origin.
    try:
        spec = importlib.util.find_spec("detectron2")
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None and not _is_bundled(spec.origin)


def _is_bundled(origin: str | None) -> bool:
    return origin is not None and _BUNDLED_DIR in Path(origin).resolve().parents
