import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from masqclip_d2.video.writing import VIDEO_SUFFIXES, VideoWriter
from tests.video.helpers import left_of_square, read_video, square_frames

pytest.importorskip("av")
STEP = Fraction(1, 25)


def write(path, count=12, image_hw=(48, 64)):
    with VideoWriter(path, image_hw, 1 / STEP, STEP) as writer:
        for index, pixels in enumerate(square_frames(count, image_hw)):
            writer.write(pixels, index * STEP)
    return path


@pytest.mark.parametrize("suffix", VIDEO_SUFFIXES)
def test_frames_and_their_times_come_back(tmp_path, suffix):
    frames, times, facts = read_video(write(tmp_path / f"a{suffix}"))
    assert [left_of_square(frame) for frame in frames] == list(range(0, 24, 2))
    np.testing.assert_allclose(times, np.arange(12) / 25, atol=2e-3)  # Matroska has milliseconds
    assert facts == {"rate": 25, "codec": "vp9" if suffix == ".webm" else "h264", "audio": []}
    original = next(iter(square_frames(1)))
    assert np.abs(frames[0].astype(int) - original)[20:30, 25:].mean() < 3  # gray stays gray


def test_odd_sides_are_padded_to_even_ones(tmp_path):
    frames, _, _ = read_video(write(tmp_path / "a.mp4", 2, (49, 63)))
    assert frames[0].shape == (50, 64, 3)
    assert np.abs(frames[0][:, 62].astype(int) - frames[0][:, 63]).max() < 8


def test_times_between_frames_are_kept(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", (48, 64), Fraction(10), Fraction(1, 1000)) as writer:
        for pixels, time in zip(square_frames(4), (0, 0.1, 0.15, 0.4), strict=True):
            writer.write(pixels, Fraction(time).limit_denominator(1000))
    np.testing.assert_allclose(read_video(tmp_path / "a.mp4")[1], (0, 0.1, 0.15, 0.4), atol=1e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_a_file_is_playable_after_an_error_and_when_the_process_is_killed(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, (48, 64), 1 / STEP, STEP) as writer:
        for index, pixels in enumerate(square_frames(9)):
            writer.write(pixels, index * STEP)
        raise KeyboardInterrupt
    assert len(read_video(path)[0]) == 9
    process = os.fork()
    if process == 0:
        writer = VideoWriter(path, (48, 64), 1 / STEP, STEP)
        for index, pixels in enumerate(square_frames(80)):
            writer.write(pixels, index * STEP)
        os._exit(0)
    os.waitpid(process, 0)
    assert len(read_video(path)[0]) >= 50  # all but a second or so


def test_unknown_suffixes_and_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"cannot be written as a\.gif; suffixes are \.mp4, "):
        write(tmp_path / "a.gif")
    with pytest.raises(OSError, match="No such file"):
        write(Path(tmp_path / "missing" / "a.mp4"))
