import math

import pytest
import torch

from masqclip_d2.ops.masked_attention import (
    AttendBits,
    masked_attention,
    masked_attention_reference,
    pack_attend_mask,
    predicted_attend_mask,
)

SIZES = [  # B, N, Q, 1 + P, d
    pytest.param((2, 3, 7, 36, 48), id="odd"),
    pytest.param((1, 2, 5, 577, 64), id="336 pixels"),
    pytest.param((2, 1, 1, 2, 8), id="one"),
]


def random_inputs(size, dtype=torch.float32):
    batch, heads, queries, keys, dim = size
    # Non-contiguous on purpose: heads come out of a packed projection.
    query = torch.randn(batch, queries, heads, dim, dtype=dtype).transpose(1, 2).requires_grad_()
    key, value = (torch.randn(batch, keys, heads, dim, dtype=dtype).transpose(1, 2).requires_grad_() for _ in "kv")
    return query, key, value, torch.rand(batch, queries, keys) > 0.5


def test_reference_by_hand():
    query = torch.tensor([[[[2.0, 0.0]]]])  # d = 2, so scores are divided by sqrt(2)
    key = torch.tensor([[[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]]])
    value = torch.tensor([[[[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]]]])
    allowed = torch.tensor([[[True, True, False]]])
    weight = torch.sigmoid(torch.tensor(2 / 2**0.5))  # softmax of two scores
    expected = torch.stack([weight, 1 - weight]).reshape(1, 1, 1, 2)
    torch.testing.assert_close(masked_attention_reference(query, key, value, allowed), expected)


@pytest.mark.parametrize("size", SIZES)
def test_torch_implementation_equals_reference_with_gradients(size):
    inputs = random_inputs(size)
    inputs[3][0, 0] = False
    weight = torch.randn(size[0], size[1], size[2], size[4])
    gradients, outputs = [], []
    for implementation in ("torch", "reference"):
        outputs.append(masked_attention(*inputs, implementation=implementation))
        gradients.append(torch.autograd.grad((outputs[-1] * weight).sum(), inputs[:3]))
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-5, rtol=1e-5)
    for fast, reference in zip(*gradients, strict=True):
        torch.testing.assert_close(fast, reference, atol=2e-5, rtol=1e-4)


def test_bias_by_hand():
    query, key = torch.zeros(1, 2, 1, 2), torch.zeros(1, 2, 3, 2)  # all scores are 0 but for the bias
    value = torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]]).expand(1, 2, 3, 2)
    allowed = torch.tensor([[[True, True, False]]])
    bias = torch.tensor([[[math.log(3.0), 0.0, 9.0]], [[0.0, -torch.inf, 9.0]]])[None]  # one head each
    expected = torch.tensor([[[0.75, 0.25]], [[1.0, 0.0]]])[None]
    for implementation in ("torch", "reference"):
        torch.testing.assert_close(masked_attention(query, key, value, allowed, bias, implementation), expected)


@pytest.mark.parametrize("size", SIZES)
def test_torch_implementation_with_bias_equals_reference_with_gradients(size):
    query, key, value, allowed = random_inputs(size)
    bias = torch.randn(size[0], size[1], size[2], size[3])
    bias[..., ::3] = -torch.inf
    allowed[..., 1] = True  # finite: so that only the rows below attend nowhere
    allowed[0, 0] = False
    bias[-1, 0, -1] = -torch.inf
    bias.requires_grad_()
    weight = torch.randn(size[0], size[1], size[2], size[4])
    outputs = [
        masked_attention(query, key, value, allowed, bias, implementation) for implementation in ("torch", "reference")
    ]
    assert (outputs[0][0, :, 0] == 0).all() and (outputs[0][-1, 0, -1] == 0).all()
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-5, rtol=1e-5)
    inputs = (query, key, value, bias)
    gradients = [torch.autograd.grad((output * weight).sum(), inputs) for output in outputs]
    for fast, reference in zip(*gradients, strict=True):
        assert torch.isfinite(fast).all()
        torch.testing.assert_close(fast, reference, atol=2e-5, rtol=1e-4)
    where = allowed[:, None] & (bias > -torch.inf)
    assert (gradients[0][3][~where] == 0).all() and (size[3] == 2 or (gradients[0][3][where] != 0).any())


def test_bias_in_bfloat16_is_as_good_as_the_reference_in_bfloat16():
    query, key, value, allowed = random_inputs((2, 3, 7, 36, 48))
    allowed[0, 0] = False
    bias = torch.randn(2, 3, 7, 36)
    exact = masked_attention_reference(query, key, value, allowed, bias)
    half = [tensor.bfloat16() for tensor in (query, key, value)]
    allowed_error = 2 * (masked_attention_reference(*half, allowed, bias.bfloat16()).float() - exact).abs().max()
    for some_bias in (bias, bias.bfloat16()):  # RMA's bias stays float32 under autocast
        result = masked_attention(*half, allowed, some_bias, "torch")
        assert result.dtype == torch.bfloat16 and (result[0, :, 0] == 0).all()
        assert (result.float() - exact).abs().max() <= allowed_error


@pytest.mark.parametrize("implementation", ["torch", "reference"])
def test_bias_of_no_queries_and_of_another_shape(implementation):
    query, key, value, allowed = random_inputs((2, 2, 3, 5, 4))
    bias = torch.randn(2, 2, 3, 5, requires_grad=True)
    result = masked_attention(query[:, :, :0], key, value, allowed[:, :0], bias[:, :, :0], implementation)
    assert result.shape == (2, 2, 0, 4)
    for gradient in torch.autograd.grad(result.sum(), (query, key, value, bias)):
        assert (gradient == 0).all()
    with pytest.raises(ValueError, match=r"bias must be \(B, N, Q, L\) = \(2, 2, 3, 5\), got \(2, 1, 3, 5\)"):
        masked_attention(query, key, value, allowed, bias[:, :1], implementation)


def test_bfloat16_is_as_good_as_the_reference_in_bfloat16():
    inputs = random_inputs((2, 3, 7, 36, 48))
    exact = masked_attention_reference(*inputs)
    half = [tensor.bfloat16() for tensor in inputs[:3]] + [inputs[3]]
    allowed_error = 2 * (masked_attention_reference(*half).float() - exact).abs().max()
    result = masked_attention(*half, implementation="torch")
    assert result.dtype == torch.bfloat16
    assert (result.float() - exact).abs().max() <= allowed_error


@pytest.mark.parametrize("implementation", ["torch", "reference"])
def test_a_row_without_true_returns_zeros_and_no_nan_gradient(implementation):
    query, key, value, allowed = random_inputs((1, 2, 3, 5, 4))
    allowed[:] = True
    allowed[0, 1] = False
    result = masked_attention(query, key, value, allowed, implementation=implementation)
    assert (result[:, :, 1] == 0).all() and (result[:, :, 0] != 0).all()
    for gradient in torch.autograd.grad(result.sum(), (query, key, value)):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("implementation", ["torch", "reference"])
def test_full_mask_is_plain_attention_and_no_queries_work(implementation):
    query, key, value, allowed = random_inputs((2, 2, 3, 5, 4))
    plain = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    result = masked_attention(query, key, value, torch.ones_like(allowed), implementation=implementation)
    torch.testing.assert_close(result, plain, atol=1e-6, rtol=1e-5)
    assert masked_attention(query[:, :, :0], key, value, allowed[:, :0], implementation=implementation).shape == (
        2,
        2,
        0,
        4,
    )


def test_environment_chooses_and_argument_wins(monkeypatch):
    inputs = random_inputs((1, 1, 2, 3, 4))
    monkeypatch.setenv("MASQCLIP_OPS", "cuda")
    with pytest.raises(ValueError, match="MASQCLIP_OPS is 'cuda', but masked_attention has no such implementation"):
        masked_attention(*inputs)
    assert masked_attention(*inputs, implementation="reference").shape == (1, 1, 2, 4)


@pytest.mark.parametrize(
    "attend_mask",
    [torch.ones(2, 3, 5), torch.ones(2, 3, 4, dtype=torch.bool), torch.ones(2, 2, 3, 5, dtype=torch.bool)],
    ids=["not bool", "other P", "one per head"],
)
def test_other_masks_are_refused(attend_mask):
    query, key, value, _ = random_inputs((2, 2, 3, 5, 4))
    with pytest.raises(ValueError, match=r"attend_mask must be bool of shape \(B, Q, L\) = \(2, 3, 5\)"):
        masked_attention(query, key, value, attend_mask)


@pytest.mark.parametrize("implementation", ["torch", "reference"])
def test_rows_without_true_may_attend_everywhere(implementation):
    query, key, value, allowed = random_inputs((2, 2, 3, 5, 4))
    allowed[0, 1] = False
    result = masked_attention(query, key, value, allowed, None, implementation, "everywhere")
    allowed[0, 1] = True
    torch.testing.assert_close(result, masked_attention(query, key, value, allowed, None, implementation))
    with pytest.raises(ValueError, match="empty_rows is 'zeros' or, without a bias, 'everywhere'; got 'ones'"):
        masked_attention(query, key, value, allowed, empty_rows="ones")
    with pytest.raises(ValueError, match="without a bias"):
        masked_attention(query, key, value, allowed, torch.zeros(2, 2, 3, 5), empty_rows="everywhere")


def test_predicted_masks():
    features = torch.tensor([[[1.0, -1.0, 0.0]]])  # (B, C, L): logits of an embedding of 1
    attend_mask = predicted_attend_mask(torch.tensor([[[1.0], [-1.0], [2.0]]]), features)
    assert attend_mask.tolist() == [[[True, False, True], [False, True, True], [True, False, True]]]
    with pytest.raises(ValueError, match=r"embedding \(1, 3, 2\) and features \(1, 1, 3\) do not fit"):
        predicted_attend_mask(torch.zeros(1, 3, 2), features)


def test_bits_are_unpacked_where_no_kernel_reads_them():
    words = torch.tensor([[[5, 1]], [[-(2**63), 0]]])  # keys 0, 2 and 64; key 63
    bits = AttendBits(words, torch.ones(2, 1, dtype=torch.int32), 66)
    expected = torch.zeros(2, 1, 66, dtype=torch.bool)
    expected[0, 0, [0, 2, 64]] = True
    expected[1, 0, 63] = True
    assert torch.equal(bits.unpack(), expected) and bits.shape == (2, 1, 66)
    query, key, value, _ = random_inputs((2, 2, 1, 66, 4))
    result = masked_attention(query, key, value, bits)
    torch.testing.assert_close(result, masked_attention(query, key, value, expected))
    first, second = AttendBits(words.expand(2, 4, 2), bits.anywhere.expand(2, 4), 66).chunk(2, dim=1)
    assert first.shape == second.shape == (2, 2, 66)
    with pytest.raises(ValueError, match="dimension 1, not 0"):
        bits.chunk(2, dim=0)


def test_masks_are_packed_only_for_kernels():
    mask = torch.rand(1, 2, 3) > 0.5
    assert pack_attend_mask(mask) is mask
