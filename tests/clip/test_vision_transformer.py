import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU, VisionTransformer

from masqclip_d2.clip.vision_transformer import ClipVisionTransformer


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_equals_open_clip_with_the_same_weights(make_visual, activation):
    visual = make_visual(activation=activation, mlp_width=96)
    theirs = VisionTransformer(
        image_size=24,
        patch_size=8,
        width=32,
        layers=3,
        heads=2,
        mlp_ratio=3.0,
        output_dim=16,
        act_layer=QuickGELU if activation == "quick_gelu" else torch.nn.GELU,
    ).eval()
    theirs.load_state_dict(visual.state_dict())  # strict: the same names and shapes
    image = torch.randn(4, 3, 24, 24)
    torch.testing.assert_close(visual(image), theirs(image), atol=1e-5, rtol=1e-5)


def test_names_are_those_of_openai():
    config = open_clip.get_model_config("ViT-B-32")
    with torch.device("meta"):
        theirs = open_clip.CLIP(**{k: v for k, v in config.items()})
        ours = ClipVisionTransformer(
            input_resolution=224, patch_size=32, width=768, layers=12, heads=12, output_dim=512
        )
    shapes = {name: tensor.shape for name, tensor in theirs.visual.state_dict().items()}
    assert {name: tensor.shape for name, tensor in ours.state_dict().items()} == shapes


def test_bfloat16_autocast_on_the_cpu_stays_close(visual):
    image = torch.randn(4, 3, 24, 24)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = visual(image).float()
    assert torch.cosine_similarity(half, visual(image)).min() > 0.999


def test_is_deterministic_and_whole_by_default_in_training_mode(visual):
    image = torch.randn(2, 3, 24, 24)
    torch.testing.assert_close(visual.train()(image), visual.eval()(image), atol=0, rtol=0)


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
