import numpy as np
import pytest
from PIL import Image

from masqclip_d2.data.label_maps import id2rgb, image_size, read_label_map, read_panoptic_png, rgb2id


@pytest.mark.parametrize("mode, value", [("L", 255), ("P", 7), ("I;16", 65535)])
def test_labels_of_one_channel_do_not_wrap_around(tmp_path, mode, value):
    path = tmp_path / ("labels.tif" if mode == "I;16" else "labels.png")
    labels_image = Image.new(mode, (3, 2), value)
    if mode == "P":  # the index is the label, whatever its color
        labels_image = Image.fromarray(np.full((2, 3), value, dtype=np.uint8), mode="P")
        labels_image.putpalette(list(range(255, -1, -1)) * 3)
    labels_image.save(path)
    labels = read_label_map(path)
    assert labels.shape == (2, 3) and labels.dtype == np.int64
    assert (labels + 1).tolist() == [[value + 1] * 3] * 2


@pytest.mark.parametrize("mode", ["RGB", "1", "LA"])
def test_other_modes_are_refused(tmp_path, mode):
    Image.new(mode, (3, 2)).save(tmp_path / "labels.png")
    with pytest.raises(ValueError, match=f"labels.png has mode {mode}; expected one channel of category ids"):
        read_label_map(tmp_path / "labels.png")


def test_segment_ids(tmp_path):
    ids = np.array([[0, 255, 256], [65536, 256**3 - 1, 513]])
    Image.fromarray(id2rgb(ids)).save(tmp_path / "segments.png")
    assert np.array_equal(read_panoptic_png(tmp_path / "segments.png"), ids)
    assert np.array_equal(rgb2id(id2rgb(ids)), ids)
    Image.new("L", (3, 2)).save(tmp_path / "gray.png")
    with pytest.raises(ValueError, match="gray.png has mode L; expected colors"):
        read_panoptic_png(tmp_path / "gray.png")


@pytest.mark.parametrize("read", [read_label_map, read_panoptic_png, image_size])
def test_missing_and_damaged_files(tmp_path, read):
    with pytest.raises(FileNotFoundError, match="a.png is missing"):
        read(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="b.png cannot be read"):
        read(tmp_path / "b.png")
