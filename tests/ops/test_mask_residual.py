import pytest
import torch

from masqclip_d2.ops.mask_residual import fast, mask_residual


def random_inputs(batch=2, masks=5, patches=6, width=8, pixels=9):
    shapes = ((batch, masks, width), (batch, patches, width), (pixels, width), (pixels,))
    return [torch.randn(shape).requires_grad_() for shape in shapes]


def test_reference_by_hand():
    query, key = torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[0.5, 9.0]]])
    weight, bias = torch.tensor([[10.0, 1.0], [0.0, 1.0]]), torch.tensor([1.0, 2.0])
    gelu_of_one = torch.sigmoid(torch.tensor(1.702))  # 1 * sigmoid(1.702 * 1); the other channel gives 0
    expected = torch.stack([10 * gelu_of_one + 1, torch.tensor(2.0)]).reshape(1, 1, 1, 2)
    torch.testing.assert_close(mask_residual(query, key, weight, bias, implementation="reference"), expected)


@pytest.mark.parametrize("tile_elements", [1, 100, 600_000], ids=["one mask a tile", "two masks", "one tile"])
def test_fast_form_equals_reference_with_gradients(tile_elements, monkeypatch):
    monkeypatch.setitem(fast._TILE_ELEMENTS, "cpu", tile_elements)
    torch.manual_seed(0)
    inputs = random_inputs()
    weight = torch.randn(2, 5, 6, 9)
    results = [mask_residual(*inputs, implementation=form) for form in ("torch", "reference")]
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-5)
    gradients = [torch.autograd.grad((result * weight).sum(), inputs) for result in results]
    for ours, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected, atol=2e-5, rtol=1e-4)


def test_autocast_makes_products_in_bfloat16_and_masks_in_float32():
    inputs = random_inputs()
    exact = mask_residual(*inputs, implementation="reference")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = mask_residual(*inputs)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, exact, atol=0.3, rtol=0.05)
    assert not torch.equal(result, mask_residual(*inputs))
    for gradient, tensor in zip(torch.autograd.grad(result.sum(), inputs), inputs, strict=True):
        assert gradient.dtype == tensor.dtype and torch.isfinite(gradient).all()


@pytest.mark.parametrize("form", ["torch", "reference"])
def test_no_masks(form):
    assert mask_residual(*random_inputs(masks=0), implementation=form).shape == (2, 0, 6, 9)


def test_shapes_that_do_not_fit_are_named():
    query, key, weight, bias = random_inputs()
    with pytest.raises(ValueError, match="do not fit"):
        mask_residual(query[:1], key, weight, bias)
    with pytest.raises(ValueError, match=r"weight must be \(p \* p, D\) = \(9, 8\), got \(9, 4\)"):
        mask_residual(query, key, weight[:, :4], bias)
