import pytest
import torch

from masqclip_d2.ops.masked_attention import (
    masked_attention,
    masked_attention_reference,
    pack_attend_mask,
    predicted_attend_mask,
)
from tests.ops.interpreted.checks import compare

SIZES = [  # B, N, Q, L, d
    (2, 3, 7, 36, 48),
    (1, 2, 5, 577, 64),  # patches of 336 pixels; two parts of the keys
    (1, 1, 70, 130, 32),  # several tiles of queries
    (2, 1, 1, 2, 8),
    (2, 2, 0, 5, 16),
    (0, 2, 3, 5, 16),
]


def random_inputs(size):
    batch, heads, queries, keys, dim = size
    torch.manual_seed(0)
    query = torch.randn(batch, queries, heads, dim).transpose(1, 2)
    key, value = (torch.randn(batch, keys, heads, dim).transpose(1, 2) for _ in "kv")
    allowed = torch.rand(batch, queries, keys) > 0.5
    allowed[:1, :1] = False
    return query, key, value, allowed


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_equals_the_reference(size):
    check(size, "zeros", torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("rule", ["zeros", "everywhere"])
@pytest.mark.parametrize("size", [(2, 3, 7, 36, 48), (2, 1, 1, 2, 8)], ids=str)
def test_every_rule_and_dtype(size, rule, dtype):
    check(size, rule, dtype)


def check(size, rule, dtype):
    query, key, value, allowed = random_inputs(size)
    compare(
        lambda *tensors: masked_attention(*tensors, allowed, None, "triton", rule),
        lambda *tensors: masked_attention(*tensors, allowed, None, "reference", rule),
        (query, key, value),
        dtype,
    )


@pytest.mark.parametrize(
    ("size", "dtype"), [*((size, torch.float32) for size in SIZES), (SIZES[0], torch.bfloat16)], ids=str
)
def test_with_a_bias_equals_the_reference(size, dtype):
    query, key, value, allowed = random_inputs(size)
    bias = torch.randn(*query.shape[:3], key.shape[2])
    excluded = torch.zeros_like(bias, dtype=torch.bool)
    excluded[..., ::3] = True
    excluded[-1:, :1, -1:] = True  # a whole row

    def biased(implementation):
        def compute(query, key, value, bias):
            bias = bias.masked_fill(excluded, -torch.inf)
            return masked_attention(query, key, value, allowed, bias, implementation)

        return compute

    compare(biased("triton"), biased("reference"), (query, key, value, bias), dtype)


def test_frozen_keys_and_values_get_no_gradient():
    query, key, value, allowed = random_inputs((1, 2, 5, 70, 16))
    query.requires_grad_()
    result = masked_attention(query, key, value, allowed, implementation="triton")
    [gradient] = torch.autograd.grad(result.sum(), query)
    expected = masked_attention_reference(query, key, value, allowed)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), query)[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("keys", [1, 63, 64, 65, 600])
def test_bits_hold_the_mask(keys):
    mask = torch.rand(2, 3, keys) > 0.5
    mask[1, 1] = False
    bits = pack_attend_mask(mask, "triton")
    assert torch.equal(bits.unpack(), mask) and torch.equal(bits.anywhere != 0, mask.any(-1))
    query, key = torch.randn(2, 1, 3, 16), torch.randn(2, 1, keys, 16)
    from_bits = masked_attention(query, key, key, bits, implementation="triton")
    assert torch.equal(from_bits, masked_attention(query, key, key, mask, implementation="triton"))


@pytest.mark.parametrize("size", [(2, 7, 36, 70), (1, 130, 40, 64), (1, 2, 8, 1)])
def test_bits_of_predicted_masks(size):
    batch, queries, channels, keys = size
    embedding, features = torch.randn(batch, queries, channels), torch.randn(batch, channels, keys)
    embedding[0, 0] = 0.0  # a logit of exactly 0 is inside
    bits = predicted_attend_mask(embedding, features, "triton")
    assert torch.equal(bits.unpack(), predicted_attend_mask(embedding, features, "reference"))


def test_the_operators_are_registered_completely():
    query, key, value, allowed = random_inputs((1, 2, 3, 70, 16))
    bits = pack_attend_mask(allowed, "triton")
    leaves = [tensor.clone().requires_grad_() for tensor in (query, key, value)]
    bias = torch.randn(1, 2, 3, 70, requires_grad=True)
    torch.library.opcheck(torch.ops.masqclip.pack_attend_mask.default, (allowed,))
    torch.library.opcheck(
        torch.ops.masqclip.predicted_attend_bits.default, (torch.randn(1, 3, 5), torch.randn(1, 5, 9))
    )
    for some_bias in (None, bias):
        arguments = (*leaves, bits.words, bits.anywhere, some_bias, False)
        torch.library.opcheck(torch.ops.masqclip.masked_attention.default, arguments)


class Attention(torch.nn.Module):
    def forward(self, query, key, value, allowed):
        return masked_attention(query, key, value, allowed, implementation="triton") * 2


def test_export_with_any_number_of_queries_and_compile():
    inputs = random_inputs((1, 2, 3, 70, 16))
    queries = torch.export.Dim("queries", min=2, max=500)
    shapes = ({2: queries}, None, None, {1: queries})
    exported = torch.export.export(Attention(), inputs, dynamic_shapes=shapes)
    more = random_inputs((1, 2, 9, 70, 16))
    torch.testing.assert_close(exported.module()(*more), Attention()(*more))
    compiled = torch.compile(Attention(), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), Attention()(*inputs))


def test_meta_tensors_have_the_shape():
    with torch.device("meta"):
        query, key, mask = torch.empty(2, 3, 7, 48), torch.empty(2, 3, 36, 48), torch.empty(2, 7, 36, dtype=torch.bool)
    words, anywhere = torch.ops.masqclip.pack_attend_mask(mask)
    output, lse = torch.ops.masqclip.masked_attention(query, key, key, words, anywhere, None, False)
    assert words.shape == (2, 7, 1) and output.shape == query.shape and lse.shape == (2, 3, 7)
