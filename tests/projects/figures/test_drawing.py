"""Panels keep the pixels, labels do not overlap, files stay small."""

import numpy as np
import pytest
from PIL import Image

from projects.figures.drawing import (
    MAX_FILE_SIZE,
    SHEET_WIDTH,
    Colors,
    Mark,
    _best_box,
    panel,
    panel_side,
    sheet,
    write_png,
)

RED = (200, 0, 0)


def overlap(one, other) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def test_first_colors_are_far_apart_and_stay_with_their_names():
    color = Colors()
    first = [color[str(index)] for index in range(12)]
    assert color["3"] == first[3] and color["12"] == first[0]
    distances = [np.abs(np.subtract(a, b)).sum() for i, a in enumerate(first) for b in first[:i]]
    assert min(distances) > 100


def test_a_panel_is_the_enlarged_image_with_tinted_and_outlined_masks():
    image = np.full((10, 20, 3), 100, np.uint8)
    image[0, 0] = (1, 2, 3)
    mask = np.zeros((10, 20), bool)
    mask[2:8, 5:15] = True
    drawn = np.array(panel(image, [Mark(mask, RED)], 200))
    assert drawn.shape == (200, 200, 3)
    assert (drawn[:50] == 255).all() and (drawn[150:] == 255).all()  # a square around a wide image
    assert (drawn[50:60, :10] == (1, 2, 3)).all() and (drawn[50:60, 10:] == 100).all()
    assert (drawn[100, 100] == (145, 55, 55)).all()  # 100 * 0.55 + (200, 0, 0) * 0.45
    assert (drawn[70, 100] == RED).all() and (drawn[69, 100] == 100).all()


def test_a_label_leaves_a_small_mask_visible():
    image = np.zeros((100, 100, 3), np.uint8)
    mask = np.zeros((100, 100), bool)
    mask[48:52, 48:52] = True
    plain = np.array(panel(image, [Mark(mask, RED)], 400))
    labelled = np.array(panel(image, [Mark(mask, RED, "zigzag crescent", emphasis=True)], 400))
    window = np.s_[192:208, 192:208]
    assert (labelled != plain).any() and (labelled[window] == plain[window]).mean() > 0.4


def test_labels_do_not_cover_each_other_and_stay_inside():
    taken = []
    for _ in range(8):  # all want the same place, in the corner
        taken.append(_best_box((90, 30), (395, 5), [], taken, (400, 300)))
    assert all(min(left, top) >= 0 and right < 400 and bottom < 300 for left, top, right, bottom in taken)
    assert not any(overlap(a, b) for i, a in enumerate(taken) for b in taken[:i])
    assert taken[0][2] > 380 and taken[0][1] == 0  # the first is near its mask


def test_a_sheet_has_its_width_and_room_for_text():
    one = Image.new("RGB", (panel_side(3), panel_side(3)), RED)
    low = sheet([[one] * 3], ["short"])
    high = sheet([[one] * 3], ["many words " * 30], [["below"] * 3])
    assert low.width == high.width == SHEET_WIDTH
    assert low.height > panel_side(3) and high.height > low.height + 60
    assert (np.array(low) == RED).all(-1).sum() == 3 * panel_side(3) ** 2


@pytest.mark.parametrize("side", [40, 1200])
def test_files_are_small_even_of_noise(tmp_path, side):
    noise = np.random.default_rng(0).normal(128, 20, (side // 4, side // 4, 3)).clip(0, 255).astype(np.uint8)
    write_png(Image.fromarray(noise).resize((side, side), Image.Resampling.NEAREST), tmp_path / "docs" / "a.png")
    assert [file.name for file in (tmp_path / "docs").iterdir()] == ["a.png"]
    assert (tmp_path / "docs" / "a.png").stat().st_size < MAX_FILE_SIZE
    assert Image.open(tmp_path / "docs" / "a.png").size == (side, side)
