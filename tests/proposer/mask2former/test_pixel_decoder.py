import pytest
import torch
from detectron2.layers import ShapeSpec

from masqclip_d2.proposer.mask2former.pixel_decoder import MSDeformAttention, PixelDecoder

SHAPES = {name: ShapeSpec(channels=16, stride=stride) for name, stride in zip(("a", "b", "c"), (4, 8, 16), strict=True)}


def _pixel_decoder(input_shape=SHAPES, encoder_in_features=("b", "c"), conv_dim=64):
    return PixelDecoder(
        input_shape=input_shape,
        encoder_in_features=encoder_in_features,
        conv_dim=conv_dim,
        mask_dim=12,
        norm="GN",
        num_heads=4,
        num_layers=1,
        num_points=2,
        ffn_dim=48,
    )


def test_sizes_come_from_the_shapes_of_the_features():
    features = {name: torch.randn(2, 16, 80 // spec.stride, 48 // spec.stride) for name, spec in SHAPES.items()}
    mask_features, maps = _pixel_decoder()(features)
    assert mask_features.shape == (2, 12, 20, 12)
    assert [tuple(level.shape) for level in maps] == [(2, 64, 5, 3), (2, 64, 10, 6)]  # coarsest first


def test_image_does_not_depend_on_the_rest_of_the_batch():
    decoder = _pixel_decoder()
    features = {name: torch.randn(2, 16, 64 // spec.stride, 64 // spec.stride) for name, spec in SHAPES.items()}
    together, _ = decoder(features)
    alone, _ = decoder({name: feature[1:] for name, feature in features.items()})
    torch.testing.assert_close(together[1:], alone)


def test_features_that_are_not_one_fine_level_plus_the_encoder_are_refused():
    with pytest.raises(ValueError, match="one fine level"):
        _pixel_decoder(encoder_in_features=("c",))


@pytest.mark.parametrize("conv_dim", [32, 100])
def test_widths_unfit_for_group_norm_are_refused(conv_dim):
    with pytest.raises(ValueError, match=f"CONVS_DIM.* is {conv_dim}; expected a multiple of 32 of at least 64"):
        _pixel_decoder(conv_dim=conv_dim)


def test_sampling_starts_in_a_different_direction_per_head():
    attention = MSDeformAttention(32, num_levels=2, num_heads=4, num_points=3)
    offsets = attention.sampling_offsets.bias.view(4, 2, 3, 2)
    right, down, left, up = ([1, 0], [0, 1], [-1, 0], [0, -1])
    expected = torch.tensor([right, down, left, up]).float()[:, None, None] * torch.tensor([1.0, 2.0, 3.0])[:, None]
    torch.testing.assert_close(offsets, expected.expand(-1, 2, -1, -1), rtol=0, atol=1e-6)
    assert (attention.sampling_offsets.weight == 0).all()


def test_deformable_attention_of_a_constant_map_is_the_projected_value():
    # Far from the border every sample of a constant map is the same value, and the weights sum to 1.
    attention = MSDeformAttention(32, num_levels=1, num_heads=4, num_points=2)
    token = torch.randn(32)
    height = width = 9
    centers = torch.tensor([[(x + 0.5) / width, (y + 0.5) / height] for y in range(height) for x in range(width)])
    output = attention(token.expand(1, 81, -1), torch.zeros(81, 32), centers, [(height, width)])
    expected = attention.output_proj(attention.value_proj(token))
    torch.testing.assert_close(output[0, 40], expected, rtol=1e-4, atol=1e-5)


def test_under_autocast_it_is_float32_unless_it_follows():
    decoder = _pixel_decoder().eval()
    torch.nn.init.normal_(decoder.transformer.encoder.layers[0].self_attn.sampling_offsets.weight, std=0.05)
    features = {name: torch.randn(2, 16, 64 // spec.stride, 64 // spec.stride) for name, spec in SHAPES.items()}
    with torch.no_grad():
        expected, expected_maps = decoder(features)
        with torch.autocast("cpu", torch.bfloat16):
            unchanged, _ = decoder(features)
            decoder.follows_autocast = True
            found, found_maps = decoder(features)
    assert torch.equal(unchanged, expected)
    assert found.dtype == torch.bfloat16  # the products are
    error, size = (found.float() - expected).square().mean().sqrt(), expected.square().mean().sqrt()
    assert 0 < error < 0.02 * size
    for level, expected_level in zip(found_maps, expected_maps, strict=True):
        assert level.dtype == torch.float32
        torch.testing.assert_close(level, expected_level, atol=0.1, rtol=0)
