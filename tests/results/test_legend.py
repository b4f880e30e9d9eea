"""Legends beside images."""

import numpy as np
import pytest

from masqclip_d2.results.legend import with_legend

IMAGE = np.zeros((200, 100, 3), dtype=np.uint8)


def test_names_and_colors_stand_beside_the_image():
    found = with_legend(IMAGE, [("cat", (255, 0, 0)), ("dog", (0, 0, 255))])
    assert found.shape[0] == 200 and np.array_equal(found[:, :100], IMAGE)
    column = found[:, 100:]
    rows = [np.nonzero((column == color).all(axis=2))[0].mean() for color in ((255, 0, 0), (0, 0, 255))]
    assert rows[0] < rows[1] and (column == 255).all(axis=2).mean() > 0.5


@pytest.mark.parametrize("name", ["x" * 300, "\u732b", "\U0001f600 smile"])
def test_any_name_fits(name):
    assert with_legend(IMAGE, [(name, (1, 2, 3))]).shape[1] < 600


def test_more_entries_than_lines():
    few, many = (with_legend(IMAGE, [("cat", (255, 0, 0))] * count) for count in (9, 500))
    assert few.shape[0] == many.shape[0] == 200
    assert (few == (255, 0, 0)).all(axis=2).sum() >= (many == (255, 0, 0)).all(axis=2).sum() > 0


def test_no_entries():
    assert with_legend(IMAGE, []) is IMAGE
