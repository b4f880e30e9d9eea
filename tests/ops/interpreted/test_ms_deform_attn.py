import pytest
import torch

from masqclip_d2.ops.ms_deform_attn import ms_deform_attn
from tests.ops.interpreted.checks import compare

LEVELS = [(3, 5), (1, 1), (7, 2)]  # odd sizes, one of a single pixel


def random_inputs(batch=2, queries=9, heads=3, channels=5, points=2):
    torch.manual_seed(0)
    size = sum(height * width for height, width in LEVELS)
    value = torch.randn(heads, size, batch, channels).transpose(0, 2)  # (B, S, N, d), not contiguous
    # Beyond the border on every side.
    locations = torch.rand(batch, queries, heads, len(LEVELS), points, 2) * 1.6 - 0.3
    return value, locations, torch.randn(batch, queries, heads, len(LEVELS), points)


def compute(implementation):
    return lambda value, locations, weights: ms_deform_attn(value, LEVELS, locations, weights, implementation)


@pytest.mark.parametrize(
    "sizes", [{}, {"queries": 35, "channels": 32, "batch": 1, "heads": 2}, {"queries": 0}], ids=str
)
def test_equals_the_reference(sizes):
    compare(compute("triton"), compute("reference"), random_inputs(**sizes), tolerance=1e-4)


def test_no_images():
    value, locations, weights = (tensor.requires_grad_() for tensor in random_inputs(batch=0))
    output = ms_deform_attn(value, LEVELS, locations, weights, "triton")
    assert output.shape == (0, 9, 15)
    assert all(grad.numel() == 0 for grad in torch.autograd.grad(output.sum(), (value, locations, weights)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_values_in_half_precision(dtype):
    """Positions stay in float32, as they do under autocast."""
    value, locations, weights = random_inputs()
    exact = ms_deform_attn(value, LEVELS, locations, weights, "reference")
    found = ms_deform_attn(value.to(dtype), LEVELS, locations, weights, "triton")
    rounded = ms_deform_attn(value.to(dtype).float(), LEVELS, locations, weights, "reference").to(dtype)
    assert found.dtype == dtype
    assert (found.float() - exact).abs().max() <= 2 * (rounded.float() - exact).abs().max()


def test_the_operator_is_registered_completely():
    leaves = [tensor.clone().requires_grad_() for tensor in random_inputs(queries=3, points=1)]
    sides = [side for hw in LEVELS for side in hw]
    torch.library.opcheck(torch.ops.masqclip.ms_deform_attn.default, (leaves[0], sides, *leaves[1:]))


class Sampling(torch.nn.Module):
    def forward(self, value, locations, weights):
        return ms_deform_attn(value, LEVELS, locations, weights, "triton") * 2


def test_export_with_any_number_of_queries_and_compile():
    inputs = random_inputs(queries=3)
    queries = torch.export.Dim("queries", min=2, max=500)
    exported = torch.export.export(Sampling(), inputs, dynamic_shapes=(None, {1: queries}, {1: queries}))
    more = random_inputs(queries=9)
    torch.testing.assert_close(exported.module()(*more), Sampling()(*more))
    compiled = torch.compile(Sampling(), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), Sampling()(*inputs))


def test_deterministic_algorithms_are_another_implementation():
    value, locations, weights = random_inputs()
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(ValueError, match="ms_deform_attn cannot use it: deterministic algorithms are on"):
            ms_deform_attn(value.requires_grad_(), LEVELS, locations, weights, "triton")
    finally:
        torch.use_deterministic_algorithms(False)
