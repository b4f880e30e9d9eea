import pytest
import torch

from masqclip_d2.ops.mask_refinement import mask_refinement, mask_refinement_with_maxima, patch_maxima
from tests.ops.interpreted.checks import compare


def random_inputs(batch=2, masks=7, rows=2, columns=3, patch=3, width=10):
    torch.manual_seed(0)
    shapes = (
        (batch, masks, rows * patch, columns * patch), (batch, masks, width), (batch, rows * columns, width),
        (patch**2, width), (patch**2,),
    )  # fmt: skip
    return [torch.randn(shape) for shape in shapes]


def compute(implementation):
    return lambda *tensors: mask_refinement(*tensors, implementation)


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"masks": 5, "batch": 1, "rows": 5, "columns": 7, "patch": 14, "width": 40},  # parts of 256 pixels
        {"masks": 1, "batch": 1, "rows": 1, "columns": 1, "patch": 1, "width": 1},
        {"masks": 0},
        {"batch": 0},
    ],
    ids=str,
)
def test_equals_the_reference(sizes):
    compare(compute("triton"), compute("reference"), random_inputs(**sizes))


@pytest.mark.parametrize(("patch", "rows"), [(3, 2), (14, 1)])
def test_maxima_are_those_of_the_refined_patches(patch, rows):
    masks, *others = random_inputs(batch=2, masks=3, rows=rows, columns=2, patch=patch)
    masks[0, 1, 2, patch + 1] = torch.nan  # a patch with a NaN
    masks[1, 2] = -torch.inf
    refined, maxima = mask_refinement_with_maxima(masks, *others, "triton")
    torch.testing.assert_close(maxima, patch_maxima(refined, patch), rtol=0, atol=0, equal_nan=True)
    assert maxima.isnan().sum() == 1 and maxima[1, 2].isneginf().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(dtype):
    compare(compute("triton"), compute("reference"), random_inputs(), dtype)


def test_masks_stay_in_float32_under_autocast():
    inputs = [tensor.requires_grad_() for tensor in random_inputs()]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected, found = (mask_refinement(*inputs, implementation) for implementation in ("torch", "triton"))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0.05)
    for gradient, tensor in zip(torch.autograd.grad(found.sum(), inputs), inputs, strict=True):
        assert gradient.dtype == tensor.dtype and torch.isfinite(gradient).all()


def test_masks_that_are_not_contiguous():
    masks, *others = random_inputs()
    strided = masks.transpose(2, 3).contiguous().transpose(2, 3)
    assert torch.equal(mask_refinement(strided, *others, "triton"), mask_refinement(masks, *others, "triton"))


def test_the_operator_is_registered_completely():
    leaves = [tensor.requires_grad_() for tensor in random_inputs(masks=2, width=4)]
    torch.library.opcheck(torch.ops.masqclip.mask_refinement.default, tuple(leaves))


class Refinement(torch.nn.Module):
    def forward(self, *tensors):
        return mask_refinement(*tensors, "triton") * 2


def test_export_with_any_number_of_masks_and_compile():
    inputs, more = tuple(random_inputs(masks=3)), tuple(random_inputs(masks=9))
    masks = torch.export.Dim("masks", min=2, max=500)
    exported = torch.export.export(Refinement(), inputs, dynamic_shapes=[({1: masks}, {1: masks}, None, None, None)])
    torch.testing.assert_close(exported.module()(*more), Refinement()(*more))
    compiled = torch.compile(Refinement(), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), Refinement()(*inputs))
