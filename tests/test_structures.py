"""MaskProposals: checked once, and resized in the right frame."""

import pytest
import torch
import torch.nn.functional as F

from masqclip_d2.structures import MaskProposals


def test_resize_of_an_unpadded_map_is_plain_interpolation():
    logits = torch.randn(3, 6, 8)
    resized = MaskProposals(logits, torch.ones(3), (24, 32)).resized((12, 20))
    expected = F.interpolate(logits[None], (12, 20), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(resized, expected)


def test_image_part_of_a_padded_map_equals_the_map_of_the_image_alone():
    """A map whose image part is its left half gives what that half alone gives, away from the border between them."""
    logits = torch.randn(2, 8, 16)
    padded = MaskProposals(logits, torch.ones(2), (32, 32), (32, 64)).resized((32, 32))
    alone = MaskProposals(logits[:, :, :8].contiguous(), torch.ones(2), (32, 32)).resized((32, 32))
    torch.testing.assert_close(padded[:, :, :29], alone[:, :, :29], atol=1e-5, rtol=1e-5)


def test_image_border_between_two_pixels_of_the_map():
    """30 of 32 columns are image; a linear ramp stays linear over exactly those 30."""
    ramp = (torch.arange(8.0) * 4 + 2).expand(1, 8, 8)  # value = column in input pixels
    resized = MaskProposals(ramp.contiguous(), torch.ones(1), (32, 30), (32, 32)).resized((32, 15))
    expected = (torch.arange(15) + 0.5) * 2
    torch.testing.assert_close(resized[0, 5, 1:14], expected[1:14])


def test_padded_frame_ignores_the_image_size():
    logits = torch.randn(1, 4, 4)
    resized = MaskProposals(logits, torch.ones(1), (10, 12), (16, 16)).resized((8, 8), frame="padded")
    torch.testing.assert_close(resized, F.interpolate(logits[None], (8, 8), mode="bilinear", align_corners=False)[0])


def test_no_proposals():
    proposals = MaskProposals(torch.zeros(0, 4, 4), torch.zeros(0), (10, 12), (16, 16))
    assert proposals.resized((5, 7)).shape == (0, 5, 7) and len(proposals) == 0


def test_binary_masks_of_any_source():
    masks = torch.tensor([[[1, 0], [0, 0]]], dtype=torch.uint8)
    proposals = MaskProposals.from_binary_masks(masks)
    assert torch.equal(proposals.mask_logits > 0, masks.bool())
    assert proposals.object_scores.tolist() == [1.0] and proposals.padded_hw == (2, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(2, 3), torch.ones(2), (3, 3)), r"shape \(Q, Hm, Wm\)"),
        ((torch.zeros(2, 3, 3, dtype=torch.int64), torch.ones(2), (3, 3)), "float"),
        ((torch.zeros(2, 3, 3), torch.ones(3), (3, 3)), r"shape \(2,\)"),
        ((torch.zeros(2, 3, 3), torch.ones(2), (0, 3)), "positive"),
        ((torch.zeros(2, 3, 3), torch.ones(2), (8, 8), (4, 8)), "smaller than"),
        ((torch.full((1, 2, 2), float("nan")), torch.ones(1), (2, 2)), r"NaN in masks \[0\]"),
        ((torch.zeros(2, 3, 3), torch.tensor([0.5, 3.0]), (3, 3)), r"in \[0, 1\], got 0.5 to 3; logits need a sigmoid"),
        ((torch.zeros(1, 3, 3), torch.tensor([float("nan")]), (3, 3)), r"in \[0, 1\], got nan"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MaskProposals(*arguments)
