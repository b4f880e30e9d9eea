#!/usr/bin/env python
"""What the choices of encoding cost: how masks are embedded, tiles, and templates of the prompts. Random weights.

    python benchmarks/encoding_choices.py                    # ViT-L/14@336px, 100 masks of an image of 480 x 640 pixels
    python benchmarks/encoding_choices.py --clip open_clip:EVA02-L-14-336/merged2b_s6b_b61k
    python benchmarks/encoding_choices.py --height 300 --width 900

Rows alternate in one process; printed is the median processor time of all threads, which other processes disturb
little. Prompts are embedded for a few categories; the time per category does not depend on their number.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from masqclip_d2.clip import ClipArchitecture, build_clip
from masqclip_d2.meta_arch.encoding import encode_masks, encoder_input
from masqclip_d2.meta_arch.tiles import encode_in_tiles, window_of_masks, windows
from masqclip_d2.structures import MaskProposals
from masqclip_d2.visual_encoder import MaskClassTokenEncoder, ValuePoolingEncoder
from masqclip_d2.vocabulary.prompts import TEMPLATES

TILES = {"SQUARE_TILES": (1, True), "TILES 2": (2, False), "TILES 2, SQUARE_TILES": (2, True), "TILES 3": (3, False)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--clip", default="ViT-L/14@336px", help="a name of OpenAI or open_clip, or a JSON file of sizes"
    )
    parser.add_argument("--height", type=int, default=480, help="of the image, pixels")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--masks", type=int, default=100, help="Q")
    parser.add_argument("--repeats", type=int, default=3, help="rounds after a warm-up")
    parser.add_argument("--categories", type=int, default=5, help="whose prompts are embedded")
    args = parser.parse_args()
    torch.manual_seed(0)
    clip = build_clip(ClipArchitecture.from_name(args.clip)).requires_grad_(False).eval()
    print(f"{args.clip}, {args.masks} masks, {args.height} x {args.width} pixels, torch {torch.__version__}, "
          f"{torch.get_num_threads()} threads")  # fmt: skip
    compare_encoders(clip.visual, (args.height, args.width), args.masks, args.repeats)
    compare_templates(clip.text, args.categories)


def compare_encoders(visual, hw, num_masks, repeats) -> None:
    image = torch.randint(0, 256, (3, *hw)).float()
    proposals = random_boxes(num_masks, hw)
    tokens, pooling = MaskClassTokenEncoder(visual), ValuePoolingEncoder(visual)

    def whole(encoder):
        return encode_masks(encoder, encoder_input(image, proposals, visual, None), proposals)[0]

    rows = {"mask class tokens": lambda: whole(tokens), "ValuePooling": lambda: whole(pooling)}
    rows |= {name: lambda how=how: encode_in_tiles(tokens, image, proposals, *how) for name, how in TILES.items()}
    seconds = {name: [] for name in rows}
    with torch.inference_mode():
        for round_ in range(repeats + 1):
            for name, run in rows.items():
                start = time.process_time()
                run()
                seconds[name].append(time.process_time() - start)
                print(f"\rround {round_} of {repeats}: {name:25}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    base = statistics.median(seconds["mask class tokens"][1:])
    for name, values in seconds.items():
        median = statistics.median(values[1:])
        passes = num_passes(proposals, hw, visual.input_resolution, *TILES[name]) if name in TILES else 1
        print(f"{name:25} {passes:3} passes {median:9.3f} s {median / base:6.2f} x mask class tokens")


def num_passes(proposals, hw, resolution, tiles, square) -> int:
    """Windows that hold a mask."""
    inside = proposals.resized((resolution, resolution)) > 0
    return len(window_of_masks(inside, windows(hw, tiles, square), hw).unique())


def random_boxes(number, hw) -> MaskProposals:
    """Boxes whose sides are 5 to 100 % of the image's."""
    masks = torch.zeros(number, *hw, dtype=torch.bool)
    for mask in masks:
        height, width = (max(1, int(size * (0.05 + 0.95 * torch.rand(()).item() ** 2))) for size in hw)
        top, left = (int(torch.randint(0, size - side + 1, ())) for size, side in zip(hw, (height, width), strict=True))
        mask[top : top + height, left : left + width] = True
    return MaskProposals.from_binary_masks(masks)


def compare_templates(text, num_categories) -> None:
    text.encode(["a warm-up"] * 8)
    for templates in ("name", "vild_14", "clip_imagenet_80"):
        prompts = [template.format(f"category {index}", article="a") for index in range(num_categories)
                   for template in TEMPLATES[templates]]  # fmt: skip
        start = time.process_time()
        text.encode(prompts)
        took = (time.process_time() - start) / num_categories
        print(f"{templates:25} {len(prompts) // num_categories:3} prompts {took:8.3f} s per name, once per vocabulary")


if __name__ == "__main__":
    main()
