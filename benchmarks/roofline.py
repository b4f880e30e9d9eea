#!/usr/bin/env python
"""The least time that each op can take on a GPU, on paper, beside what plain PyTorch moves and launches.

    python benchmarks/roofline.py                                       # one image of 1024 x 1024 pixels
    python benchmarks/roofline.py --bandwidth 2.0 --half 312 --float32 19.5

Floor: each input read once, the output written once, and the matrix products at the rate of their dtype; the larger of
both times. Plain PyTorch: the bytes that the operations of the torch implementation read and write, a lower bound of
its time; and how many there are, about one launch each. Nothing is computed: tensors are on the meta device.
`benchmarks/gpu.py` measures the same cases, and its percentages are of the same floors with measured rates.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.op_cases import REAL, OpCase, op_cases

META = torch.device("meta")
# Operations that neither read nor write memory.
_FREE = ("empty", "detach", "alias", "lift_fresh", "_unsafe_view")


@dataclass(frozen=True)
class Rates:
    """Rates of a device: bytes per second, and floating-point operations per second by dtype."""

    bandwidth: float
    half: float
    float32: float

    def products(self, dtype: torch.dtype) -> float:
        """Rate of matrix products; of float32 without TF32."""
        return self.float32 if dtype == torch.float32 else self.half


# Assumed for an H200, not measured by this project: bandwidth and bfloat16 as a large copy and a large product reach
# them, float32 as the data sheet has it.
H200 = Rates(bandwidth=4.3e12, half=790e12, float32=67e12)


@dataclass(frozen=True)
class Floor:
    """The least seconds of a call, and what they are spent on: "bytes" or "products"."""

    seconds: float
    bound: str


def floor(case: OpCase, batch: int, dtype: torch.dtype, rates: Rates) -> Floor:
    """The least time of a case in the forward pass."""
    inputs = case.inputs(batch, dtype, META)
    moved = case.least_bytes(inputs, _meta_outputs(case, inputs)) / rates.bandwidth
    product = case.flops * batch / rates.products(case.products_in(dtype))
    return Floor(max(moved, product), "bytes" if moved >= product else "products")


def floor_with_gradients(case: OpCase, batch: int, dtype: torch.dtype, rates: Rates) -> Floor:
    """The least time of forward and backward pass.

    Beyond the forward pass: inputs and the gradient of the output are read, gradients written; two products for each.
    """
    inputs = case.inputs(batch, dtype, META)
    gradients = case.differentiable(inputs)
    total = 2 * case.least_bytes(inputs, _meta_outputs(case, inputs)) + case.least_bytes(gradients, ())
    moved = total / rates.bandwidth
    product = 3 * case.flops * batch / rates.products(case.products_in(dtype))
    return Floor(max(moved, product), "bytes" if moved >= product else "products")


def _meta_outputs(case: OpCase, inputs: dict) -> tuple[Tensor, ...]:
    with torch.no_grad():
        return case.outputs(inputs, "torch")


class Traffic(TorchDispatchMode):
    """Counts operations that read or write memory, and the bytes of their inputs and outputs.

    Attention by `scaled_dot_product_attention` is one operation, as of a fused kernel, and two that make a mask of
    numbers from one of bool, as it does on CUDA devices.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.bytes = 0, 0
        self._attention = _FusedAttention(self)

    def __enter__(self):
        self._attention.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._attention.__exit__(*error)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        if not function.is_view and not any(free in name for free in _FREE):
            self.add((args, kwargs, result))
        return result

    def add(self, tensors: Any, calls: int = 1) -> None:
        """Count operations on tensors, each tensor once."""
        self.calls += calls
        distinct = {id(x): x for x in tree_leaves(tensors) if isinstance(x, Tensor)}.values()
        self.bytes += sum(x.numel() * x.element_size() for x in distinct)


class _FusedAttention(TorchFunctionMode):
    def __init__(self, traffic: Traffic) -> None:
        super().__init__()
        self._traffic = traffic

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is not F.scaled_dot_product_attention:
            return function(*args, **kwargs)
        query, key, value = args[:3]
        mask = kwargs.get("attn_mask")
        output = query.new_empty((*query.shape[:-1], value.shape[-1]))
        if mask is not None and mask.dtype == torch.bool:
            numbers = query.new_empty(mask.shape)
            self._traffic.add((mask, numbers), calls=2)
            mask = numbers
        self._traffic.add((query, key, value, mask, output))
        return output


def traffic(run: Callable[[], Any]) -> Traffic:
    """Operations and bytes of a call on the meta device, without gradients."""
    with torch.no_grad(), warnings.catch_warnings(), Traffic() as counted:
        warnings.simplefilter("ignore")
        run()
    return counted


def op_rows(rates: Rates, dtype: torch.dtype = torch.bfloat16) -> list[list[str]]:
    """Rows of the table of ops, for all calls of one image."""
    rows = []
    for case in op_cases(REAL):
        least = floor(case, 1, case.dtype(dtype), rates)
        inputs = case.inputs(1, case.dtype(dtype), META)
        plain = traffic(lambda case=case, inputs=inputs: case.compute(inputs, "torch"))
        rows.append([
            f"{case.name} x {case.calls}",
            f"{case.calls * case.least_bytes(inputs, _meta_outputs(case, inputs)) / 1e9:.3f} GB",
            f"{case.calls * case.flops / 1e9:.1f} GFLOP",
            f"{case.calls * least.seconds * 1e6:.1f} us ({least.bound})",
            f"{case.calls * plain.bytes / 1e9:.3f} GB",
            f"{case.calls * plain.bytes / rates.bandwidth * 1e6:.1f} us",
            str(case.calls * plain.calls),
        ])  # fmt: skip
    return rows


def model_rows(rates: Rates) -> list[list[str]]:
    """Rows of the table of networks: a call of each part on one image of 1024 x 1024 pixels, float32."""
    rows = []
    for name, part, arguments in _parts():
        counted = traffic(lambda part=part, arguments=arguments: part(*arguments))
        time = counted.bytes / rates.bandwidth * 1e3
        rows.append([name, f"{counted.bytes / 1e9:.2f} GB", f"{time:.2f} ms", str(counted.calls)])
    return rows


def _parts() -> list[tuple[str, nn.Module, tuple]]:
    """(name, network, arguments) of MasQCLIP's networks, and MaskCLIP's encoder."""
    from detectron2.modeling import build_model

    from masqclip_d2.config import load_config

    clip = ["MODEL.MASQCLIP.CLIP.NAME", "", "MODEL.MASQCLIP.CLIP.ARCHITECTURE", "ViT-L/14@336px"]
    with META:
        models: list[Any] = [
            build_model(load_config(name, ["MODEL.DEVICE", "meta", *clip])).eval()
            for name in ("masqclip_r50", "maskclip_r50")
        ]
    proposer = models[0].proposer
    head = proposer.sem_seg_head
    image = torch.empty(1, 3, 1024, 1024, device=META)
    with torch.no_grad():
        features = proposer.backbone(image)
        mask_features, levels = head.pixel_decoder(features)
    seen = (torch.empty(1, 3, 336, 336, device=META), torch.empty(1, REAL.masks, 336, 336, device=META))
    return [
        ("ResNet-50", proposer.backbone, (image,)),
        ("pixel decoder", head.pixel_decoder, (features,)),
        ("mask decoder", head.predictor, (levels, mask_features)),
        ("CLIP with mask class tokens (MasQCLIP)", models[0].visual_encoder, seen),
        ("CLIP with Relative Mask Attention (MaskCLIP)", models[1].visual_encoder, seen),
    ]


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bandwidth", type=float, default=H200.bandwidth / 1e12, help="TB/s")
    parser.add_argument("--half", type=float, default=H200.half / 1e12, help="TFLOP/s of bfloat16 and float16")
    parser.add_argument("--float32", type=float, default=H200.float32 / 1e12, help="TFLOP/s without TF32")
    args = parser.parse_args()
    rates = Rates(args.bandwidth * 1e12, args.half * 1e12, args.float32 * 1e12)
    print(f"{args.bandwidth} TB/s, {args.half} TFLOP/s in half precision, {args.float32} in float32; torch "
          f"{torch.__version__}\n\nOps of one image, bfloat16 inputs\n")  # fmt: skip
    print(table(["op x calls", "least", "products", "floor", "plain moves", "plain takes at least", "plain calls"],
                op_rows(rates)))  # fmt: skip
    print("\nNetworks, one image, float32, torch implementations\n")
    print(table(["part", "moves", "takes at least", "calls"], model_rows(rates)))


if __name__ == "__main__":
    main()
