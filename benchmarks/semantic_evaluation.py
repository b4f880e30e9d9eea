#!/usr/bin/env python
"""Semantic predictions for large vocabularies: label maps computed in bands, against the arg-max of all class maps.

    python benchmarks/semantic_evaluation.py                          # 847 and 10,000 categories at 1024 x 1024 pixels
    python benchmarks/semantic_evaluation.py --categories 20 --side 64 --masks 10 --repeats 1

Random masks at stride 4, as from a proposer. Rows, alternating in one process:
    bands    fusion.semantic_labels, which the models use; on a GPU its kernel, or with MASQCLIP_OPS=torch bands
    maps     arg-max of fusion.semantic_scores, if the maps need less than --largest GiB
Prints the median seconds per image, the peak memory above the inputs, ratios, and the number of pixels that differ.
Only the first number of categories is measured in a fresh process; later ones reuse freed memory.
"""

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.measuring import measured
from masqclip_d2.fusion import MaskView, semantic_labels, semantic_scores

STRIDE = 4  # of the masks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--categories", type=int, nargs="+", default=[847, 10_000], help="K")
    parser.add_argument("--side", type=int, default=1024, help="pixels of input and output")
    parser.add_argument("--masks", type=int, default=100, help="Q")
    parser.add_argument("--repeats", type=int, default=3, help="rounds")
    parser.add_argument("--largest", type=float, default=8.0, help="skip maps that need more GiB")
    args = parser.parse_args()
    torch.manual_seed(0)
    there = torch.accelerator.is_available()
    device = torch.accelerator.current_accelerator() if there else torch.device("cpu")
    print(f"{args.masks} masks at stride {STRIDE}, {args.side} x {args.side} pixels, {device}, "
          f"torch {torch.__version__}, {torch.get_num_threads()} threads")  # fmt: skip
    for num_categories in args.categories:
        compare(num_categories, args, device)


def compare(num_categories: int, args, device: torch.device) -> None:
    """Time and print all rows for one number of categories."""
    low, hw = args.side // STRIDE, (args.side, args.side)
    coarse = torch.randn(1, args.masks, low // 8, low // 8, device=device) * 8 - 4
    masks = torch.nn.functional.interpolate(coarse, (low, low), mode="bilinear")[0]
    probs = (torch.randn(args.masks, num_categories, device=device) * 3).softmax(-1)
    views = [MaskView(probs, masks, hw, hw)]
    rows = {"bands": lambda: semantic_labels(views, hw)[0]}
    if num_categories * args.side**2 * 4 <= args.largest * 2**30:
        rows["maps"] = lambda: semantic_scores(views, hw).argmax(0)
    seconds, memory, labels = {name: [] for name in rows}, {}, {}
    for round_ in range(args.repeats):
        for name, run in rows.items():
            print(f"\rround {round_ + 1} of {args.repeats}: {name:10}", end="", file=sys.stderr, flush=True)
            labels[name], took, peak = measured(run, device)
            # Later rounds reuse freed memory, so that their peaks are too small.
            memory[name] = max(memory.get(name, 0), peak)
            seconds[name].append(took)
    print(file=sys.stderr)
    for name in rows:
        print(f"{num_categories:6} categories, {name:6} {statistics.median(seconds[name]):8.2f} s per image, "
              f"{memory[name] / 1e6:8.0f} MB above the inputs")  # fmt: skip
    if "maps" in rows:
        times = statistics.median(seconds["maps"]) / statistics.median(seconds["bands"])
        differ = (labels["maps"] != labels["bands"]).sum().item()
        print(f"{num_categories:6} categories: bands are {times:.1f} times as fast, with "
              f"{memory['maps'] / max(memory['bands'], 1):.0f} times less memory; {differ} of {args.side**2} pixels "
              "differ (ties up to rounding)")  # fmt: skip


if __name__ == "__main__":
    main()
