#!/usr/bin/env python
"""The pixel decoder of Mask2Former: deformable sampling by sums of table rows against `grid_sample`.

    python benchmarks/pixel_decoder.py                                 # R-50, an image of 800 x 1216 pixels, one thread
    python benchmarks/pixel_decoder.py --height 96 --width 128 --layers 1

Random weights and features. Rows alternate in one process: sampling alone, forward and with gradients, and the whole
decoder with each sampling. Prints the least CPU seconds of each row, ratios, and the largest error of each sampling
to the formula in float64.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.measuring import least_cpu_seconds
from masqclip_d2.ops import ms_deform_attn
from masqclip_d2.ops.ms_deform_attn.fast import by_embedding_bag, by_grid_sample, ms_deform_attn_torch
from masqclip_d2.ops.ms_deform_attn.reference import ms_deform_attn_reference
from masqclip_d2.proposer.mask2former.pixel_decoder import PixelDecoder

HEADS, POINTS, CHANNELS = 8, 4, 32
SAMPLINGS = {"grid_sample": by_grid_sample, "table rows": by_embedding_bag}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=800, help="pixels of the padded image")
    parser.add_argument("--width", type=int, default=1216)
    parser.add_argument("--layers", type=int, default=6, help="of the deformable encoder")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    print(f"{args.height} x {args.width} pixels, torch {torch.__version__}, {args.threads} threads")
    measure_sampling(args)
    measure_decoder(args)


def measure_sampling(args) -> None:
    """Time and error of one layer's sampling."""
    level_hw = [(args.height // stride, args.width // stride) for stride in (32, 16, 8)]
    inputs = sampling_inputs(level_hw)
    seconds = least_cpu_seconds(
        {name: lambda run=run: run(inputs[0], level_hw, *inputs[1:]) for name, run in SAMPLINGS.items()}, args.repeats
    )
    compare("sampling", seconds)
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]

    def with_gradients(run):
        with torch.enable_grad():
            torch.autograd.grad(run(leaves[0], level_hw, *leaves[1:]).sum(), leaves)

    seconds = least_cpu_seconds({name: lambda run=run: with_gradients(run) for name, run in SAMPLINGS.items()}, 1)
    compare("sampling with gradients", seconds)
    value, *rest = (tensor.double() for tensor in inputs)
    exact = ms_deform_attn_reference(value, level_hw, *rest)
    for name, run in SAMPLINGS.items():
        error = (run(inputs[0], level_hw, *inputs[1:]) - exact).abs().max()
        print(f"  largest error of {name}: {error:.1e}, of values up to {exact.abs().max():.3g}")


def sampling_inputs(level_hw) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Values, locations some pixels around each position, and weights, as in the pixel decoder."""
    size = sum(height * width for height, width in level_hw)
    value = torch.randn(1, size, HEADS, CHANNELS)
    centers = []
    for height, width in level_hw:
        y, x = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
        centers.append(torch.stack([x, y], -1).flatten(0, 1))
    pixel = torch.tensor([(1 / width, 1 / height) for height, width in level_hw])
    offsets = 3 * torch.randn(1, size, HEADS, len(level_hw), POINTS, 2) * pixel[:, None]
    locations = torch.cat(centers)[None, :, None, None, None] + offsets
    weights = torch.randn(1, size, HEADS, len(level_hw) * POINTS).softmax(-1)
    return value, locations, weights.unflatten(-1, (len(level_hw), POINTS))


def measure_decoder(args) -> None:
    """Time of the whole decoder with each sampling."""
    from detectron2.layers import ShapeSpec  # after masqclip_d2, which may be what brings Detectron2

    shapes = {f"res{i}": ShapeSpec(channels=64 * 2**i, stride=2**i) for i in (2, 3, 4, 5)}
    decoder = PixelDecoder(
        input_shape=shapes, encoder_in_features=["res3", "res4", "res5"], conv_dim=256, mask_dim=256, norm="GN",
        num_heads=HEADS, num_layers=args.layers, num_points=POINTS, ffn_dim=1024,
    ).eval()  # fmt: skip
    features = {
        name: torch.randn(1, shape.channels, args.height // shape.stride, args.width // shape.stride)
        for name, shape in shapes.items()
    }

    def decode(sampling):
        ms_deform_attn.IMPLEMENTATIONS["torch"] = sampling
        return decoder(features)

    try:
        compare(
            "pixel decoder",
            least_cpu_seconds({name: lambda run=run: decode(run) for name, run in SAMPLINGS.items()}, args.repeats),
        )
    finally:
        ms_deform_attn.IMPLEMENTATIONS["torch"] = ms_deform_attn_torch


def compare(what: str, seconds: dict[str, float]) -> None:
    """Print the times of both rows and their ratio."""
    before, now = (seconds[name] for name in SAMPLINGS)
    times = ", ".join(f"{name} {value:.3f} s" for name, value in seconds.items())
    print(f"{what}: {times} of CPU time; ratio {before / now:.2f}")


if __name__ == "__main__":
    main()
