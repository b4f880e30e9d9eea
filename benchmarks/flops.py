#!/usr/bin/env python
"""FLOPs of classifying masks (MaskCLIP, Table 6): the CLIP baseline against mask class tokens without and with RMA.

    python benchmarks/flops.py                                   # ViT-L/14, 100 masks, the table of docs/benchmarks.md
    python benchmarks/flops.py --model ViT-B/16 --resolutions 224 --num-masks 50

Counted by fvcore, which counts a multiply-add as one FLOP and ignores elementwise operations. Tensors are on the meta
device, so nothing is computed. An unknown operation is an error, and so is a difference of more than 0.1 % to the
formulas below, which are derived from the method, not from the code. Only the visual encoder is counted, without the
proposer and the text tower.

Letters: Q masks, P patches of p x p pixels, L = 1 + P tokens, D width, N heads, E embedding.
"""

import argparse
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import fvcore
import torch
from fvcore.nn import FlopCountAnalysis
from fvcore.nn.jit_handles import get_shape
from torch import nn

from masqclip_d2.clip.architecture import ClipArchitecture
from masqclip_d2.clip.vision_transformer import ClipVisionTransformer
from masqclip_d2.visual_encoder import MaskClassTokenEncoder
from masqclip_d2.visual_encoder.clip_baseline import ClipBaselineEncoder
from masqclip_d2.visual_encoder.relative_mask_attention import attentions_with_rma

BASELINE, WITHOUT_RMA, WITH_RMA = (
    "CLIP baseline", "mask class tokens without RMA", "mask class tokens with RMA (MaskCLIP)",
)  # fmt: skip
PUBLISHED = {BASELINE: 10.5, WITH_RMA: 0.3}  # TFLOPs of Table 6, with ViT-L/14
TOLERANCE = 1e-3  # of a count from its formula, relative
NORM = 5  # FLOPs per element of a layer norm, fvcore's estimate


@dataclass(frozen=True)
class Sizes:
    """Sizes that determine the FLOPs."""

    resolution: int
    patch_size: int
    width: int
    layers: int
    heads: int
    mlp_width: int
    output_dim: int
    num_masks: int

    @property
    def patches(self) -> int:
        return (self.resolution // self.patch_size) ** 2

    @property
    def rma_layers(self) -> list[int]:
        """The last of each quarter of the blocks, counted from 1: 6, 12, 18, 24 of 24."""
        return sorted({self.layers * quarter // 4 for quarter in range(1, 5)} - {0})


# Formulas derived from the method.


def image_flops(sizes: Sizes) -> int:
    """CLIP's class token and patches through all blocks, without the final norm and projection."""
    patches, width, tokens = sizes.patches, sizes.width, 1 + sizes.patches
    projections = 4 * tokens * width**2  # query, key, value, output
    attention = 2 * tokens**2 * width  # scores, weighted sum
    mlp = 2 * tokens * width * sizes.mlp_width
    norms = 2 * NORM * tokens * width
    patch_embedding = patches * 3 * sizes.patch_size**2 * width
    return patch_embedding + NORM * tokens * width + sizes.layers * (projections + attention + mlp + norms)


def embedding_flops(sizes: Sizes) -> int:
    """The last norm and the projection of one token."""
    return NORM * sizes.width + sizes.width * sizes.output_dim


def baseline_flops(sizes: Sizes) -> int:
    """Q masked images."""
    return sizes.num_masks * (image_flops(sizes) + embedding_flops(sizes))


def mask_class_token_flops(sizes: Sizes) -> int:
    """One image, and Q more tokens with their own queries and the keys and values of the image."""
    width, tokens = sizes.width, 1 + sizes.patches
    projections = 2 * width**2  # query, output
    attention = 2 * tokens * width
    per_token = projections + attention + 2 * width * sizes.mlp_width + 2 * NORM * width
    more = sizes.layers * per_token + embedding_flops(sizes)
    return image_flops(sizes) + embedding_flops(sizes) + sizes.num_masks * more


def rma_flops(sizes: Sizes) -> int:
    """FLOPs of RMA beyond `mask_class_token_flops`, for the algorithm of ops/relative_scores/fast.py."""
    masks, patches, width = sizes.num_masks, sizes.patches, sizes.width
    pixels = sizes.patch_size**2
    key = patches * width**2  # phi_Km
    extended = pixels + 1  # a patch's pixels and a one
    gram = extended**2 * width
    direction = patches * width * extended
    scores = masks * patches * pixels * (pixels + sizes.heads + 1)  # quadratic and linear part of variance and scores
    refinement = masks * patches * width * pixels
    return len(sizes.rma_layers) * (key + gram + direction + scores + refinement)


# FLOPs counted by fvcore.


class Tensors(nn.Module):
    """An encoder that returns a tuple of tensors, as the tracer requires."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, image: torch.Tensor, mask_logits: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = vars(self.encoder(image, mask_logits)).values()
        return tuple(x for value in found for x in (value if isinstance(value, tuple) else (value,)))


class PatchEmbedding(nn.Module):
    """CLIP's `conv1` as a matrix product: torch's convolution cannot be traced on the meta device."""

    def __init__(self, conv1: nn.Conv2d) -> None:
        super().__init__()
        self.weight = conv1.weight
        self.side = conv1.stride[0]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        patches = image.unfold(2, self.side, self.side).unfold(3, self.side, self.side)  # (B, 3, h, w, p, p)
        patches = patches.permute(0, 2, 3, 1, 4, 5).flatten(3)  # (B, h, w, 3 * p * p)
        return nn.functional.linear(patches, self.weight.flatten(1)).permute(0, 3, 1, 2)  # (B, D, h, w)


def attention_flops(inputs, outputs) -> int:
    """Scores and weighted sum of scaled_dot_product_attention."""
    (batch, heads, queries, depth), keys = get_shape(inputs[0]), get_shape(inputs[1])[2]
    return 2 * batch * heads * queries * keys * depth


def refinement_flops(inputs, outputs) -> int:
    """The matrix product in ops/mask_refinement/fast.py, one operation for the tracer: D per pixel."""
    return prod(get_shape(outputs[0])) * get_shape(inputs[1])[-1]


HANDLES = {"aten::scaled_dot_product_attention": attention_flops, "prim::PythonOp._MaskRefinement": refinement_flops}
# Elementwise operations, reductions and views are not counted, as in fvcore's own list.
NOT_COUNTED = (
    "__or__", "add", "all", "any", "div", "isneginf", "max_pool2d", "mean", "mul", "new_ones", "numpy_T", "pad", "pow",
    "rsqrt", "sigmoid", "sub", "sum", "tanh", "unflatten", "unfold", "where",
)  # fmt: skip


def counted(encoder: nn.Module, sizes: Sizes) -> int:
    """FLOPs of one image with Q masks.

    Raises:
        ValueError: the encoder has an operation without a handle.
    """
    side = sizes.resolution
    inputs = (torch.zeros(1, 3, side, side), torch.zeros(1, sizes.num_masks, side, side))
    analysis = FlopCountAnalysis(Tensors(encoder).eval(), inputs).set_op_handle(**HANDLES)
    analysis.set_op_handle(**{f"aten::{name}": None for name in NOT_COUNTED})
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    total = analysis.total()
    if unknown := analysis.unsupported_ops():
        raise ValueError(
            f"Operations without a handle: {', '.join(sorted(unknown))}; add them to HANDLES or NOT_COUNTED."
        )
    return int(total)


def checked(name: str, encoder: nn.Module, sizes: Sizes, formula: Callable[[Sizes], int]) -> int:
    """Return `counted` after a comparison with the formula.

    Raises:
        ValueError: the two differ by more than `TOLERANCE`.
    """
    count, expected = counted(encoder, sizes), formula(sizes)
    if abs(count - expected) > TOLERANCE * expected:
        raise ValueError(f"{name}: counted {count:,} FLOPs, by formula {expected:,}; they differ by more than 0.1 %.")
    return count


def methods(sizes: Sizes) -> dict[str, int]:
    """FLOPs of the rows of the table."""
    visual = ClipVisionTransformer(
        input_resolution=sizes.resolution,
        patch_size=sizes.patch_size,
        width=sizes.width,
        layers=sizes.layers,
        heads=sizes.heads,
        output_dim=sizes.output_dim,
        mlp_width=sizes.mlp_width,
    )
    visual.conv1 = PatchEmbedding(visual.conv1)
    rma = attentions_with_rma(visual, sizes.rma_layers)
    rows = {
        BASELINE: (ClipBaselineEncoder(visual, batch_size=sizes.num_masks), baseline_flops),
        WITHOUT_RMA: (MaskClassTokenEncoder(visual), mask_class_token_flops),
        WITH_RMA: (
            MaskClassTokenEncoder(visual, rma),
            lambda sizes: mask_class_token_flops(sizes) + rma_flops(sizes),
        ),
    }
    return {name: checked(name, encoder, sizes, formula) for name, (encoder, formula) in rows.items()}


def table(columns: dict[int, dict[str, int]], published: dict[str, float]) -> str:
    """Markdown, in TFLOPs; `columns` by CLIP's resolution."""
    head = ["TFLOPs", *(f"CLIP at {side} px" for side in columns), "published, not reproduced here"]
    lines = [head, ["---"] * len(head)]
    for name in (BASELINE, WITHOUT_RMA, WITH_RMA):
        counts = (f"{rows[name] / 1e12:.3g}" for rows in columns.values())
        lines.append([name, *counts, str(published.get(name, "-"))])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def remarks(columns: dict[int, dict[str, int]], published: dict[str, float], num_masks: int) -> str:
    """Ratios of the table, one line per resolution."""
    lines = []
    for side, rows in columns.items():
        line = (
            f"CLIP at {side} px: the baseline needs {rows[BASELINE] / rows[WITHOUT_RMA]:.0f} times the FLOPs of mask "
            f"class tokens without RMA, {rows[BASELINE] / rows[WITH_RMA]:.0f} times those with RMA"
        )
        if published:
            passes = published[BASELINE] * 1e12 * num_masks / rows[BASELINE]
            line += f"; the published {published[BASELINE]} TFLOPs are {passes:.0f} passes"
        lines.append(f"{line}.")
    return "\n".join(lines)


def columns_of(model: str, resolutions: list[int], num_masks: int) -> dict[int, dict[str, int]]:
    """Return `methods` for each resolution, rounded down to whole patches.

    Raises:
        FileNotFoundError, ValueError: no such model, or sizes without a patch or a mask.
    """
    clip = ClipArchitecture.from_name(model)
    if num_masks < 1 or min(resolutions) < clip.patch_size:
        raise ValueError(f"Need at least one mask and one patch of {clip.patch_size} pixels.")
    columns = {}
    for resolution in resolutions:
        side = resolution // clip.patch_size * clip.patch_size
        columns[side] = methods(
            Sizes(
                resolution=side,
                patch_size=clip.patch_size,
                width=clip.vision_width,
                layers=clip.vision_layers,
                heads=clip.vision_heads,
                mlp_width=clip.vision_mlp_width,
                output_dim=clip.embed_dim,
                num_masks=num_masks,
            )
        )
    return columns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-L/14", help="OpenAI's name of a CLIP, or an architecture file")
    parser.add_argument("--num-masks", type=int, default=100, help="Q")
    parser.add_argument(
        "--resolutions", type=int, nargs="+", default=[224, 336, 640], metavar="PIXELS",
        help="CLIP's input, rounded down to whole patches",
    )  # fmt: skip
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
    with torch.device("meta"), torch.no_grad():
        columns = columns_of(args.model, args.resolutions, args.num_masks)
    published = PUBLISHED if args.model.startswith("ViT-L/14") else {}
    print(f"{args.model}, {args.num_masks} masks, torch {torch.__version__}, fvcore {fvcore.__version__}\n")
    print(table(columns, published), remarks(columns, published, args.num_masks), sep="\n\n")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
