"""Comparisons with outputs of the published implementations, one module per kind of golden set.

Each module of this folder defines
    WHAT: tuple[str, ...]        prefixes of `meta["what"]` of the sets it checks
    check(arrays, meta)          yields a `GoldenRow` for each output of the set
Sizes and hyperparameters come from `meta` and the arrays, so any set of the same kind can be checked.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class GoldenRow:
    """One compared output; passes if `error` is at most `tolerance` (0: exact)."""

    output: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return bool(self.error <= self.tolerance)  # False for NaN


def max_abs_error(actual, expected) -> float:
    """Largest absolute difference; infinity if the shapes differ. Booleans and integers are compared as floats."""
    actual, expected = (np.asarray(_to_numpy(a), dtype=np.float64) for a in (actual, expected))
    if actual.shape != expected.shape:
        return float("inf")
    if actual.size == 0:
        return 0.0
    return float(np.abs(actual - expected).max())


def differing_fraction(actual, expected) -> float:
    """Fraction of unequal entries, for label maps and binary masks; infinity if the shapes differ."""
    actual, expected = np.asarray(_to_numpy(actual)), np.asarray(_to_numpy(expected))
    if actual.shape != expected.shape:
        return float("inf")
    return float((actual != expected).mean()) if actual.size else 0.0


def visual_tower(meta):
    """CLIP's vision tower of the sizes in `meta`, frozen."""
    from masqclip_d2.clip import ClipVisionTransformer

    return ClipVisionTransformer(
        input_resolution=meta["input_resolution"],
        patch_size=meta["patch_size"],
        width=meta["width"],
        layers=meta["layers"],
        heads=meta["heads"],
        output_dim=meta["output_dim"],
        activation="quick_gelu" if meta["quick_gelu"] else "gelu",
    ).requires_grad_(False)


def gradient_rows(module, expected, tolerance: float) -> Iterator[GoldenRow]:
    """Gradients of a module's parameters against {name: array}; errors relative to each gradient's largest entry."""
    for name, array in expected.items():
        error = max_abs_error(module.get_parameter(name).grad, array)
        yield GoldenRow(f"grad/{name}", error / (float(abs(array).max()) or 1.0), tolerance)


def check_npz(path: str | Path) -> Iterator[GoldenRow]:
    """Compare one golden .npz with this package, by the module for its `meta["what"]`."""
    with np.load(path, allow_pickle=False) as archive:
        if "meta" not in archive:
            raise ValueError(
                f"{path} is not a golden set: it has no array 'meta'. Expected a file like tests/golden/*.npz."
            )
        arrays = {name: archive[name] for name in archive.files if name != "meta"}
        meta = json.loads(str(archive["meta"]))
    yield from _module_for(meta["what"], path).check(arrays, meta)


def _module_for(what: str, path):
    known = []
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for prefix in getattr(module, "WHAT", ()):
            known.append(prefix)
            if what.startswith(prefix):
                return module
    raise ValueError(f"{path}: no check for a golden set {what!r}. Known prefixes: {', '.join(sorted(known))}.")


def _to_numpy(value):
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value
