import math

import pytest
import torch

from masqclip_d2.proposer.mask2former.position_encoding import sine_position_map


def test_hand_computed_values():
    position = sine_position_map(2, 4, 8, torch.device("cpu"))
    assert position.shape == (8, 2, 4)
    row_0, column_2 = 2 * math.pi * 1 / 2, 2 * math.pi * 3 / 4
    # Four channels per axis: sin, cos at period 1 and sin, cos at period 10000 ** (2 * 1 / 4) = 100.
    expected = [
        f(e / t) for e in (row_0, column_2) for t, f in ((1, math.sin), (1, math.cos), (100, math.sin), (100, math.cos))
    ]
    torch.testing.assert_close(position[:, 0, 2], torch.tensor(expected), rtol=0, atol=1e-5)


def test_rows_in_the_first_half_columns_in_the_second():
    position = sine_position_map(5, 3, 12, torch.device("cpu"))
    assert (position[:6] == position[:6, :, :1]).all()
    assert (position[6:] == position[6:, :1]).all()
    assert len(torch.unique(position.flatten(1).T, dim=0)) == 15  # no two pixels alike


def test_odd_number_of_channels_is_refused():
    with pytest.raises(ValueError, match="even number of channels, got 7"):
        sine_position_map(2, 2, 7, torch.device("cpu"))
