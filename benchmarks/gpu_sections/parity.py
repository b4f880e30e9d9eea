"""Section 2: kernels and plain PyTorch against the references in float32, outputs and gradients.

The error of a result is its largest difference to the reference of float32 inputs, over the largest value of the
reference. In half precision the reference with half-precision inputs and output has an error too, and a kernel may have
twice that and two roundings more, as in tests/ops. The error of labels is the share of those that differ.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.op_cases import OpCase, op_cases

from .report import Report
from .settings import Settings

TITLE = "Parity with the references in float32"
COLUMNS = {
    "kernels": "{:.1e}",
    "allowed": "{:.1e}",
    "reference in this dtype": "{:.1e}",
    "plain torch": "{:.1e}",
    "worst result": "{}",
}
_FLOAT32_TOLERANCE = 1e-4  # sums of up to 57,600 terms in another order


def measure(report: Report, settings: Settings) -> None:
    """One row per case and dtype; the tiny form has one of the two half precisions."""
    # Convolutions in TF32 would be no reference.
    torch.backends.cudnn.allow_tf32 = False
    for case in op_cases(settings.sizes):
        for dtype in case.dtypes:
            if settings.tiny and dtype == torch.float16:
                continue
            report.row(f"{case.name}, {str(dtype)[6:]}", lambda case=case, dtype=dtype: compare(case, dtype, settings))
            settings.release_cached()
    torch.backends.cudnn.allow_tf32 = True


def compare(case: OpCase, dtype: torch.dtype, settings: Settings) -> dict:
    """Errors of the kernels' worst result, and of the same result by other implementations.

    The worst result is the one whose error is the largest part of what is allowed; "failure" is set if it is more.
    """
    settings.require_kernels()
    settings.require_memory(1.25 * case.reference_bytes, "the reference")
    exact = _results(case, torch.float32, settings, "reference")
    errors = {name: _errors(_results(case, dtype, settings, name), exact) for name in ("triton", "torch", "reference")}
    rounding = torch.finfo(dtype).eps
    allowed = {
        name: _FLOAT32_TOLERANCE if dtype == torch.float32 else 2 * error + 2 * rounding
        for name, error in errors["reference"].items()
    }
    worst = max(allowed, key=lambda name: _ordered(errors["triton"][name] / allowed[name]))
    values = {
        "kernels": errors["triton"][worst],
        "allowed": allowed[worst],
        "reference in this dtype": errors["reference"][worst],
        "plain torch": errors["torch"][worst],
        "worst result": worst,
        "all": errors,
    }
    if not errors["triton"][worst] <= allowed[worst]:  # NaN too
        values["failure"] = f"the error of {worst} is larger than allowed"
    return values


def _ordered(ratio: float) -> float:
    return float("inf") if ratio != ratio else ratio


def _results(case: OpCase, dtype: torch.dtype, settings: Settings, implementation: str) -> dict[str, Tensor]:
    """Outputs and gradients of two images, in the tiny form of one; float numbers are float32."""
    inputs = case.inputs(1 if settings.tiny else 2, dtype, settings.device)
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in case.differentiable(inputs).items()}
    outputs = case.outputs(case.prepare({**inputs, **leaves}, implementation), implementation)
    found = {f"output {index}": tensor.detach() for index, tensor in enumerate(outputs)}
    if leaves:
        output = outputs[0]
        generator = torch.Generator(settings.device).manual_seed(1)
        weight = torch.randn(output.shape, generator=generator, device=settings.device).to(output.dtype)
        gradients = torch.autograd.grad((output * weight).sum(), list(leaves.values()))
        found |= {f"gradient of {name}": tensor for name, tensor in zip(leaves, gradients, strict=True)}
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in found.items()}


def _errors(found: dict[str, Tensor], exact: dict[str, Tensor]) -> dict[str, float]:
    return {name: _error(found[name], tensor) for name, tensor in exact.items()}


def _error(found: Tensor, exact: Tensor) -> float:
    if not exact.is_floating_point():
        return (found != exact).float().mean().item()
    return ((found - exact).abs().max() / exact.abs().max().clamp(min=1e-30)).item()
