import random

import pytest
import torch

from masqclip_d2.fusion import crop_and_resize, masks_to_output, resize_maps, rows_to_output


def test_bilinear_with_pixel_centers_at_half():
    # Doubling [0, 4]: centers of the new pixels lie at -0.25 (edge repeated), 0.25, 0.75, 1.25 of the old.
    doubled = resize_maps(torch.tensor([[[0.0, 4.0]]]), (1, 4))
    torch.testing.assert_close(doubled, torch.tensor([[[0.0, 1.0, 3.0, 4.0]]]))


def test_padding_is_cut_off_before_the_second_resize():
    maps = torch.full((1, 4, 8), 100.0)
    maps[:, :3, :4] = 1.0
    assert torch.equal(crop_and_resize(maps, (3, 4), (9, 12)), torch.ones(1, 9, 12))


def test_same_size_changes_nothing():
    mask_logits = torch.randn(3, 6, 8)
    assert torch.equal(masks_to_output(mask_logits, (6, 8), (6, 8), (6, 8)), mask_logits)


def test_each_mask_is_resized_for_itself():
    mask_logits = torch.randn(4, 5, 7)
    together = masks_to_output(mask_logits, (20, 28), (17, 23), (31, 40))
    assert together.shape == (4, 31, 40)
    torch.testing.assert_close(together[2:3], masks_to_output(mask_logits[2:3], (20, 28), (17, 23), (31, 40)))


@pytest.mark.parametrize("seed", range(20))
def test_some_rows_are_those_of_the_whole(seed):
    rng = random.Random(seed)
    low, padded, output = ((rng.randint(1, most), rng.randint(1, most)) for most in (20, 90, 150))
    image = tuple(rng.randint(1, side) for side in padded)
    output = image if seed % 4 == 0 else output
    mask_logits = torch.randn(3, *low)
    whole = masks_to_output(mask_logits, padded, image, output)
    first = rng.randrange(output[0])
    for stop in (first + 1, output[0]):
        rows = rows_to_output(mask_logits, padded, image, output, (first, stop))
        torch.testing.assert_close(rows, whole[:, first:stop], atol=1e-4, rtol=1e-5)


def test_no_masks_and_one_pixel():
    assert masks_to_output(torch.zeros(0, 4, 4), (16, 16), (9, 9), (20, 20)).shape == (0, 20, 20)
    assert masks_to_output(torch.ones(2, 1, 1), (32, 32), (1, 1), (1, 1)).tolist() == [[[1.0]], [[1.0]]]


def test_refuses_an_image_larger_than_the_maps_and_empty_sizes():
    with pytest.raises(ValueError, match=r"\(5, 4\).*\(4, 4\)"):
        crop_and_resize(torch.zeros(1, 4, 4), (5, 4), (8, 8))
    with pytest.raises(ValueError, match="at least 1"):
        resize_maps(torch.zeros(1, 4, 4), (0, 8))
