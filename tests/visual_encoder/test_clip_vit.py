import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU, VisionTransformer

from masqclip_d2.visual_encoder import ClipVisualTransformer


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
        ours = ClipVisualTransformer(
            input_resolution=224, patch_size=32, width=768, layers=12, heads=12, output_dim=512
        )
    shapes = {name: tensor.shape for name, tensor in theirs.visual.state_dict().items()}
    assert {name: tensor.shape for name, tensor in ours.state_dict().items()} == shapes


def test_bfloat16_autocast_on_the_cpu_stays_close(visual):
    image = torch.randn(4, 3, 24, 24)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = visual(image).float()
    assert torch.cosine_similarity(half, visual(image)).min() > 0.999


def test_patch_dropout_keeps_the_class_token_and_a_random_share_of_patches(visual):
    image = torch.randn(2, 3, 24, 24)
    whole = visual.embed(image)
    part = visual.embed(image, patch_dropout=0.25)
    assert part.shape == (2, 1 + 7, 32)  # round(9 * 0.75) = 7
    torch.testing.assert_close(part[:, 0], whole[:, 0])
    for kept, all_patches in zip(part[:, 1:], whole[:, 1:], strict=True):
        nearest = torch.cdist(kept, all_patches)
        assert nearest.min(dim=1).values.max() < 1e-4  # each kept patch is one of the image, with its position
        assert len(nearest.argmin(dim=1).unique()) == 7  # and none twice


def test_patch_dropout_draws_anew_for_each_image(make_visual):
    visual = make_visual(input_resolution=64)
    image = torch.randn(1, 3, 64, 64).expand(2, -1, -1, -1)
    part = visual.embed(image, patch_dropout=0.5)
    assert not torch.equal(part[0], part[1])


def test_window_gives_the_tokens_of_the_whole_image_there(visual):
    image = torch.randn(2, 3, 24, 24)  # 3 x 3 patches
    whole = visual.embed(image)
    window = visual.embed(image[..., 8:, :16], places=torch.tensor([[3, 4, 6, 7]]).expand(2, -1))
    torch.testing.assert_close(window, whole[:, [0, 4, 5, 7, 8]])


def test_is_deterministic_and_whole_by_default_in_training_mode(visual):
    image = torch.randn(2, 3, 24, 24)
    torch.testing.assert_close(visual.train()(image), visual.eval()(image), atol=0, rtol=0)


@pytest.mark.parametrize(
    ("image_shape", "patch_dropout", "message"),
    [
        ((2, 3, 24, 32), 0.0, r"takes images of shape \(B, 3, 24, 24\), got \(2, 3, 24, 32\)"),
        ((3, 24, 24), 0.0, r"got \(3, 24, 24\)"),
        ((2, 3, 24, 24), 1.0, "in \\[0, 1\\), got 1.0"),
        ((2, 3, 24, 24), -0.1, "got -0.1"),
    ],
)
def test_bad_input(visual, image_shape, patch_dropout, message):
    with pytest.raises(ValueError, match=message):
        visual(torch.zeros(image_shape), patch_dropout)


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
