import pytest
import torch

from masqclip_d2.ops.relative_scores import fast, relative_scores, variance_root

SIZES = [  # B, Q, R, p, N, d
    pytest.param((2, 3, 12, 4, 2, 8), id="small"),
    pytest.param((1, 5, 15, 3, 3, 7), id="odd"),
    pytest.param((1, 2, 16, 8, 2, 4), id="more pixels than channels"),
    pytest.param((1, 1, 4, 4, 1, 16), id="one patch"),
]
ARGUMENTS = ("mask_logits", "patch_weight", "patch_bias", "norm_weight", "norm_bias", "relative_key")


def random_inputs(size):
    batch, masks, side, patch, heads, head_width = size
    width = heads * head_width
    tensors = [
        torch.randn(batch, masks, side, side),
        torch.randn(width, 1, patch, patch) / patch,
        torch.rand(width),
        torch.randn(width),
        torch.randn(width),
        torch.randn(batch, (side // patch) ** 2, heads, head_width).transpose(1, 2),
    ]
    tensors = [tensor.requires_grad_() for tensor in tensors]
    return [*tensors[:5], 1e-5, tensors[5]], tensors


def test_reference_by_hand():
    # One patch of one pixel with tanh 0.75, D = 2: tokens (4, -4) * 0.75 + (0, 2) = (3, -1), normalized (1, -1).
    mask = torch.full((1, 1, 1, 1), 0.75).atanh()
    weight, bias = torch.tensor([4.0, -4.0]).reshape(2, 1, 1, 1), torch.tensor([0.0, 2.0])
    key = torch.tensor([5.0, 7.0]).reshape(1, 1, 1, 2)
    gamma, beta = torch.tensor([2.0, 1.0]), torch.tensor([0.5, 0.0])
    # (2 + 0.5) * 5 - 7
    result = relative_scores(mask, weight, bias, gamma, beta, 0.0, key, implementation="reference")
    torch.testing.assert_close(result, torch.tensor(5.5).reshape(1, 1, 1, 1))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tile_elements", [1, 4_000_000], ids=["one mask a tile", "one tile"])
def test_torch_implementation_equals_reference_with_gradients(size, tile_elements, monkeypatch):
    monkeypatch.setattr(fast, "_TILE_ELEMENTS", tile_elements)
    torch.manual_seed(0)
    arguments, tensors = random_inputs(size)
    results, gradients = [], []
    for implementation in ("torch", "reference"):
        results.append(relative_scores(*arguments, implementation=implementation))
        gradients.append(
            torch.autograd.grad(
                (results[-1] * torch.arange(results[-1].numel()).view_as(results[-1]).cos()).sum(), tensors
            )
        )
    torch.testing.assert_close(results[0], results[1], atol=2e-5, rtol=1e-5)
    for name, ours, expected in zip(ARGUMENTS, *gradients, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def test_same_values_without_gradients():
    arguments, _ = random_inputs((2, 3, 12, 4, 2, 8))
    with torch.inference_mode():
        result = relative_scores(*arguments)
    torch.testing.assert_close(result, relative_scores(*arguments), atol=0, rtol=0)


@pytest.mark.parametrize("implementation", ["torch", "reference"])
def test_no_masks(implementation):
    arguments, _ = random_inputs((2, 0, 12, 4, 2, 8))
    assert relative_scores(*arguments, implementation=implementation).shape == (2, 2, 0, 9)


def test_bfloat16_inputs_are_computed_in_float32():
    arguments, _ = random_inputs((1, 2, 12, 4, 2, 8))
    low = [tensor.bfloat16() if torch.is_tensor(tensor) else tensor for tensor in arguments]
    result = relative_scores(*low)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, relative_scores(*low, implementation="reference"), atol=2e-5, rtol=1e-5)


def test_shapes_that_do_not_fit_are_named():
    arguments, _ = random_inputs((1, 2, 12, 4, 2, 8))
    with pytest.raises(ValueError, match="do not fit"):
        relative_scores(*arguments[:6], arguments[6][..., :4])
    with pytest.raises(ValueError, match="12 x 12 pixels is not made of as many patches of 4 x 4 .* has, 4"):
        relative_scores(*arguments[:6], arguments[6][:, :, :4])
    with pytest.raises(ValueError, match="14 x 14 pixels is not made of"):  # 3 whole patches and a rest
        relative_scores(torch.randn(1, 2, 14, 14), *arguments[1:])


@pytest.mark.parametrize("implementation", ["torch", "reference"])
def test_scale_class_token_and_dtype(implementation):
    arguments, _ = random_inputs((1, 2, 12, 4, 2, 8))
    plain = relative_scores(*arguments, implementation=implementation)
    options = {"scale": 0.25, "class_token": True, "dtype": torch.bfloat16}
    found = relative_scores(*arguments, implementation=implementation, **options)
    assert found.dtype == torch.bfloat16 and found.shape == (1, 2, 2, 10) and not found[..., 0].any()
    assert torch.equal(found[..., 1:], (plain * 0.25).bfloat16())


def test_variance_root():
    arguments, _ = random_inputs((1, 2, 12, 4, 2, 8))
    weight, bias = arguments[1].detach(), arguments[2].detach()
    root = variance_root(weight, bias)
    pixels = torch.cat([torch.randn(5, 16), torch.ones(5, 1)], dim=1)
    tokens = pixels[:, :-1] @ weight.flatten(1).T + bias
    torch.testing.assert_close((pixels @ root).square().sum(1), tokens.var(dim=1, correction=0))
    assert root.shape == (17, 16)
