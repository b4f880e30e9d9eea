import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU, VisionTransformer

from masqclip_d2.clip import ClipVisionTransformer


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_equals_open_clip_with_the_same_weights(make_visual, activation):
    visual = make_visual(activation=activation, mlp_width=96)
    reference = VisionTransformer(
        image_size=24,
        patch_size=8,
        width=32,
        layers=3,
        heads=2,
        mlp_ratio=3.0,
        output_dim=16,
        act_layer=QuickGELU if activation == "quick_gelu" else torch.nn.GELU,
    ).eval()
    reference.load_state_dict(visual.state_dict())  # strict: the same names and shapes
    image = torch.randn(4, 3, 24, 24)
    torch.testing.assert_close(visual(image), reference(image), atol=1e-5, rtol=1e-5)


def test_names_are_those_of_openai():
    config = open_clip.get_model_config("ViT-B-32")
    with torch.device("meta"):
        reference = open_clip.CLIP(**config)
        visual = ClipVisionTransformer(
            input_resolution=224, patch_size=32, width=768, layers=12, heads=12, output_dim=512
        )
    shapes = {name: tensor.shape for name, tensor in reference.visual.state_dict().items()}
    assert {name: tensor.shape for name, tensor in visual.state_dict().items()} == shapes


def test_bfloat16_autocast_on_the_cpu_stays_close(visual):
    image = torch.randn(4, 3, 24, 24)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = visual(image).float()
    assert torch.cosine_similarity(half, visual(image)).min() > 0.999


def test_training_mode_equals_eval_mode(visual):
    image = torch.randn(2, 3, 24, 24)
    torch.testing.assert_close(visual.train()(image), visual.eval()(image), atol=0, rtol=0)


def test_blocks_run_in_two_steps(visual):
    tokens = visual.embed(torch.randn(2, 3, 24, 24))
    for block in visual.blocks:
        inputs = block.attention_inputs(tokens)
        torch.testing.assert_close(inputs.normed_tokens, block.norm(tokens))
        torch.testing.assert_close(inputs.query, block.query(block.norm(tokens)))
        torch.testing.assert_close(block.attend(tokens, inputs), block(tokens))
        tokens = block(tokens)


def test_input_projections_are_those_of_the_blocks(visual):
    block, normed = visual.blocks[0], torch.randn(2, 5, 32)
    weights, biases = block.input_projections()
    inputs = block.attn.inputs(normed)
    for weight, bias, expected in zip(weights, biases, inputs[1:], strict=True):
        heads = torch.nn.functional.linear(normed, weight, bias).unflatten(-1, (2, 16)).transpose(1, 2)
        torch.testing.assert_close(heads, expected, atol=1e-5, rtol=1e-5)


def test_mask_class_tokens_are_copies_of_the_class_token(visual):
    tokens = visual.embed(torch.randn(2, 3, 24, 24))
    copies = visual.mask_class_tokens(tokens, 4)
    assert torch.equal(copies, tokens[:, :1].expand(-1, 4, -1))
    torch.testing.assert_close(visual.mask_class_tokens(tokens, 4, visual.class_position), copies)
    moved = visual.mask_class_tokens(tokens, 4, visual.class_position + torch.randn(32))
    assert not torch.allclose(moved, copies, atol=1e-3)


@pytest.mark.parametrize(
    ("image_shape", "message"),
    [
        ((2, 3, 24, 32), r"takes images of shape \(B, 3, 24, 24\), got \(2, 3, 24, 32\)"),
        ((3, 24, 24), r"got \(3, 24, 24\)"),
    ],
)
def test_bad_input(visual, image_shape, message):
    with pytest.raises(ValueError, match=message):
        visual(torch.zeros(image_shape))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_resolution": 25}, "input_resolution 25 must be a multiple of patch_size 8"),
        ({"heads": 3}, "width 32 a multiple of heads 3"),
        ({"activation": "relu"}, "Unknown activation 'relu'; known: quick_gelu, gelu"),
    ],
)
def test_bad_sizes(make_visual, change, message):
    with pytest.raises(ValueError, match=message):
        make_visual(**change)
