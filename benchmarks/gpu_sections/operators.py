"""Section 3: time and memory of each op, and how near it is to its floor.

Time is the median of CUDA events after a warm-up, with caches flushed before each call. Percent: of the floor of
`benchmarks/roofline.py`, with the rates of section 1, over the time. Rows come in the order of their worth, so that a
run that is cut short has the important ones.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend

from benchmarks.op_cases import OpCase, Tensors, op_cases
from benchmarks.roofline import META, floor, floor_with_gradients
from masqclip_d2.ops.masked_attention import predicted_attend_mask

from .machine import rates_of
from .report import Report, Skip
from .settings import Settings

TITLE = "Ops: time, memory, percent of the floor"
COLUMNS = {"ms": "{:.4f}", "floor ms": "{:.4f}", "bound": "{}", "percent": "{:.1f}", "MB": "{:.1f}", "note": "{}"}
KERNELS, PLAIN, REFERENCE = "kernels", "plain torch", "reference"
IMPLEMENTATIONS = {KERNELS: "triton", PLAIN: "torch", REFERENCE: "reference"}


def measure(report: Report, settings: Settings) -> None:
    """Passes over all cases, the most important first."""
    bfloat16, float32 = torch.bfloat16, torch.float32
    first, *others = settings.batches
    passes = [
        *((batch, bfloat16, name) for batch in settings.batches for name in (KERNELS, PLAIN, REFERENCE)),
        *((batch, bfloat16, f"{name}, with gradients") for batch in settings.batches for name in (KERNELS, PLAIN)),
        *((first, float32, name) for name in (KERNELS, PLAIN)),
        *((batch, bfloat16, name) for batch in settings.batches for name in ("SDPA", "FlexAttention")),
        *((batch, bfloat16, "torch.compile") for batch in (first, *others)),
    ]
    for batch, dtype, variant in passes:
        for case in op_cases(settings.sizes):
            if variant in ("SDPA", "FlexAttention") and not case.is_attention:
                continue
            if variant.endswith("gradients") and not case.differentiable(case.inputs(1, dtype, META)):
                continue
            # An op of one dtype has the same row in two passes, and is measured in the first.
            its_dtype = case.dtype(dtype)
            name = f"{case.name}, batch {batch}, {str(its_dtype)[6:]}, {variant}"
            report.row(name, partial(_row, report, settings, case, batch, its_dtype, variant))


def _row(report: Report, settings: Settings, case: OpCase, batch: int, dtype: torch.dtype, variant: str) -> dict:
    settings.release_cached()
    if variant.startswith(KERNELS):
        settings.require_kernels()
    if variant == REFERENCE:
        settings.require_memory(1.25 * case.reference_bytes, "the reference")
    inputs = case.inputs(batch, dtype, settings.device)
    with_gradients = variant.endswith("with gradients")
    note = ""
    if with_gradients:
        run = _gradients(case, inputs, IMPLEMENTATIONS[variant.split(",")[0]])
        seconds, memory = settings.time(run)
    else:
        with torch.no_grad():
            run, note = _forward(settings, case, inputs, variant)
            seconds, memory = settings.time(run)
    least = (floor_with_gradients if with_gradients else floor)(case, batch, dtype, rates_of(report))
    return {
        "ms": seconds * 1e3,
        "floor ms": least.seconds * 1e3,
        "bound": least.bound,
        "percent": 100 * least.seconds / seconds,
        "MB": memory / 1e6,
        "note": note,
    }


def _forward(settings: Settings, case: OpCase, inputs: Tensors, variant: str) -> tuple[Callable[[], Any], str]:
    """A call without gradients, and a remark."""
    if variant in IMPLEMENTATIONS:
        prepared = case.prepare(inputs, IMPLEMENTATIONS[variant])
        return lambda: case.compute(prepared, IMPLEMENTATIONS[variant]), ""
    if variant == "torch.compile":
        if case.has_loops:
            raise Skip("plain PyTorch loops over parts of the image, which would be unrolled")
        compiled = settings.compiled(lambda tensors: case.compute(tensors, "torch"))
        return lambda: compiled(inputs), ""
    query, key, value, mask = (*(inputs[name] for name in ("query", "key", "value")), _mask_of(inputs))
    bias = inputs.get("bias")
    if variant == "SDPA":
        added = mask[:, None] if bias is None else bias.to(query.dtype).masked_fill(~mask[:, None], -torch.inf)
        note = f"backend {_sdpa_backend(query, key, value, added)}; the mask is given"
        return lambda: F.scaled_dot_product_attention(query, key, value, attn_mask=added), note
    return _flex_attention(settings, query, key, value, mask, bias), "the block mask is given"


def _mask_of(inputs: Tensors) -> torch.Tensor:
    """(B, Q, L) bool, with at least one key for each query."""
    mask: Any = inputs.get("mask")
    if mask is None:
        mask = predicted_attend_mask(inputs["embedding"], inputs["features"], "torch")
    mask = mask.clone()
    mask[..., 0] = True
    return mask


def _sdpa_backend(query, key, value, mask) -> str:
    """Name of the backend that SDPA selects."""
    choose: Any = getattr(torch, "_fused_sdp_choice", None)  # the same choice; there is no public function for it
    if choose is None:
        return "unknown"
    backends: Any = SDPBackend.__members__
    names = {getattr(backend, "value", backend): name for name, backend in backends.items()}
    return names.get(choose(query, key, value, attn_mask=mask), "unknown")


def _flex_attention(settings: Settings, query, key, value, mask, bias) -> Callable[[], Any]:
    """FlexAttention, compiled on a GPU; elsewhere its plain form."""
    try:
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention
    except ImportError:
        raise Skip("this torch has no FlexAttention") from None
    batch, queries, keys = mask.shape

    def may_attend(b, h, q, k):
        return mask[b, q, k]

    def biased(score, b, h, q, k):
        return score + bias[b, h, q, k]

    blocks = create_block_mask(may_attend, batch, None, queries, keys, device=str(query.device))
    compute = settings.compiled(flex_attention) if settings.on_gpu else flex_attention
    score_mod = None if bias is None else biased
    return lambda: compute(query, key, value, score_mod=score_mod, block_mask=blocks)


def _gradients(case: OpCase, inputs: Tensors, implementation: str) -> Callable[[], Any]:
    """Forward and backward pass."""
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in case.differentiable(inputs).items()}
    prepared = case.prepare({**inputs, **leaves}, implementation)
    with torch.no_grad():
        weight = torch.ones_like(case.outputs(prepared, implementation)[0])
    return lambda: torch.autograd.grad(case.outputs(prepared, implementation)[0], list(leaves.values()), weight)
