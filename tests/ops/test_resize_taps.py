import random

import pytest
import torch

from masqclip_d2.ops import resize_taps
from masqclip_d2.ops.resize import masks_to_output
from masqclip_d2.ops.resize_taps import axis_taps, masks_problem
from tests.fake_gpu import Recorder, fake_gpu

CPU = torch.device("cpu")


def resized(masks, taps):
    """Masks (Q, h, w) through the taps of rows and columns, in float64."""
    rows, columns = taps
    masks = (masks.double()[:, rows.positions.long()] * rows.weights.double()[..., None]).sum(1)  # (Q, H, w)
    return (masks[..., columns.positions.long()] * columns.weights.double()).sum(2)


def random_sizes(seed):
    rng = random.Random(seed)
    low, padded, output = ((rng.randint(1, most), rng.randint(1, most)) for most in (20, 90, 150))
    image = tuple(rng.randint(1, side) for side in padded)
    return low, padded, image, (image if seed % 4 == 0 else output)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("flipped", [False, True])
def test_taps_are_both_resizes_the_crop_and_the_flip(seed, flipped):
    low, padded, image, output = random_sizes(seed)
    masks = torch.randn(3, *low)
    expected = masks_to_output(masks, padded, image, output).double()
    taps = axis_taps(masks, padded, image, output, flipped)
    for axis in (0, 1):
        assert taps[axis].positions.shape == taps[axis].weights.shape and taps[axis].positions.shape[1] == output[axis]
        assert taps[axis].positions.min() >= 0 and taps[axis].positions.max() < low[axis]
        torch.testing.assert_close(taps[axis].weights.sum(0), torch.ones(output[axis]), atol=1e-5, rtol=0)
    torch.testing.assert_close(resized(masks, taps), expected.flip(-1) if flipped else expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "sizes, number",
    [
        pytest.param((256, 1024, 900, 640), 3, id="enlarged, then resized: neighbors share taps"),
        pytest.param((256, 1024, 900, 900), 2, id="enlarged only"),
        pytest.param((1024, 1024, 900, 640), 2, id="resized only"),
        pytest.param((640, 640, 640, 640), 1, id="same size"),
        pytest.param((640, 512, 500, 333), 4, id="reduced twice"),
    ],
)
def test_number_of_taps(sizes, number):
    assert len(resize_taps.resize_taps(*sizes, False, CPU).positions) == number


def test_tables_are_kept():
    one = resize_taps.resize_taps(7, 28, 25, 40, False, CPU)
    assert resize_taps.resize_taps(7, 28, 25, 40, False, CPU) is one
    assert resize_taps.resize_taps(7, 28, 25, 40, True, CPU) is not one


def test_masks_that_kernels_cannot_read():
    assert masks_problem(torch.zeros(3, 4, 4), 3) == ""
    assert masks_problem(torch.zeros(4, 4, 4), 3) == "its kernel computes at most 3 masks, not 4"
    many = torch.empty(3, 30_000, 30_000, device="meta")
    assert masks_problem(many, 3) == f"its kernel reads at most {2**31 - 1} mask logits, not {3 * 30_000**2}"


def test_tables_are_computed_on_a_gpu_without_waiting_for_it():
    with fake_gpu(), Recorder() as recorder:
        taps = resize_taps._compute(256, 1024, 1000, 700, True, torch.device("cuda"))
    assert taps.positions.shape == taps.weights.shape == (3, 700) and taps.positions.device.type == "cuda"
    assert recorder.to_host == recorder.to_gpu == [] and sum(recorder.launches.values()) > 10
