from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from masqclip_d2.video import reading
from masqclip_d2.video.reading import open_source
from tests.video.helpers import SQUARE, left_of_square, make_images, make_video

av = pytest.importorskip("av")


def read(source):
    with open_source(str(source)) as opened:
        return list(opened.frames()), opened


def test_frames_of_a_file_with_their_times(tmp_path):
    rate = Fraction(30000, 1001)
    frames, source = read(make_video(tmp_path / "a.mp4", 10, rate, start=7))
    assert [left_of_square(frame.pixels) for frame in frames] == list(range(0, 20, 2))
    np.testing.assert_allclose([float(frame.time) for frame in frames], np.arange(10) / float(rate), atol=1e-9)
    assert (source.rate, source.num_frames, source.problem) == (rate, 10, "")
    assert frames[0].pixels.shape == (48, 64, 3) and frames[0].pixels.dtype == np.uint8
    assert np.abs(frames[0].pixels[24, 10].astype(int) - SQUARE).max() < 25


def test_images_are_frames_in_the_order_of_their_numbers(tmp_path):
    folder = make_images(tmp_path / "frames", 12)
    frames, source = read(folder)
    assert [left_of_square(frame.pixels) for frame in frames] == list(range(0, 24, 2))
    assert (source.rate, source.problem, frames[1].time) == (25, "", Fraction(1, 25))
    with open_source(f"{folder}/frame_1*.png", 10) as some:
        assert [left_of_square(frame.pixels) for frame in some.frames()] == [2, 20, 22]
        assert some.rate == 10


def test_images_that_are_no_frames_are_left_out_and_counted(tmp_path):
    folder = make_images(tmp_path / "frames", 4)
    (folder / "frame_1.png").write_bytes(b"text")
    Image.new("RGB", (10, 10)).save(folder / "frame_2.png")
    frames, source = read(folder)
    assert [frame.time for frame in frames] == [0, Fraction(3, 25)]
    assert source.problem.startswith("2 of 4 images were left out (") and "frame_1.png" in source.problem


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_truncated_file_has_the_frames_that_there_are(tmp_path, suffix):
    options = {"movflags": "+faststart"} if suffix == ".mp4" else {}
    content = make_video(tmp_path / f"whole{suffix}", 400, options=options).read_bytes()
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content[: len(content) // 2])
    frames, source = read(path)
    assert 50 < len(frames) < 350
    if suffix != ".ts":  # has neither a number of frames nor a duration
        assert f"{path} is incomplete or damaged: {len(frames)} " in source.problem


def test_damage_in_the_middle_does_not_end_a_file(tmp_path):
    content = bytearray(make_video(tmp_path / "whole.mp4", 400, options={"movflags": "+faststart"}).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = np.random.default_rng(0).bytes(2000)
    (tmp_path / "a.mp4").write_bytes(content)
    frames, source = read(tmp_path / "a.mp4")
    assert len(frames) > 300
    assert len(frames) == 400 or "incomplete or damaged" in source.problem


def _truncated_before_the_index(folder):
    content = make_video(folder / "whole.mp4", 50).read_bytes()
    (folder / "a.mp4").write_bytes(content[: len(content) * 3 // 4])


def _sound_only(folder):
    with av.open(str(folder / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16000
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    "make, message",
    [
        (_truncated_before_the_index, "cannot be opened as a video; it is none, or it is incomplete or damaged"),
        (lambda folder: (folder / "a.mp4").write_text("text"), "cannot be opened as a video"),
        (lambda folder: (folder / "a.mp4").write_bytes(b""), "cannot be opened as a video"),
        (_sound_only, "a.mp4 has no video stream."),
        (lambda folder: None, "There is no video .*a.mp4"),
        (lambda folder: (folder / "a.mp4").mkdir(), "No images match"),
    ],
)
def test_what_is_no_video_is_one_sentence(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message), open_source(str(tmp_path / "a.mp4")):
        pass


def test_a_playlist_opens_nothing_in_the_network(tmp_path):
    (tmp_path / "a.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/b.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(ValueError, match="cannot be opened as a video"), open_source(str(tmp_path / "a.mp4")):
        pass


def test_turned_frames_are_upright(tmp_path, monkeypatch):
    class Turned:
        width, height, rotation = 3, 2, -90  # a phone that was held upright

        def to_ndarray(self, **_):
            return np.arange(18, dtype=np.uint8).reshape(2, 3, 3)

    with open_source(str(make_video(tmp_path / "a.mp4", 2))) as source:
        np.testing.assert_array_equal(source._upright_pixels(Turned()), np.rot90(Turned().to_ndarray(), -1))


def test_cameras_are_opened_by_their_names(monkeypatch):
    monkeypatch.setattr(reading, "_CAMERA_FORMATS", {reading.sys.platform: "lavfi"})  # FFmpeg's test pictures
    with open_source("camera:testsrc=size=64x48:rate=10") as camera:
        frames = [frame for frame, _ in zip(camera.frames(), range(3), strict=False)]
    assert [frame.time for frame in frames] == [0, Fraction(1, 10), Fraction(2, 10)]
    assert camera.num_frames is None and frames[0].pixels.shape == (48, 64, 3)


def test_a_missing_camera_is_one_sentence():
    with (
        pytest.raises(ValueError, match=r"^/dev/video99 cannot be opened as a camera"),
        open_source("camera:/dev/video99"),
    ):
        pass
