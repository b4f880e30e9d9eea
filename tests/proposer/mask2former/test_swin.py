"""Swin Transformer as backbone: the formula, features, training. The golden set compares it with Mask2Former's."""

import pytest
import torch
from detectron2.modeling import build_model

from masqclip_d2.engine.optimizer import parameter_kinds
from masqclip_d2.proposer import TimmSwinTransformer
from tests.helpers import TINY_SWIN, random_image, tiny_config


def tiny(window_size=3, **changes):
    torch.manual_seed(0)
    sizes = {"patch_size": 4, "embed_dim": 8, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 2, 4), **changes}
    backbone = TimmSwinTransformer(window_size=window_size, **sizes).eval()
    with torch.no_grad():  # biases and norms start at 0 and 1, which would hide a missing one
        for parameter in backbone.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return backbone


def reference_attention(block, tokens, shift):
    """Shifted-window attention of one block written out per token, with its neighbors from coordinates.

    A token sees the tokens of its window in the padded map after a cyclic shift; of these, only tokens that come from
    the same side of the border as itself. Padding is seen, with zeros as its normalized features.
    """
    attention, window = block.attn, block.window_size[0]
    _, height, width, channels = tokens.shape
    high, wide = (-(-side // window) * window for side in (height, width))
    padded = torch.zeros(high, wide, channels)
    padded[:height, :width] = block.norm1(tokens[0])
    query, key, value = attention.qkv(padded).unflatten(-1, (3, attention.num_heads, -1)).unbind(2)
    result = torch.zeros(high, wide, channels)

    def regions(position, side):
        shifted = (position - shift) % side
        return shifted // window, shifted >= side - shift if shifted >= side - window else None

    for y in range(height):
        for x in range(width):
            seen = [
                (v, u)
                for v in range(high)
                for u in range(wide)
                if regions(v, high) == regions(y, high) and regions(u, wide) == regions(x, wide)
            ]
            rows, columns = (torch.tensor(axis) for axis in zip(*seen, strict=True))
            inside_y, inside_x = (((rows - shift) % high) % window, ((columns - shift) % wide) % window)
            own_y, own_x = ((y - shift) % high) % window, ((x - shift) % wide) % window
            bias = attention.relative_position_bias_table[
                (own_y - inside_y + window - 1) * (2 * window - 1) + own_x - inside_x + window - 1
            ]  # (S, N)
            logits = torch.einsum("nd,snd->sn", query[y, x], key[rows, columns]) * attention.scale + bias
            result[y, x] = torch.einsum("sn,snd->nd", logits.softmax(0), value[rows, columns]).flatten()
    return attention.proj(result)[None, :height, :width]


@pytest.mark.parametrize(("hw", "window"), [((3, 6), 3), ((5, 7), 3), ((2, 8), 3), ((4, 4), 4), ((6, 5), 4)])
def test_attention_is_the_shifted_window_formula(hw, window):
    """Whole windows, maps that need padding, a map smaller than a window, and one of a single window."""
    first, second = tiny(window).layers[0].blocks
    tokens = torch.randn(1, *hw, 8)
    with torch.no_grad():
        for block, shift in ((first, 0), (second, window // 2)):
            expected = reference_attention(block, tokens, shift)
            torch.testing.assert_close(block._attn(block.norm1(tokens)), expected, atol=1e-5, rtol=1e-5)


def test_features_have_the_shapes_of_output_shape():
    backbone = tiny()
    features = backbone(torch.randn(2, 3, 64, 96))
    assert list(features) == list(backbone.output_shape()) == ["res2", "res3", "res4", "res5"]
    for name, spec in backbone.output_shape().items():
        assert features[name].shape == (2, spec.channels, 64 // spec.stride, 96 // spec.stride)
    assert backbone.size_divisibility == 32


def test_images_of_any_size_are_padded_to_patches():
    """The result is that of an image with zeros at its right and bottom."""
    image = torch.randn(1, 3, 33, 47)
    padded = torch.nn.functional.pad(image, (0, 1, 0, 3))
    backbone = tiny()
    expected = backbone(padded)
    assert all(torch.equal(feature, expected[name]) for name, feature in backbone(image).items())


def test_merging_of_patches_has_the_order_of_the_published_weights():
    """Channels of the upper left, lower left, upper right and lower right token."""
    merging = tiny().layers[0].downsample
    tokens = torch.randn(1, 3, 4, 8)
    padded = torch.nn.functional.pad(tokens, (0, 0, 0, 0, 0, 1))
    corners = [padded[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
    torch.testing.assert_close(merging(tokens), merging.reduction(merging.norm(torch.cat(corners, -1))))


def test_stochastic_depth_grows_to_the_last_block():
    backbone = tiny(drop_path_rate=0.7)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for stage in backbone.layers for block in stage.blocks]
    assert rates == pytest.approx([0.1 * index for index in range(8)])


def test_only_features_that_are_named():
    assert list(tiny(out_features=("res5", "res3"))(torch.randn(1, 3, 32, 32))) == ["res3", "res5"]


@pytest.mark.parametrize("key", ["APE", "USE_CHECKPOINT"])
def test_unsupported_values_are_refused(tmp_path, key):
    with pytest.raises(ValueError, match=f"MODEL.SWIN.{key} is True; only False is supported"):
        build_model(tiny_config(tmp_path, "MaskProposer", *TINY_SWIN, f"MODEL.SWIN.{key}", "True"))


def test_numbers_of_stages_are_checked():
    with pytest.raises(ValueError, match=r"need 4 numbers each, got \[2, 2\]"):
        tiny(depths=(2, 2))


def test_proposals_and_training(tmp_path):
    """Odd sizes at test, and every parameter of the backbone learns."""
    model = build_model(tiny_config(tmp_path, "MaskProposer", *TINY_SWIN, "MODEL.SWIN.DROP_PATH_RATE", "0.0"))
    record = {"image": random_image(33, 47)}
    alone = model.eval().propose([record])[0]
    together = model.propose([record, {"image": random_image(64, 96)}])[0]
    torch.testing.assert_close(together.mask_logits, alone.mask_logits, atol=1e-4, rtol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = model.propose([record])[0]
    torch.testing.assert_close(low.object_scores, alone.object_scores, atol=0.05, rtol=0.05)

    features = model.train().backbone(torch.randn(1, 3, 64, 64))
    sum(feature.square().sum() for feature in features.values()).backward()
    without = [name for name, one in model.backbone.named_parameters() if one.grad is None or not one.grad.any()]
    assert without == []
    kinds = parameter_kinds(model.backbone)
    assert kinds["layers.0.blocks.0.attn.relative_position_bias_table"] == "embedding"
