import pytest
import torch

from masqclip_d2.ops.relative_scores import relative_scores, variance_root
from tests.ops.interpreted.checks import compare

EPS = 1e-5


def random_inputs(batch=2, masks=7, rows=2, columns=3, patch=3, heads=2, head_width=5):
    torch.manual_seed(0)
    width = heads * head_width
    return [
        3 * torch.randn(batch, masks, rows * patch, columns * patch),
        torch.randn(width, 1, patch, patch) / patch,
        torch.rand(width),
        torch.randn(width),
        torch.randn(width),
        torch.randn(batch, heads, rows * columns, head_width),
    ]


def compute(implementation):
    return lambda *tensors: relative_scores(*tensors[:5], EPS, tensors[5], implementation)


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"batch": 1, "masks": 70, "columns": 1, "patch": 14, "heads": 2, "head_width": 128},  # two tiles of masks
        {"batch": 1, "masks": 1, "rows": 1, "columns": 1, "heads": 1, "head_width": 32},
        {"heads": 3, "head_width": 1},  # fewer channels than pixels
        {"masks": 0},
        {"batch": 0},
    ],
    ids=str,
)
def test_equals_the_reference(sizes):
    compare(compute("triton"), compute("reference"), random_inputs(**sizes), tolerance=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(dtype):
    compare(compute("triton"), compute("reference"), random_inputs(), dtype)


def test_scores_stay_in_float32_under_autocast():
    inputs = random_inputs()
    expected = compute("triton")(*inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(compute("triton")(*inputs), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_scaled_scores_with_a_column_for_the_class_token(dtype):
    def scaled(implementation):
        options = {"scale": 0.25, "class_token": True, "dtype": dtype}
        return lambda *tensors: relative_scores(*tensors[:5], EPS, tensors[5], implementation, **options)

    inputs = random_inputs(masks=5)
    found, expected = scaled("triton")(*inputs), scaled("reference")(*inputs)
    assert found.dtype == dtype and found.shape == (2, 2, 5, 7) and not found[..., 0].any()
    torch.testing.assert_close(found, expected, atol=1e-4 if dtype == torch.float32 else 0.02, rtol=0.01)
    if dtype == torch.float32:
        compare(scaled("triton"), scaled("reference"), inputs, tolerance=1e-4)


def test_a_given_root_is_used():
    inputs = random_inputs()
    arguments = (*inputs[:5], EPS, inputs[5], "triton")
    root = variance_root(*inputs[1:3])
    torch.testing.assert_close(relative_scores(*arguments, root=root), relative_scores(*arguments))
    assert not torch.allclose(relative_scores(*arguments, root=2 * root), relative_scores(*arguments))


def test_a_constant_patch_has_no_negative_variance():
    masks, *others = random_inputs(batch=1)
    weight = torch.ones_like(others[0])  # the variance over channels is that of the bias alone
    arguments = (torch.zeros_like(masks), weight, torch.full_like(others[1], 3.0), *others[2:4], EPS, others[4])
    found, expected = (relative_scores(*arguments, implementation) for implementation in ("triton", "reference"))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_operator_is_registered_completely():
    leaves = [tensor.requires_grad_() for tensor in random_inputs(masks=2)]
    root = variance_root(*leaves[1:3]).detach()
    arguments = (*leaves[:5], EPS, leaves[5], root)
    operator = torch.ops.masqclip.relative_scores.default
    torch.library.opcheck(operator, (*arguments, 0.5, True, torch.bfloat16))
    torch.library.opcheck(
        operator, (*arguments, 1.0, False, torch.float32), test_utils=("test_schema", "test_faketensor")
    )


class Scores(torch.nn.Module):
    def forward(self, *tensors):
        return relative_scores(*tensors[:5], EPS, tensors[5], "triton") * 2


def test_export_with_any_number_of_masks_and_compile():
    inputs, more = tuple(random_inputs(masks=3)), tuple(random_inputs(masks=9))
    masks = torch.export.Dim("masks", min=2, max=500)
    exported = torch.export.export(Scores(), inputs, dynamic_shapes=[({1: masks}, None, None, None, None, None)])
    torch.testing.assert_close(exported.module()(*more), Scores()(*more))
    compiled = torch.compile(Scores(), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), Scores()(*inputs))
