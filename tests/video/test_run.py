import gc
import json
import tracemalloc

import numpy as np
import pytest

from masqclip_d2 import Segment, Segmentation, Vocabulary
from masqclip_d2.video.reading import open_source
from masqclip_d2.video.run import output_file, segment_video
from tests.video.helpers import SQUARE, make_images, make_video, read_video

pytest.importorskip("av")
BOX = Vocabulary.from_names("box,cat")


class RedSquares:
    """A predictor that finds the red square; keeps the sizes of its batches."""

    def __init__(self, fail_at=None, error=KeyboardInterrupt):
        self.batches, self.num_prepared = [], 0
        self.fail_at, self.error = fail_at, error

    def prepare(self, vocabulary, **settings):
        self.num_prepared += 1

    def batch(self, images, vocabulary, batch_size, task, confidence_threshold, **settings):
        if self.fail_at is not None and len(self.batches) == self.fail_at:
            raise self.error("No memory is left.")
        self.batches.append(len(images))
        return [self._result(image, vocabulary, task) for image in images]

    def _result(self, image, vocabulary, task):
        mask = np.abs(image.astype(int) - SQUARE).max(-1) < 70
        segments = [Segment("box", 0, True, score, mask) for score in (0.9, 0.2)]
        return Segmentation(image, vocabulary, task, segments[: 1 + (task == "instance")])


def run(source, output, predictor=None, frame_rate=None, **settings):
    predictor = predictor or RedSquares()
    with open_source(str(source), frame_rate) as opened:
        segment_video(predictor, opened, output, BOX, **settings)
    return predictor


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_video_with_its_rate_size_sound_and_colors(tmp_path, capsys):
    source = make_video(tmp_path / "a.mp4", 20, sound="aac")
    predictor = run(source, tmp_path / "out.mp4", with_records=True, batch_size=8)
    assert predictor.batches == [8, 8, 4] and predictor.num_prepared == 1
    frames, times, facts = read_video(tmp_path / "out.mp4")
    assert facts == {"rate": 25, "codec": "h264", "audio": ["aac"]}
    assert len(frames) == 20 and frames[0].shape == (48, 64, 3)
    np.testing.assert_allclose(times, np.arange(20) / 25, atol=1e-3)
    before, after = (_masked_color(frames[index], 2 * index) for index in (0, 19))
    assert np.abs(before - SQUARE).max() > 15  # drawn over
    assert np.abs(before - after).max() < 12  # in the same color
    head, *lines = records(tmp_path / "out.jsonl")
    assert head["vocabulary"] == ["box", "cat"] and (head["height"], head["width"], head["frame_rate"]) == (48, 64, 25)
    assert [line["frame"] for line in lines] == list(range(20)) and lines[5]["time"] == 0.2
    assert {line["segments"][0]["id"] for line in lines} == {1}
    assert lines[0]["segments"][0]["rle"]["size"] == [48, 64]
    out, err = capsys.readouterr()
    assert f"{tmp_path / 'out.mp4'}: 20 frames, 1 objects (box), " in out and err == ""


def _masked_color(frame, left):
    return frame[30:32, left + 4 : left + 16].astype(int).mean((0, 1))


def test_images_without_sound_and_the_first_frames_only(tmp_path):
    predictor = run(make_images(tmp_path / "in", 9), tmp_path / "out.webm", frame_rate=10, max_frames=5, batch_size=4)
    frames, _, facts = read_video(tmp_path / "out.webm")
    assert predictor.batches == [4, 1] and len(frames) == 5 and facts["rate"] == 10


def test_weak_instances_are_neither_drawn_nor_recorded(tmp_path):
    run(make_video(tmp_path / "a.mp4", 2), tmp_path / "out.mp4", task="instance", with_records=True)
    assert [len(line["segments"]) for line in records(tmp_path / "out.jsonl")[1:]] == [1, 1]
    run(make_video(tmp_path / "a.mp4", 2), tmp_path / "out.mp4", task="semantic")
    assert len(read_video(tmp_path / "out.mp4")[0]) == 2


def test_sound_that_the_file_cannot_have_is_left_out_with_a_sentence(tmp_path, capsys):
    run(make_video(tmp_path / "a.mkv", 5, sound="aac"), tmp_path / "out.webm")
    assert read_video(tmp_path / "out.webm")[2]["audio"] == []
    assert "The sound (aac) is left out: .webm files have no such audio." in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_was_done_before_an_interrupt_or_error_is_playable(tmp_path, capsys, error):
    source = make_video(tmp_path / "a.mp4", 20)
    with pytest.raises(error):
        run(source, tmp_path / "out.mp4", RedSquares(2, error), batch_size=4, with_records=True)
    assert len(read_video(tmp_path / "out.mp4")[0]) == 8
    assert len(records(tmp_path / "out.jsonl")) == 9
    assert f"{tmp_path / 'out.mp4'} has the first 8 frames." in capsys.readouterr().err


def test_a_truncated_video_gives_what_there_was_and_one_sentence(tmp_path):
    content = make_video(tmp_path / "whole.mp4", 300, options={"movflags": "+faststart"}).read_bytes()
    (tmp_path / "a.mp4").write_bytes(content[: len(content) // 2])
    with pytest.raises(
        ValueError, match=r"a\.mp4 is incomplete or damaged: \d+ of its 300 frames .*; .*out\.mp4 has \d+ "
    ):
        run(tmp_path / "a.mp4", tmp_path / "out.mp4")
    assert 50 < len(read_video(tmp_path / "out.mp4")[0]) < 250


def test_a_source_without_frames_replaces_nothing(tmp_path):
    images = tmp_path / "in"
    images.mkdir()
    (images / "a.png").write_bytes(b"text")
    (tmp_path / "out.mp4").write_text("earlier")
    with pytest.raises(ValueError, match="has no frame that can be read: 1 of 1 images were left out .*a.png"):
        run(images, tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").read_text() == "earlier"


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path, monkeypatch):
    # Figures of matplotlib, with which the real Detectron2 draws, are garbage in cycles, collected some time later.
    monkeypatch.setattr("masqclip_d2.video.run.draw", lambda result, *_, **__: result.image)
    peaks = []
    for count in (20, 20, 160):  # the first fills caches
        source = make_video(tmp_path / f"{count}.mp4", count)
        gc.collect()
        tracemalloc.start()
        run(source, tmp_path / "out.mp4", with_records=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 48 * 64 * 3 * 20  # the frames alone would be 140 more


def test_where_the_output_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert output_file("in/clip.mov", "out").as_posix() == "out/clip.mp4"
    assert output_file("frames/*.png", "out").suffix == ".mp4"
    assert output_file("camera:/dev/video0", "out").as_posix() == "out/video0.mp4"
    assert output_file("in/clip.mov", "made/new.webm").as_posix() == "made/new.webm"
    with pytest.raises(ValueError, match="would overwrite the input"):
        output_file("clip.mp4", "./clip.mp4")
    with pytest.raises(ValueError, match="cannot be written as a.gif"):
        output_file("clip.mp4", "a.gif")
