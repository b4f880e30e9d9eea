"""Open-vocabulary segmentation with MaskCLIP and MasQCLIP, as a Detectron2 plugin.

Importing this package selects the Detectron2 behind `import detectron2` and registers backbones, heads,
meta-architectures and datasets with it. Only the command `masqclip` and the scripts of a checkout register later, after
they have parsed their arguments.
"""

from __future__ import annotations

import importlib
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._compat import detectron2_backend, install

if TYPE_CHECKING:
    from . import meta_arch, proposer, shapes
    from .config import add_masqclip_config, load_config
    from .data import registration
    from .data.registration import register_instances, register_panoptic, register_semantic
    from .predictor import Predictor
    from .results import Segment, Segmentation
    from .structures import MaskProposals
    from .vocabulary import Vocabulary, load_vocabulary, save_vocabulary

__version__ = "0.2.0"

__all__ = [
    "MaskProposals",
    "Predictor",
    "Segment",
    "Segmentation",
    "Vocabulary",
    "add_masqclip_config",
    "detectron2_backend",
    "load_config",
    "load_vocabulary",
    "meta_arch",
    "proposer",
    "register_all",
    "register_instances",
    "register_panoptic",
    "register_semantic",
    "registration",
    "save_vocabulary",
    "shapes",
]

# Public name -> the module that defines it.
_MODULES = {
    "MaskProposals": "structures",
    "Predictor": "predictor",
    "Segment": "results",
    "Segmentation": "results",
    "Vocabulary": "vocabulary",
    "add_masqclip_config": "config",
    "load_config": "config",
    "load_vocabulary": "vocabulary",
    "register_instances": "data.registration",
    "register_panoptic": "data.registration",
    "register_semantic": "data.registration",
    "registration": "data",
    "save_vocabulary": "vocabulary",
}


def register_all() -> None:
    """Select the Detectron2 to use and register everything of this package with it; later calls do nothing.

    Raises:
        ImportError, ValueError: see `_compat.install`.
    """
    install()
    for module in ("meta_arch", "proposer", "shapes", "data.registration"):
        importlib.import_module(f".{module}", __name__)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    register_all()
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)


def _is_command_line() -> bool:
    """Whether this process was started as `masqclip ...`, `python -m masqclip_d2 ...` or a script of the checkout."""
    if sys.argv[:1] == ["-m"]:  # Python is still searching for the module to run, which sys.argv does not name yet
        return ("-m", __name__) in pairwise(sys.orig_argv)
    program = Path(sys.argv[0] if sys.argv else "")
    return program.name in ("masqclip", "masqclip.exe") or _is_own_script(program.resolve())


def _is_own_script(program: Path) -> bool:
    root = Path(__file__).resolve().parent.parent
    prepares = program.parent == root / "datasets" and program.name.startswith(("prepare_", "make_"))
    return prepares or program in (root / "train_net.py", root / "demo" / "demo.py")


if not _is_command_line():
    register_all()
