#!/usr/bin/env python
"""Memory and time of the fusion of a large photograph, for each task, above the masks and scores that go in.

    python benchmarks/fusion_memory.py                                # 4032 x 3024 pixels, 100 masks, 133 categories
    python benchmarks/fusion_memory.py --height 1024 --width 1024 --categories 10 150 1203 10000
    python benchmarks/fusion_memory.py --height 64 --width 48 --masks 10

Discs at stride 4 of an image of 800 pixels on its shorter side, as from a proposer; each task and number of categories
in a fresh process. Prints seconds and the peak memory above the inputs, with the size of the result.
"""

import argparse
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.measuring import measured
from masqclip_d2.fusion import ClassScores
from masqclip_d2.meta_arch.predictions import fuse
from masqclip_d2.meta_arch.tasks import TASK_NAMES, Tasks
from masqclip_d2.structures import MaskProposals

SHORTER_SIDE, STRIDE = 800, 4  # of the proposer's input and its masks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=3024, help="pixels of the photograph")
    parser.add_argument("--width", type=int, default=4032)
    parser.add_argument("--masks", type=int, default=100, help="Q")
    parser.add_argument("--categories", type=int, nargs="+", default=[133], help="K; one row for each")
    parser.add_argument("--task", choices=TASK_NAMES, help="one task, in this process; default: each in a process")
    args = parser.parse_args()
    if args.task and len(args.categories) == 1:
        measure(args, args.categories[0])
        return
    sizes = ("--height", args.height, "--width", args.width, "--masks", args.masks)
    for task in (args.task,) if args.task else TASK_NAMES:
        for number in args.categories:
            row = map(str, (*sizes, "--task", task, "--categories", number))
            subprocess.run([sys.executable, __file__, *row], check=True)


def measure(args, num_categories: int) -> None:
    """Time and print one task."""
    torch.manual_seed(0)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    output_hw = (args.height, args.width)
    factor = SHORTER_SIDE / min(output_hw)
    image_hw = (round(args.height * factor), round(args.width * factor))
    padded_hw = tuple(-(-side // 32) * 32 for side in image_hw)
    low_hw = tuple(side // STRIDE for side in padded_hw)
    masks = discs(args.masks, low_hw).to(device)
    proposals = MaskProposals(masks, torch.rand(args.masks, device=device), image_hw, padded_hw)
    probs = (torch.randn(args.masks, num_categories, device=device) * 3).softmax(-1)
    is_thing = [index % 3 > 0 for index in range(num_categories)]
    tasks = Tasks().only(args.task)
    found, seconds, peak = measured(lambda: fuse(ClassScores(probs), proposals, is_thing, output_hw, tasks), device)
    size = sum(_bytes(value) for value in found.values())
    print(f"{args.task:9} {args.height} x {args.width}, {args.masks} masks, {num_categories:5} categories, {device}: "
          f"{seconds:6.2f} s, {peak / 1e9:6.3f} GB above the inputs, of which {size / 1e9:6.3f} GB result")  # fmt: skip


def discs(num_masks: int, hw: tuple[int, int]) -> torch.Tensor:
    """(Q, H, W) mask logits of discs, a third of them large, as the masks of a photograph have all sizes."""
    center_y, center_x, size = torch.rand(3, num_masks, 1, 1)
    radius = torch.where(torch.arange(num_masks)[:, None, None] % 3 == 0, 0.1 + 0.3 * size, 0.01 + 0.1 * size)
    y, x = torch.linspace(0, 1, hw[0])[:, None], torch.linspace(0, 1, hw[1])
    return ((radius - torch.hypot(y - center_y, x - center_x)) * 100).clamp(-12, 12)


def _bytes(value) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, tuple):
        return _bytes(value[0])
    return sum(_bytes(field) for field in value.get_fields().values() if isinstance(field, torch.Tensor))


if __name__ == "__main__":
    main()
