"""Inputs of the ops at the sizes of the published models, and the least work that each needs.

Add an op by an entry in `op_cases`.

Shape shorthand: B images, Q masks, P patches, p patch side, D width, N heads, d = D / N, L keys, R encoder resolution,
K categories, h x w the resolution of the mask decoder's masks, H x W pixels of the output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from masqclip_d2.ops.mask_refinement import mask_refinement_with_maxima
from masqclip_d2.ops.masked_attention import masked_attention, pack_attend_mask, predicted_attend_mask
from masqclip_d2.ops.ms_deform_attn import ms_deform_attn
from masqclip_d2.ops.output_masks import OutputMasks
from masqclip_d2.ops.panoptic_winners import panoptic_winners
from masqclip_d2.ops.relative_scores import relative_scores, variance_root
from masqclip_d2.ops.semantic_labels import WeightedMasks, semantic_labels

Tensors = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """Sizes of CLIP's vision tower and of Mask2Former's decoders."""

    resolution: int = 336  # R
    patch: int = 14  # p
    width: int = 1024  # D
    heads: int = 16  # N
    masks: int = 100  # Q
    rma_layers: int = 4
    layers: int = 24
    levels: tuple[tuple[int, int], ...] = ((32, 32), (64, 64), (128, 128))  # of an image of 1024 x 1024 pixels
    decoder_width: int = 256
    decoder_heads: int = 8
    decoder_rounds: int = 3  # over all levels
    deformable_layers: int = 6
    points: int = 4
    categories: tuple[int, ...] = (150, 847, 10_000)  # K

    @property
    def patches(self) -> int:
        return (self.resolution // self.patch) ** 2

    @property
    def low_hw(self) -> tuple[int, int]:
        """(h, w), twice the largest level."""
        height, width = self.levels[-1]
        return 2 * height, 2 * width

    @property
    def frame(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """(height, width) of the padded input, an image in it, and an output as large as the input: two resizes."""
        height, width = self.low_hw
        padded_hw = (4 * height, 4 * width)
        image_hw = (4 * height - height // 4, 4 * width - width // 4)
        return padded_hw, image_hw, padded_hw


REAL = Sizes()
TINY = Sizes(
    resolution=16, patch=8, width=32, heads=2, masks=3, rma_layers=1, layers=2, levels=((1, 2), (2, 3)),
    decoder_width=32, decoder_heads=2, decoder_rounds=1, deformable_layers=1, points=2,
    categories=(8,),
)  # fmt: skip


@dataclass(frozen=True)
class OpCase:
    """An op at one size.

    Args:
        op: package in `masqclip_d2.ops`.
        name: unique.
        calls: per image in the model that uses it.
        make: number of images, device -> inputs by name, float32, with fixed random values.
        half: names of the inputs that are in half precision under autocast; the others stay float32.
        compute: inputs, implementation -> outputs; gradients are those of the first.
        flops: of the matrix products for one image; a multiplication and its addition are two.
        product_dtype: of the matrix products if the op computes them in one dtype only; None: that of the inputs.
        fixed: names of float inputs without a gradient.
        prepare: inputs, implementation -> what is computed once for several calls, instead of some of the inputs.
        dtypes: of the inputs, those that occur in the models.
        reference_bytes: memory of the reference for one image, if it is gigabytes.
        has_loops: plain PyTorch loops over many parts of the image, which `torch.compile` would unroll for minutes.
        is_attention: SDPA and FlexAttention compute it too, from query, key, value, mask and bias.
    """

    op: str
    name: str
    calls: int
    make: Callable[[int, torch.device], Tensors]
    half: tuple[str, ...]
    compute: Callable[[Tensors, str], Tensor | tuple[Tensor, ...]]
    flops: float
    product_dtype: torch.dtype | None = None
    fixed: tuple[str, ...] = ()
    prepare: Callable[[Tensors, str], Tensors] = lambda tensors, implementation: tensors
    dtypes: tuple[torch.dtype, ...] = (torch.bfloat16, torch.float16, torch.float32)
    reference_bytes: float = 0.0
    has_loops: bool = False
    is_attention: bool = False

    def inputs(self, batch: int, dtype: torch.dtype, device: torch.device) -> Tensors:
        """Inputs in a precision, the same values at each call up to rounding."""
        made = self.make(batch, device)
        return {name: x.to(dtype) if name in self.half else x for name, x in made.items()}

    def outputs(self, inputs: Tensors, implementation: str) -> tuple[Tensor, ...]:
        """Outputs of `compute`."""
        found = self.compute(inputs, implementation)
        return found if isinstance(found, tuple) else (found,)

    def differentiable(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        """The inputs that get a gradient."""
        tensors = {name: x for name, x in inputs.items() if isinstance(x, Tensor) and name not in self.fixed}
        return {name: x for name, x in tensors.items() if x.is_floating_point()}

    def dtype(self, dtype: torch.dtype) -> torch.dtype:
        """The dtype of the inputs in a model that runs in `dtype`."""
        return dtype if dtype in self.dtypes else self.dtypes[0]

    def least_bytes(self, inputs: Mapping[str, Any], outputs: Sequence[Tensor]) -> float:
        """Each input read once and each output written once; a mask is one bit per element."""
        tensors = [*(x for x in inputs.values() if isinstance(x, Tensor)), *outputs]
        return sum(x.numel() * (1 / 8 if x.dtype == torch.bool else x.element_size()) for x in tensors)

    def products_in(self, dtype: torch.dtype) -> torch.dtype:
        """Dtype of the matrix products of inputs in `dtype`."""
        return self.product_dtype or dtype


def op_cases(sizes: Sizes) -> list[OpCase]:
    """All cases, in the order of the data flow."""
    queries, width, patches, area = sizes.masks, sizes.width, sizes.patches, sizes.patch**2
    keys, c = 1 + patches, sizes.decoder_width
    deformable = OpCase(
        "ms_deform_attn", "ms_deform_attn", sizes.deformable_layers, partial(_deformable_inputs, sizes), ("value",),
        _deformable, 0.0,
    )  # fmt: skip
    decoder = [
        OpCase(
            "masked_attention", f"decoder attention, {length} keys", sizes.decoder_rounds,
            partial(_decoder_inputs, sizes, length), ("query", "key", "value", "embedding", "features"), _decoder,
            6.0 * queries * length * c, fixed=("embedding", "features"), is_attention=True,
        )
        for length in (height * w for height, w in sizes.levels)
    ]  # fmt: skip
    tokens = OpCase(
        "masked_attention", "mask class tokens", sizes.layers, partial(_token_inputs, sizes, False),
        ("query", "key", "value"), _tokens, 4.0 * queries * keys * width, prepare=_packed, is_attention=True,
    )  # fmt: skip
    biased = OpCase(
        "masked_attention", "mask class tokens, bias", sizes.rma_layers, partial(_token_inputs, sizes, True),
        ("query", "key", "value", "bias"), _tokens, 4.0 * queries * keys * width, prepare=_packed, is_attention=True,
    )  # fmt: skip
    # The scores by the quadratic form of the pixels: p^2 columns for the variance, N for the scores, one constant.
    scores = OpCase(
        "relative_scores", "relative_scores", sizes.rma_layers, partial(_score_inputs, sizes), ("relative_key",),
        _scores, 2.0 * queries * patches * area * (area + sizes.heads + 1), torch.float32,
        prepare=_with_root,
    )  # fmt: skip
    refinement = OpCase(
        "mask_refinement", "mask_refinement", sizes.rma_layers, partial(_refinement_inputs, sizes),
        ("query", "key", "weight"), _refinement, 2.0 * queries * patches * width * area,
    )  # fmt: skip
    return [deformable, *decoder, tokens, biased, scores, refinement, *_fusion_cases(sizes)]


def _fusion_cases(sizes: Sizes) -> list[OpCase]:
    """Label maps from masks and scores, which are float32 whatever the networks' precision."""
    pixels, float32 = math.prod(sizes.frame[-1]), (torch.float32,)
    # Three products in float16 are as exact as one in float32.
    semantic = [
        OpCase(
            "semantic_labels", f"semantic labels, {number} categories", 1, partial(_semantic_inputs, sizes, number), (),
            partial(_semantic, sizes), 3 * 2.0 * sizes.masks * number * pixels, torch.float16,
            fixed=("masks", "weights"), dtypes=float32,
            reference_bytes=8.0 * pixels * (number + sizes.masks), has_loops=True,
        )
        for number in sizes.categories
    ]  # fmt: skip
    panoptic = OpCase(
        "panoptic_winners", "panoptic winners", 1, partial(_panoptic_inputs, sizes), (), partial(_panoptic, sizes), 0.0,
        fixed=("masks", "scores"), dtypes=float32, has_loops=True,
    )  # fmt: skip
    return [*semantic, panoptic]


def _randn(device: torch.device, *shape: int, seed: int = 0) -> Tensor:
    """Normal random values, the same at each call; `meta` has shapes only."""
    if device.type == "meta":
        return torch.empty(shape, device=device)
    return torch.randn(shape, generator=torch.Generator(device).manual_seed(seed), device=device)


def _masks(device: torch.device, *shape: int) -> Tensor:
    """Smooth mask logits (..., height, width), as the mask decoder's."""
    height, width = shape[-2:]
    coarse = _randn(device, *shape[:-2], max(2, height // 8), max(2, width // 8)) * 4
    return F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)


def _token_inputs(sizes: Sizes, has_bias: bool, batch: int, device: torch.device) -> Tensors:
    d, keys = sizes.width // sizes.heads, 1 + sizes.patches
    inside = _randn(device, batch, sizes.masks, keys) > 0.5
    inputs: Tensors = {
        "query": _randn(device, batch, sizes.masks, sizes.heads, d).transpose(1, 2),
        "key": _randn(device, batch, keys, sizes.heads, d, seed=1).transpose(1, 2),
        "value": _randn(device, batch, keys, sizes.heads, d, seed=2).transpose(1, 2),
        "mask": inside,
    }
    return {**inputs, "bias": _randn(device, batch, sizes.heads, sizes.masks, keys)} if has_bias else inputs


def _packed(inputs: Tensors, implementation: str) -> Tensors:
    return {**inputs, "mask": pack_attend_mask(inputs["mask"], implementation)}


def _tokens(inputs: Tensors, implementation: str) -> Tensor:
    query, key, value, mask = (inputs[name] for name in ("query", "key", "value", "mask"))
    return masked_attention(query, key, value, mask, inputs.get("bias"), implementation)


def _decoder_inputs(sizes: Sizes, keys: int, batch: int, device: torch.device) -> Tensors:
    heads, width = sizes.decoder_heads, sizes.decoder_width
    shape = (batch, keys, heads, width // heads)
    return {
        "query": _randn(device, batch, sizes.masks, *shape[2:]).transpose(1, 2),
        "key": _randn(device, *shape, seed=1).transpose(1, 2),
        "value": _randn(device, *shape, seed=2).transpose(1, 2),
        # Of signs, so that the masks are the same in every precision.
        "embedding": _randn(device, batch, sizes.masks, width, seed=3).sign(),
        "features": _randn(device, batch, width, keys, seed=4).sign(),
    }


def _decoder(inputs: Tensors, implementation: str) -> Tensor:
    mask = predicted_attend_mask(inputs["embedding"], inputs["features"], implementation)
    query, key, value = (inputs[name] for name in ("query", "key", "value"))
    return masked_attention(query, key, value, mask, None, implementation, "everywhere")


def _score_inputs(sizes: Sizes, batch: int, device: torch.device) -> Tensors:
    width, patch = sizes.width, sizes.patch
    return {
        "masks": _masks(device, batch, sizes.masks, sizes.resolution, sizes.resolution),
        "patch_weight": _randn(device, width, 1, patch, patch) * (2 / patch**2) ** 0.5,
        "patch_bias": _randn(device, width, seed=2) * 0.1,
        "norm_weight": 1 + 0.1 * _randn(device, width),
        "norm_bias": 0.1 * _randn(device, width, seed=1),
        "relative_key": _randn(device, batch, sizes.heads, sizes.patches, width // sizes.heads),
    }


def _scores(inputs: Tensors, implementation: str) -> Tensor:
    masks, weight, bias, norm_weight, norm_bias, key, *root = inputs.values()
    arguments = (masks, weight, bias, norm_weight, norm_bias, 1e-5, key, implementation)
    scale = key.shape[-1] ** -0.5 / 2
    return relative_scores(*arguments, scale=scale, class_token=True, dtype=key.dtype, root=root[0] if root else None)


def _with_root(inputs: Tensors, implementation: str) -> Tensors:
    """With what the model keeps between images in inference."""
    if torch.is_grad_enabled() or implementation != "triton":
        return inputs
    return {**inputs, "root": variance_root(inputs["patch_weight"], inputs["patch_bias"])}


def _refinement_inputs(sizes: Sizes, batch: int, device: torch.device) -> Tensors:
    width, area = sizes.width, sizes.patch**2
    return {
        "masks": _masks(device, batch, sizes.masks, sizes.resolution, sizes.resolution),
        "query": _randn(device, batch, sizes.masks, width) / 8,
        "key": _randn(device, batch, sizes.patches, width, seed=1),
        "weight": _randn(device, area, width) * (2 / width) ** 0.5,
        "bias": _randn(device, area) * 0.1,
    }


def _refinement(inputs: Tensors, implementation: str) -> tuple[Tensor, ...]:
    masks, query, key, weight, bias = inputs.values()
    return mask_refinement_with_maxima(masks, query, key, weight, bias, implementation)


def _deformable_inputs(sizes: Sizes, batch: int, device: torch.device) -> Tensors:
    heads, num_levels, points = sizes.decoder_heads, len(sizes.levels), sizes.points
    positions = sum(height * width for height, width in sizes.levels)
    centers = torch.cat([_centers(height, width) for height, width in sizes.levels]).to(device)
    pixel = torch.tensor([(1 / width, 1 / height) for height, width in sizes.levels], device=device)
    offsets = 3 * _randn(device, batch, positions, heads, num_levels, points, 2) * pixel[:, None]
    weights = _randn(device, batch, positions, heads, num_levels * points).softmax(-1)
    return {
        "value": _randn(device, batch, positions, heads, sizes.decoder_width // heads),
        "levels": sizes.levels,
        "locations": centers[:, None, None, None] + offsets,
        "weights": weights.unflatten(-1, (num_levels, points)),
    }


def _centers(height: int, width: int) -> Tensor:
    """(h * w, 2), (x, y) in [0, 1] of the pixels of a level."""
    y, x = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
    return torch.stack([x, y], -1).flatten(0, 1)


def _deformable(inputs: Tensors, implementation: str) -> Tensor:
    value, levels, locations, weights = inputs.values()
    return ms_deform_attn(value, levels, locations, weights, implementation)


def _semantic_inputs(sizes: Sizes, number: int, batch: int, device: torch.device) -> Tensors:
    return {
        "masks": _masks(device, batch, sizes.masks, *sizes.low_hw),
        "weights": (3 * _randn(device, batch, sizes.masks, number)).softmax(-1),
    }


def _semantic(sizes: Sizes, inputs: Tensors, implementation: str) -> tuple[Tensor, ...]:
    """Labels and scores of each image, one after another as in the model."""
    padded_hw, image_hw, output_hw = sizes.frame
    found = []
    for masks, weights in zip(inputs["masks"], inputs["weights"], strict=True):
        views = [WeightedMasks(masks, (weights,), padded_hw, image_hw)]
        found += semantic_labels(views, output_hw, implementation=implementation)[0]
    return tuple(found)


def _panoptic_inputs(sizes: Sizes, batch: int, device: torch.device) -> Tensors:
    masks = _masks(device, batch, sizes.masks, *sizes.low_hw)
    return {"masks": masks, "scores": _randn(device, batch, sizes.masks).sigmoid()}


def _panoptic(sizes: Sizes, inputs: Tensors, implementation: str) -> tuple[Tensor, ...]:
    """Winners of each image, one after another as in the model."""
    pairs = zip(inputs["scores"], inputs["masks"], strict=True)
    return tuple(panoptic_winners(one, OutputMasks(masks, *sizes.frame), implementation)[0] for one, masks in pairs)
