#!/usr/bin/env python
"""Mask class tokens against the CLIP baseline: Q masks of one image in one pass, or in Q passes (MaskCLIP, Sec. 4.6).

Both run in this process in the order A B A B on the same random weights and masks; prints seconds, their ratio, and the
peak memory of the process.

    python benchmarks/mask_class_tokens.py --architecture shapes-tiny --masks 100
"""

import argparse
import resource
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from masqclip_d2.visual_encoder.clip_baseline import clip_baseline_embeddings
from masqclip_d2.visual_encoder.clip_weights import build_clip
from masqclip_d2.visual_encoder.mask_class_tokens import MaskClassTokenEncoder

# Sizes of OpenAI's ViT-L/14@336px.
VIT_L_14_336 = {
    "image_resolution": 336, "patch_size": 14, "vision_width": 1024, "vision_layers": 24, "vision_heads": 16,
    "embed_dim": 768, "text_width": 768, "text_layers": 1, "text_heads": 12, "context_length": 77, "vocab_size": 1024,
    "activation": "quick_gelu",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="shapes-tiny", help="a shipped name or JSON file, or ViT-L/14@336px")
    parser.add_argument("--masks", type=int, default=100, help="Q")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of runs after one that is not counted")
    parser.add_argument("--baseline-masks", type=int, default=None, help="masks to time the baseline on; scaled up")
    parser.add_argument("--dtype", choices=("float32", "bf16"), default="float32")
    args = parser.parse_args()

    torch.manual_seed(0)
    there = torch.accelerator.is_available()
    device = torch.accelerator.current_accelerator() if there else torch.device("cpu")
    dtype = {"float32": torch.float32, "bf16": torch.bfloat16}[args.dtype]
    architecture = VIT_L_14_336 if args.architecture == "ViT-L/14@336px" else args.architecture
    visual = build_clip(architecture).visual.eval().requires_grad_(False).to(device, dtype)
    encoder = MaskClassTokenEncoder(visual)
    side = visual.input_resolution
    image = torch.randn(3, side, side, device=device, dtype=dtype)
    masks = torch.randn(args.masks, side, side, device=device, dtype=dtype)
    timed = args.baseline_masks or args.masks

    def tokens() -> float:
        return seconds(lambda: encoder(image[None], masks[None]), device)

    def baseline() -> float:
        return seconds(lambda: clip_baseline_embeddings(visual, image, masks[:timed], 32), device) * args.masks / timed

    with torch.inference_mode():
        tokens(), baseline()
        pairs = [(tokens(), baseline()) for _ in range(args.repeats)]
    ratios = [slow / fast for fast, slow in pairs]
    print(f"{args.architecture}, {args.masks} masks, {args.dtype}, {device}, torch {torch.__version__}, "
          f"{torch.get_num_threads()} threads")  # fmt: skip
    print(f"mask class tokens  {statistics.median(fast for fast, _ in pairs):8.3f} s")
    print(f"CLIP baseline      {statistics.median(slow for _, slow in pairs):8.3f} s"
          + (f"  (from {timed} masks)" if timed != args.masks else ""))  # fmt: skip
    print(f"ratio              {statistics.median(ratios):8.1f}  ({min(ratios):.1f} to {max(ratios):.1f})")
    print(f"peak memory        {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:8.2f} GiB")


def seconds(function, device) -> float:
    start = time.perf_counter()
    function()
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
