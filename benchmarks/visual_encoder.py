#!/usr/bin/env python
"""The visual encoder with Relative Mask Attention: fast implementations of the ops against the references.

    python benchmarks/visual_encoder.py                       # ViT-L/14@336px, 100 masks, random weights
    python benchmarks/visual_encoder.py --dtype bf16
    python benchmarks/visual_encoder.py --architecture shapes-tiny --masks 40 --repeats 3

Rows, alternating in one process (A B C D A B C D ...):
    floor      mask class tokens without RMA
    RMA        with RMA and refinement, fast ops (MASQCLIP_OPS=auto)
    plain      with RMA and refinement, reference ops, which store mask patch tokens (MASQCLIP_OPS=reference)
    baseline   one CLIP pass per mask, extrapolated from a few masks
Prints the median seconds, ratios, the memory beyond the floor, and the largest difference of RMA to plain.
"""

import argparse
import os
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.measuring import measured
from masqclip_d2.clip.vision_transformer import ClipVisionTransformer
from masqclip_d2.visual_encoder.clip_baseline import clip_baseline_embeddings
from masqclip_d2.visual_encoder.mask_class_tokens import MaskClassTokenEncoder
from masqclip_d2.visual_encoder.relative_mask_attention import attentions_with_rma

ARCHITECTURES = {  # resolution, patch, width, layers, heads, output, RMA layers counted from 1
    "ViT-L/14@336px": (336, 14, 1024, 24, 16, 768, (6, 12, 18, 24)),
    "shapes-tiny": (128, 8, 128, 8, 2, 128, (2, 4, 6, 8)),
}
BASELINE_MASKS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", choices=sorted(ARCHITECTURES), default="ViT-L/14@336px")
    parser.add_argument("--masks", type=int, default=100, help="Q")
    parser.add_argument("--repeats", type=int, default=3, help="rounds after a warm-up")
    parser.add_argument("--dtype", choices=("float32", "bf16"), default="float32")
    args = parser.parse_args()
    torch.manual_seed(0)
    there = torch.accelerator.is_available()
    device = torch.accelerator.current_accelerator() if there else torch.device("cpu")
    floor, rma = (build(args.architecture, layers, device) for layers in ((), ARCHITECTURES[args.architecture][-1]))
    side = floor.visual.input_resolution
    image = torch.randn(1, 3, side, side, device=device)
    masks = torch.nn.functional.interpolate(
        torch.randn(1, args.masks, side // 16, side // 16, device=device) * 4 - 2, (side, side), mode="bilinear"
    )

    def encode(encoder, implementation):
        os.environ["MASQCLIP_OPS"] = implementation
        return encoder(image, masks)

    baseline_masks = min(args.masks, BASELINE_MASKS)
    rows = {
        "floor": lambda: encode(floor, "auto"),
        "RMA": lambda: encode(rma, "auto"),
        "plain": lambda: encode(rma, "reference"),
        "baseline": lambda: clip_baseline_embeddings(floor.visual, image[0], masks[0, :baseline_masks], baseline_masks),
    }
    low = torch.autocast(device.type, torch.bfloat16, enabled=args.dtype == "bf16")
    seconds, memory, results = {name: [] for name in rows}, {}, {}
    with torch.inference_mode(), low:
        for round_ in range(args.repeats + 1):
            for name, run in rows.items():
                results[name], took, memory[name] = measured(run, device)
                if round_:
                    seconds[name].append(took)
                print(f"\rround {round_} of {args.repeats}: {name:10}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    median["baseline"] *= args.masks / baseline_masks
    print(f"{args.architecture}, {args.masks} masks, {args.dtype}, {device}, torch {torch.__version__}, "
          f"{torch.get_num_threads()} threads")  # fmt: skip
    for name, value in median.items():
        ratio = f"{value / median['floor']:6.2f} x floor"
        print(
            f"{name:10} {value:9.3f} s {ratio}   {(memory[name] - memory['floor']) / 2**20:8.0f} MiB beyond the floor"
        )
    print(f"RMA is {median['plain'] / median['RMA']:.2f} times faster than the plain formula")
    print(f"mask class tokens are {median['baseline'] / median['floor']:.1f} times faster than the CLIP baseline")
    for what in ("mask_embeddings", "refined_mask_logits"):
        fast, plain = (getattr(results[name], what) for name in ("RMA", "plain"))
        fast, plain = (value[-1] if isinstance(value, tuple) else value for value in (fast, plain))
        largest = (fast.float() - plain.float()).abs().max().item()
        print(f"largest difference of {what}: {largest:.2e}, of values up to {plain.float().abs().max().item():.3g}")


def build(architecture: str, rma_layers, device) -> MaskClassTokenEncoder:
    resolution, patch, width, layers, heads, output, _ = ARCHITECTURES[architecture]
    torch.manual_seed(0)
    visual = ClipVisionTransformer(
        input_resolution=resolution, patch_size=patch, width=width, layers=layers, heads=heads, output_dim=output
    )
    return (
        MaskClassTokenEncoder(visual, attentions_with_rma(visual, rma_layers)).eval().requires_grad_(False).to(device)
    )


if __name__ == "__main__":
    main()
