"""Comparisons of kernels with the references in float32."""

import torch


def compare(compute, reference, inputs, dtype=torch.float32, tolerance=2e-5):
    """Outputs and gradients of `compute` against those of `reference`, both functions of `inputs`.

    float32: to `tolerance`, relative to the largest value. Half precision: the error against the float32 reference is
    at most twice that of the reference which gets and returns half precision, plus two roundings of the largest value.

    Args:
        inputs: tensors; those that are float get gradients.
    """
    exact_inputs = [_leaf(tensor, torch.float32) for tensor in inputs]
    exact = _output_and_gradients(reference, exact_inputs)
    found = _output_and_gradients(compute, [_leaf(tensor, dtype) for tensor in inputs])
    rounded = None
    if dtype != torch.float32:
        rounded = _output_and_gradients(reference, [_leaf(tensor, dtype) for tensor in inputs])
    for index, (result, expected) in enumerate(zip(found, exact, strict=True)):
        assert result.shape == expected.shape and torch.isfinite(result).all(), index
        scale = expected.abs().max() if expected.numel() else torch.tensor(0.0)
        allowed = tolerance * max(1.0, float(scale))
        if rounded is not None:
            error = (rounded[index].float() - expected).abs().max() if expected.numel() else 0.0
            allowed = 2 * float(error) + 2 * float(scale) * torch.finfo(dtype).eps
        if result.numel():
            error = float((result.float() - expected).abs().max())
            assert error <= allowed, f"result {index}: error {error:.2e}, allowed {allowed:.2e}"


def _leaf(tensor, dtype):
    if not tensor.is_floating_point():
        return tensor
    # Keeps the strides, so that inputs that are not contiguous stay so.
    return tensor.detach().to(dtype).requires_grad_()


def _output_and_gradients(compute, inputs):
    torch.manual_seed(1)
    output = compute(*inputs)
    leaves = [tensor for tensor in inputs if tensor.is_floating_point()]
    weight = torch.randn(output.shape).to(output.dtype)
    gradients = torch.autograd.grad((output * weight).sum(), leaves, allow_unused=True)
    assert all(gradient is not None for gradient in gradients)
    return [output.detach(), *gradients]
