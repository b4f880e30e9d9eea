import pytest
import torch
from detectron2.modeling import build_model

from masqclip_d2.meta_arch.tiles import encode_in_tiles, window_of_masks, windows
from masqclip_d2.structures import MaskProposals
from tests.helpers import five_categories, random_image, tiny_config


def test_windows_cover_the_image_and_neighbors_share_half():
    whole, *tiles = windows((90, 60), 2)
    assert whole == (0, 0, 90, 60)
    assert tiles == [(0, 0, 60, 40), (0, 20, 60, 60), (30, 0, 90, 40), (30, 20, 90, 60)]
    assert all(bottom <= 7 and right <= 5 for _, _, bottom, right in windows((7, 5), 3))


@pytest.mark.parametrize(
    ("hw", "tiles", "expected"),
    [
        ((90, 90), 1, [(0, 0, 90, 90)]),
        ((100, 120), 1, [(0, 0, 100, 120)]),
        ((90, 120), 1, [(0, 0, 90, 120), (0, 0, 90, 80), (0, 40, 90, 120)]),
        ((100, 50), 1, [(0, 0, 100, 50), (0, 0, 50, 50), (25, 0, 75, 50), (50, 0, 100, 50)]),
        ((90, 60), 2, [(0, 0, 90, 60)] + [(top, left, top + 45 - (top == 22), left + 40)
                                          for top in (0, 22, 45) for left in (0, 20)]),
    ],
    ids=["square", "6 : 5", "4 : 3", "1 : 2", "two along the shorter side"],
)  # fmt: skip
def test_square_tiles(hw, tiles, expected):
    found = windows(hw, tiles, square=True)
    assert len(found) == len(expected)
    assert all(
        abs(a - b) <= 1 for one, other in zip(found, expected, strict=True) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("hw", [(100, 12_000), (12_000, 100), (1, 50), (480, 640), (3000, 4000)])
@pytest.mark.parametrize("tiles", [1, 2])
def test_square_tiles_cover_oblong_images_in_their_proportions(hw, tiles):
    whole, *found = windows(hw, tiles, square=True)
    covered = torch.zeros(hw, dtype=torch.bool)
    for top, left, bottom, right in found:
        assert 0 <= top < bottom <= hw[0] and 0 <= left < right <= hw[1]
        assert 0.75 <= (right - left) / (bottom - top) <= 4 / 3
        covered[top:bottom, left:right] = True
    assert whole == (0, 0, *hw) and covered.all()


def _box(top, left, bottom, right, hw=(90, 60)):
    mask = torch.zeros(hw, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


def test_a_mask_goes_to_the_tile_that_contains_it_with_the_closest_center():
    masks = torch.stack(
        [
            _box(0, 0, 10, 10),  # top left tile only
            _box(70, 45, 90, 60),  # bottom right tile only
            _box(31, 22, 40, 30),  # in all four, closest to the center of the first
            _box(0, 0, 90, 60),  # in none
            _box(0, 0, 0, 0),  # empty
        ]
    )
    assert window_of_masks(masks, windows((90, 60), 2), (90, 60)).tolist() == [1, 4, 1, 0, 0]
    # The same at a quarter of the resolution.
    assert window_of_masks(masks[:, ::3, ::3], windows((90, 60), 2), (90, 60)).tolist() == [1, 4, 1, 0, 0]


@torch.no_grad()
def test_embeddings_are_those_of_the_crops(tmp_path):
    model = build_model(tiny_config(tmp_path, "MaskCLIP")).eval()
    encoder, image = model.visual_encoder, random_image(90, 60).float()
    masks = torch.stack([_box(0, 0, 90, 60), _box(70, 45, 90, 60), _box(2, 3, 20, 20)])
    proposals = MaskProposals.from_binary_masks(masks)
    found = encode_in_tiles(encoder, image, proposals, 2)

    def embedded(mask, top, left, bottom, right):
        crop, part = image[:, top:bottom, left:right], mask[None, top:bottom, left:right]
        side = encoder.visual.input_resolution
        logits = MaskProposals.from_binary_masks(part).resized((side, side))
        return encoder(encoder.visual.preprocessing.image(crop, side)[None], logits[None]).mask_embeddings[0, 0]

    torch.testing.assert_close(found[0], embedded(masks[0], 0, 0, 90, 60))
    torch.testing.assert_close(found[1], embedded(masks[1], 30, 20, 90, 60))
    torch.testing.assert_close(found[2], embedded(masks[2], 0, 0, 60, 40))


def test_no_masks(tmp_path):
    model = build_model(tiny_config(tmp_path, "MaskCLIP")).eval()
    none = MaskProposals(torch.zeros(0, 9, 6), torch.zeros(0), (90, 60))
    assert encode_in_tiles(model.visual_encoder, random_image(90, 60).float(), none, 2).shape[0] == 0


@torch.no_grad()
def test_square_tiles_of_an_oblong_image(tmp_path):
    """A mask of one end of a panorama is embedded as if the image ended beside it; a square image is not changed."""
    model = build_model(tiny_config(tmp_path, "MaskCLIP", "MODEL.MASQCLIP.CLIP.SQUARE_TILES", "True")).eval()
    plain = build_model(tiny_config(tmp_path, "MaskCLIP")).eval()
    plain.load_state_dict(model.state_dict())
    panorama = random_image(32, 320)
    left = _box(5, 3, 28, 20, (32, 320))[None]
    found = model.encode({"image": panorama}, MaskProposals.from_binary_masks(left)).mask_embeddings
    end = plain.encode({"image": panorama[:, :, :32]}, MaskProposals.from_binary_masks(left[:, :, :32]))
    torch.testing.assert_close(found, end.mask_embeddings)
    squashed = plain.encode({"image": panorama}, MaskProposals.from_binary_masks(left))
    assert (found - squashed.mask_embeddings).abs().max() > 0.01
    square, masks = random_image(40, 40), MaskProposals.from_binary_masks(_box(5, 3, 28, 20, (40, 40))[None])
    same = [one.encode({"image": square}, masks).mask_embeddings for one in (model, plain)]
    torch.testing.assert_close(*same)


@pytest.mark.parametrize("method", ["MaskCLIP", "MasQCLIP", "ClipBaseline", "ValuePooling"])
def test_every_method_predicts_with_tiles(tmp_path, method):
    model = build_model(tiny_config(tmp_path, method, "MODEL.MASQCLIP.CLIP.TILES", "2")).eval()
    model.set_vocabulary(five_categories())
    record = {"image": random_image(40, 72), "height": 80, "width": 144}
    [prediction] = model([record])
    assert prediction["panoptic_seg"][0].shape == (80, 144)
    whole = build_model(tiny_config(tmp_path, method)).eval()
    whole.load_state_dict(model.state_dict())
    small = MaskProposals.from_binary_masks(_box(2, 3, 9, 12, (40, 72))[None])
    expected, found = (one.encode(record, small) for one in (whole, model))
    assert not torch.allclose(found.mask_embeddings, expected.mask_embeddings)
    assert torch.equal(found.proposals.mask_logits, small.mask_logits)


def test_settings_that_do_not_go_together_are_refused(tmp_path):
    tiles = ("MODEL.MASQCLIP.CLIP.TILES", "2")
    with pytest.raises(ValueError, match="REFINE_MASKS False"):
        build_model(tiny_config(tmp_path, "MaskCLIP", *tiles, "MODEL.MASQCLIP.RMA.LAYERS", "[1]"))
    with pytest.raises(ValueError, match="TILES must be 1 or more"):
        build_model(tiny_config(tmp_path, "MaskCLIP", *tiles, "MODEL.MASQCLIP.PADDING", "batch"))
    square = ("MODEL.MASQCLIP.CLIP.SQUARE_TILES", "True")
    with pytest.raises(ValueError, match="REFINE_MASKS False"):
        build_model(tiny_config(tmp_path, "MaskCLIP", *square, "MODEL.MASQCLIP.RMA.LAYERS", "[1]"))
    with pytest.raises(ValueError, match="SQUARE_TILES False"):
        build_model(tiny_config(tmp_path, "MaskCLIP", *square, "MODEL.MASQCLIP.PADDING", "batch"))
    with pytest.raises(ValueError, match="TILES is 0; expected at least 1"):
        build_model(tiny_config(tmp_path, "MaskCLIP", "MODEL.MASQCLIP.CLIP.TILES", "0"))
