import pytest
import torch

from masqclip_d2.ops.mask_refinement import fast, mask_refinement


def random_inputs(batch=2, masks=5, patches=6, width=8, pixels=9):
    """Masks of two rows of patches."""
    side = round(pixels**0.5)
    mask_hw = (2 * side, patches // 2 * side)
    shapes = ((batch, masks, *mask_hw), (batch, masks, width), (batch, patches, width), (pixels, width), (pixels,))
    return [torch.randn(shape).requires_grad_() for shape in shapes]


def test_reference_by_hand():
    query, key = torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[0.5, 9.0], [-0.5, 9.0]]])
    weight = torch.tensor([[10.0, 1.0], [0.0, 1.0], [-1.0, 0.0], [0.0, 0.0]])
    bias = torch.tensor([1.0, 2.0, 0.0, 3.0])
    mask_logits = torch.tensor([[[[0.0, 0.0, 100.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]])  # two patches of 2 x 2 side by side
    left, right = torch.sigmoid(torch.tensor([1.702, -1.702])) * torch.tensor([1.0, -1.0])  # other channel: 0
    expected = torch.tensor([[[[10 * left + 1, 2.0, 100 + 10 * right + 1, 2.0], [-left, 3.0, -right, 3.0]]]])
    result = mask_refinement(mask_logits, query, key, weight, bias, implementation="reference")
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("tile_elements", [1, 100, 600_000], ids=["one mask a tile", "two masks", "one tile"])
def test_torch_implementation_equals_reference_with_gradients(tile_elements, monkeypatch):
    monkeypatch.setitem(fast._TILE_ELEMENTS, "cpu", tile_elements)
    torch.manual_seed(0)
    inputs = random_inputs()
    weight = torch.randn(2, 5, 6, 9)  # of the sum that is differentiated
    results = [mask_refinement(*inputs, implementation=implementation) for implementation in ("torch", "reference")]
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-5)
    gradients = [torch.autograd.grad((result * weight).sum(), inputs) for result in results]
    for ours, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected, atol=2e-5, rtol=1e-4)


def test_autocast_makes_products_in_bfloat16_and_masks_in_float32():
    inputs = random_inputs()
    exact = mask_refinement(*inputs, implementation="reference")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = mask_refinement(*inputs)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, exact, atol=0.3, rtol=0.05)
    assert not torch.equal(result, mask_refinement(*inputs))
    for gradient, tensor in zip(torch.autograd.grad(result.sum(), inputs), inputs, strict=True):
        assert gradient.dtype == tensor.dtype and torch.isfinite(gradient).all()


@pytest.mark.parametrize("implementation", ["torch", "reference"])
def test_no_masks(implementation):
    assert mask_refinement(*random_inputs(masks=0), implementation=implementation).shape == (2, 0, 6, 9)


def test_input_masks_are_not_changed():
    mask_logits, *others = (tensor.detach() for tensor in random_inputs())
    before = mask_logits.clone()
    assert not torch.equal(mask_refinement(mask_logits, *others), before)
    assert torch.equal(mask_logits, before)
    strided = mask_logits.transpose(2, 3).contiguous().transpose(2, 3)
    assert torch.equal(mask_refinement(strided, *others), mask_refinement(mask_logits, *others))


def test_shapes_that_do_not_fit_are_named():
    masks, query, key, weight, bias = random_inputs()
    with pytest.raises(ValueError, match="do not fit"):
        mask_refinement(masks, query[:1], key, weight, bias)
    with pytest.raises(ValueError, match=r"weight must be \(p \* p, D\) = \(9, 8\), got \(9, 4\)"):
        mask_refinement(masks, query, key, weight[:, :4], bias)
    with pytest.raises(ValueError, match=r"mask_logits \(2, 5, 6, 6\) do not fit 5 masks of 6 patches of 9 pixels"):
        mask_refinement(masks[..., :6], query, key, weight, bias)
    with pytest.raises(ValueError, match="8 pixels"):
        mask_refinement(masks, query, key, weight[:8], bias[:8])
