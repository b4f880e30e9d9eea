"""Compare this package with golden numbers: `python tests/check_golden.py FILE_OR_FOLDER...`

Takes any golden .npz (the comparison is chosen by the file's own `meta`) and any folder laid out like
`tests/golden/pq_A` (gt.json, gt_png/, pred.json, pred_png/, expected.json). Prints the largest error of every output
beside its tolerance; the exit code is 1 if one is beyond it, or if a set yields nothing to compare.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

if __package__ in (None, ""):  # run as a script: the folder above holds the package, this folder golden_checks
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import masqclip_d2  # noqa: F401  (decides which Detectron2 is used, before the checks import it)
from tests.golden_checks import GoldenRow, check_npz

PANOPTIC_QUALITY_TOLERANCE = 1e-9  # the same sums in another order
_FOLDER_LAYOUT = ("gt.json", "gt_png", "pred.json", "pred_png", "expected.json")
_GROUPS = {"All": (0, 1), "Things": (1,), "Stuff": (0,)}  # name in expected.json -> values of isthing


def check_path(path: str | Path) -> Iterator[GoldenRow]:
    """Yield the comparisons of one golden set; see the module docstring.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: it is no golden set, or no check exists for its kind.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a golden .npz or a folder like tests/golden/pq_A.")
    if path.is_dir():
        return check_panoptic_quality(path)
    if path.suffix != ".npz":
        raise ValueError(f"{path} is no golden set; expected a .npz or a folder like tests/golden/pq_A.")
    return check_npz(path)


def check_panoptic_quality(folder: Path) -> Iterator[GoldenRow]:
    """Panoptic quality of a folder of ground truth and predictions against its expected.json."""
    from masqclip_d2.evaluation.panoptic_quality import panoptic_quality_of_folders

    absent = [name for name in _FOLDER_LAYOUT if not (folder / name).exists()]
    if absent:
        raise ValueError(f"{folder} is no panoptic quality set: {', '.join(absent)} missing.")
    expected = json.loads((folder / "expected.json").read_text())
    quality, categories = panoptic_quality_of_folders(
        folder / "gt.json", folder / "gt_png", folder / "pred.json", folder / "pred_png"
    )
    actual = {
        group: quality.result([i for i, c in categories.items() if c["isthing"] in kinds])
        for group, kinds in _GROUPS.items()
    }
    for group in _GROUPS:
        if group in expected:
            yield from _compare_numbers(group, actual[group], expected[group])
    per_category = {str(category): values for category, values in quality.per_category().items()}
    only_one_side = set(per_category) ^ set(expected["per_class"])
    yield GoldenRow("categories that only one side reports", float(len(only_one_side)), 0)
    for category, values in expected["per_class"].items():
        yield from _compare_numbers(f"category {category}", per_category.get(category, {}), values)


def _compare_numbers(name: str, actual: dict, expected: dict) -> Iterator[GoldenRow]:
    for key, value in expected.items():
        other = actual.get(key, math.inf)
        both_undefined = math.isnan(value) and math.isnan(other)
        yield GoldenRow(f"{name} {key}", 0.0 if both_undefined else abs(other - value), PANOPTIC_QUALITY_TOLERANCE)


def print_table(rows: list[GoldenRow]) -> None:
    width = max(len(row.output) for row in rows)
    print(f"  {'output':{width}}  {'error':>9}  {'tolerance':>9}")
    for row in rows:
        verdict = "ok" if row.passed else "FAILED"
        print(f"  {row.output:{width}}  {row.error:9.2e}  {row.tolerance:9.2e}  {verdict}")


def main(arguments: list[str] | None = None) -> int:
    """Check every path; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", metavar="FILE_OR_FOLDER", help=".npz, or folder like tests/golden/pq_A")
    num_failed = 0
    for path in parser.parse_args(arguments).paths:
        print(path)
        try:
            rows = list(check_path(path))
        except Exception as error:  # a check that cannot run is a failed check; the other files are still checked
            print(f"  FAILED: {type(error).__name__}: {error}")
            num_failed += 1
            continue
        if not rows:
            print("  FAILED: the check of this set compared nothing.")
            num_failed += 1
            continue
        print_table(rows)
        num_failed += sum(not row.passed for row in rows)
    print("all within tolerance" if num_failed == 0 else f"{num_failed} FAILED")
    return 0 if num_failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
