import pytest
import torch

from masqclip_d2.shapes.clip_pretraining.training_embeddings import random_windows, training_embeddings, training_tokens


def test_without_options_equals_the_vision_tower(visual):
    image = torch.randn(2, 3, 24, 24)
    torch.testing.assert_close(training_embeddings(visual, image), visual(image))


def test_patch_dropout_keeps_the_class_token_and_a_random_share_of_patches(visual):
    image = torch.randn(2, 3, 24, 24)
    full = visual.embed(image)
    part = training_tokens(visual, image, patch_dropout=0.25)
    assert part.shape == (2, 1 + 7, 32)  # round(9 * 0.75) = 7
    torch.testing.assert_close(part[:, 0], full[:, 0])
    for kept, all_patches in zip(part[:, 1:], full[:, 1:], strict=True):
        nearest = torch.cdist(kept, all_patches)
        assert nearest.min(dim=1).values.max() < 1e-4  # a patch of the image with its position
        assert len(nearest.argmin(dim=1).unique()) == 7  # each at most once


def test_patch_dropout_differs_between_images(make_visual):
    visual = make_visual(input_resolution=64)
    image = torch.randn(1, 3, 64, 64).expand(2, -1, -1, -1)
    part = training_tokens(visual, image, patch_dropout=0.5)
    assert not torch.equal(part[0], part[1])


def test_window_has_the_tokens_of_the_full_image_at_its_positions(visual):
    image = torch.randn(2, 3, 24, 24)  # 3 x 3 patches
    full = visual.embed(image)
    positions = torch.tensor([[3, 4, 6, 7]]).expand(2, -1)
    window = training_tokens(visual, image[..., 8:, :16], positions=positions)
    torch.testing.assert_close(window, full[:, [0, 4, 5, 7, 8]])


@pytest.mark.parametrize(("patch_dropout", "message"), [(1.0, r"in \[0, 1\), got 1.0"), (-0.1, "got -0.1")])
def test_bad_patch_dropout(visual, patch_dropout, message):
    with pytest.raises(ValueError, match=message):
        training_embeddings(visual, torch.zeros(2, 3, 24, 24), patch_dropout)


def test_windows_cover_the_grid_and_stay_inside():
    positions = random_windows(200, window=2, grid=5, device=torch.device("cpu"))
    assert positions.shape == (200, 4)
    top, left = positions[:, 0] // 5, positions[:, 0] % 5
    assert set(top.tolist()) == set(left.tolist()) == {0, 1, 2, 3}
    torch.testing.assert_close(positions - positions[:, :1], torch.tensor([[0, 1, 5, 6]]).expand(200, -1))


def test_window_of_the_whole_grid_is_the_grid():
    positions = random_windows(1, window=3, grid=3, device=torch.device("cpu"))
    assert positions.tolist() == [list(range(9))]
